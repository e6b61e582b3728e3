"""The one gate that everything passes on its way out of a site."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fedrisk.errors import EgressError, FedriskError
from fedrisk.sites.egress_heads import Head
from fedrisk.sites.egress_log import EgressLog
from fedrisk.study.records import RECORDS, FloatArray, Record


@dataclass(frozen=True, slots=True)
class Released:
    """What the gate let out: arrays named ``record/field``, all float64 and finite."""

    arrays: Mapping[str, FloatArray]
    head: Head | None = None

    @property
    def size(self) -> int:
        """Payload in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes and contents, in the order of the names."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays.items()):
            digest.update(f"{name} {array.shape}\n".encode() + array.astype("<f8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Errand:
    """What an entry of the log says about the question.

    Attributes
    ----------
    log : EgressLog
    now : datetime
    run, study, kind : str
        The run, the study hash, the kind of question; empty where the question was unreadable.
    groups : mapping
        Sizes of the groups behind the answer: rows, events, effective sample size.
    """

    log: EgressLog
    now: datetime
    run: str = ""
    study: str = ""
    kind: str = ""
    groups: Mapping[str, float] | None = None

    def enter(self, outcome: str, **fields: Any) -> Head:
        """Write an entry; it is on disk when this returns."""
        about = {"run": self.run, "study": self.study, "kind": self.kind, "outcome": outcome}
        time = self.now.isoformat(timespec="microseconds")
        return self.log.append(time, {**about, **fields})


def release(
    records: Sequence[Record], dimensions: Mapping[str, int], errand: Errand | None = None
) -> Released:
    """Let records out, each of a declared type with its declared shapes and finite values.

    Parameters
    ----------
    records : sequence of Record
        The site's answer to one message.
    dimensions : mapping of axis name to length
        Derived by the site from its own approved study and the question, never from the answer.
    errand : Errand, optional
        Where to log what leaves; it is on disk before this returns.

    Raises
    ------
    EgressError
        When a record's type is not declared, or a field has another shape or is not finite; or when
        the log is not as it was written.
    """
    arrays: dict[str, FloatArray] = {}
    for record in records:
        name = type(record).NAME
        if RECORDS.get(name) is not type(record):
            raise EgressError(f"{type(record).__name__} is not a declared record")
        record.check(dimensions)
        arrays |= {f"{name}/{field}": array for field, array in record.arrays().items()}
    released = Released(arrays)
    if errand is None:
        return released
    head = errand.enter(
        "released",
        records={name: list(array.shape) for name, array in arrays.items()},
        groups=dict(errand.groups or {}),
        bytes=released.size,
        payload=released.digest,
    )
    return Released(arrays, head)


def refuse(error: FedriskError, errand: Errand) -> Head:
    """Log a refusal; its reason, which holds no value of a row, is all that leaves.

    Raises
    ------
    EgressError
        When the log is not as it was written.
    """
    return errand.enter("refused", error=type(error).__name__, reason=error.message)
