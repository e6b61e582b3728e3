"""The one gate that everything passes on its way out of a site."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.attestation import Head
from fedrisk.errors import (
    DataError,
    EgressError,
    FederationError,
    FedriskError,
    SiteFolderError,
    StudyError,
)
from fedrisk.sites.egress.log import EgressLog
from fedrisk.study.records import RECORDS, FloatArray, Record

#: Errors in whose words are the question's and the policy's, never those of a row or a file.
_TELLING = (EgressError, FederationError, StudyError)
#: Characters of a run's, a study's, a kind's name in the log.
_LONGEST_NAME = 64
#: Characters of a reason that are told and logged; a question cannot fill a site's disk.
_LONGEST_REASON = 1000


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
        names = {"run": self.run, "study": self.study, "kind": self.kind}
        about = {name: value[:_LONGEST_NAME] for name, value in names.items()}
        time = self.now.isoformat(timespec="microseconds")
        return self.log.append(time, {**about, "outcome": outcome, **fields})


def release(
    records: Sequence[Record], dimensions: Mapping[str, int], errand: Errand | None = None
) -> Released:
    """Let records out, each of a declared type with its declared shapes and finite values.

    Parameters
    ----------
    records : sequence of Record
        The site's answer to one message, at most one of a type.
    dimensions : mapping of axis name to length
        Derived by the site from its own approved study and the question, never from the answer.
    errand : Errand, optional
        Where to log what leaves; it is on disk before this returns.

    Raises
    ------
    EgressError
        When a record's type is not declared, or a field has another shape or is not finite; or when
        the log is not as it was written. It names the field and what is declared, not what was
        found, which may be a count of rows.
    SiteFolderError
        When the log cannot be written.
    """
    arrays: dict[str, FloatArray] = {}
    for record in records:
        checked = _checked(record, dimensions)
        if set(checked) & set(arrays):
            raise EgressError(f"record {type(record).NAME!r} is there twice")
        arrays |= checked
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


def _checked(record: Record, dimensions: Mapping[str, int]) -> dict[str, FloatArray]:
    """The record's arrays, copied, so that what is logged is what leaves."""
    kind = type(record)
    if RECORDS.get(getattr(kind, "NAME", "")) is not kind:
        raise EgressError(f"{kind.__name__} is not a declared record")
    try:
        shapes = kind.shapes(dimensions)
    except KeyError as axis:
        raise EgressError(f"record {kind.NAME!r}: the question has no axis {axis}") from None
    arrays: dict[str, FloatArray] = {}
    for field, shape in shapes.items():
        about = f"record {kind.NAME!r}: field {field!r}"
        value = _array(getattr(record, field))
        if value is None or value.dtype.kind not in "fiub":
            raise EgressError(f"{about} does not hold real numbers")
        if value.shape != shape:
            raise EgressError(f"{about} has another shape, declared is {shape}")
        array = np.array(value, np.float64)
        if not np.isfinite(array).all():
            raise EgressError(f"{about} is not finite")
        arrays[f"{kind.NAME}/{field}"] = array
    return arrays


def _array(value: Any) -> NDArray[Any] | None:
    try:
        return np.asarray(value)
    except (TypeError, ValueError):  # their words hold values
        return None


def refuse(error: Exception, errand: Errand) -> Head:
    """Log a refusal; its reason, as `told` has it, is all that may leave.

    Raises
    ------
    EgressError
        When the log is not as it was written.
    SiteFolderError
        When the log cannot be written.
    """
    reason = told(error)
    return errand.enter("refused", error=type(reason).__name__, reason=reason.message)


def told(error: Exception) -> FedriskError:
    """What of an error may leave a site that is not the asker's own: its rule, its columns.

    Messages are written for whoever sits at the site and hold paths, counts of rows that break a
    rule, and, from libraries that read a file, what stands in it.

    >>> told(DataError("rows.csv, row 3: 'Smith' is no number")).message
    "the site's rows cannot be read (DataError)"
    """
    if isinstance(error, _TELLING):
        return type(error)(error.message[:_LONGEST_REASON], error.hint)
    hint = "the site's own log tells its operator more"
    if isinstance(error, DataError):
        return DataError(_data_reason(error)[:_LONGEST_REASON], hint=hint)
    if isinstance(error, SiteFolderError):
        return SiteFolderError("the site's folder, policy or log cannot be used", hint)
    return FederationError(f"the site cannot answer ({type(error).__name__})", hint)


def _data_reason(error: DataError) -> str:
    columns = dict.fromkeys(v.column for v in error.violations if v.column)
    if not columns:
        return "the site's rows cannot be read (DataError)"
    return f"the site's rows break the study in column(s) {', '.join(map(repr, columns))}"
