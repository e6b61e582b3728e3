"""The one gate that everything passes on its way out of a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedrisk.errors import EgressError
from fedrisk.study.records import RECORDS, FloatArray, Record


@dataclass(frozen=True, slots=True)
class Released:
    """What the gate let out: arrays named ``record/field``, all float64 and finite."""

    arrays: Mapping[str, FloatArray]

    @property
    def size(self) -> int:
        """Payload in bytes."""
        return sum(array.nbytes for array in self.arrays.values())


def release(records: Sequence[Record], dimensions: Mapping[str, int]) -> Released:
    """Let records out, each of a declared type with its declared shapes and finite values.

    Parameters
    ----------
    records : sequence of Record
        The site's answer to one message.
    dimensions : mapping of axis name to length
        Derived by the site from its own approved study and the question, never from the answer.

    Raises
    ------
    EgressError
        When a record's type is not declared, or a field has another shape or is not finite.
    """
    arrays: dict[str, FloatArray] = {}
    for record in records:
        name = type(record).NAME
        if RECORDS.get(name) is not type(record):
            raise EgressError(f"{type(record).__name__} is not a declared record")
        record.check(dimensions)
        arrays |= {f"{name}/{field}": array for field, array in record.arrays().items()}
    return Released(arrays)
