"""Records: the only things that cross a site's border, each with a declared name and shape.

A record is a frozen dataclass whose fields are arrays. Every field declares its axes by name; the
axes' lengths follow from the study and the request (`dimensions`), so both ends can check a
record's shapes without trusting the other. Sums add up: ``a + b`` is the record of both sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import EgressError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
CodeArray = NDArray[np.int32]
#: A cohort's features by name: float64 (NaN is missing) or int32 level codes (-1 is missing).
Columns = Mapping[str, NDArray[Any]]

RECORDS: dict[str, type[Record]] = {}


def total(value: float | np.floating[Any]) -> FloatArray:
    """A single number as a record's field."""
    return np.asarray(value, np.float64)


def axes(*names: str) -> Any:
    """Declare a record's field: an array with these axes; no axes means a single number."""
    return field(metadata={"axes": names})


@dataclass(frozen=True)
class Record:
    """Base of everything a site may send."""

    #: Name on the wire; registering happens by naming it.
    NAME: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        if cls.NAME:
            RECORDS[cls.NAME] = cls

    def arrays(self) -> dict[str, FloatArray]:
        """The fields as float64 arrays, by name."""
        return {f.name: np.asarray(getattr(self, f.name), np.float64) for f in fields(self)}

    @classmethod
    def shapes(cls, dimensions: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
        """Expected shape of every field, given the length of each axis."""
        return {f.name: tuple(dimensions[axis] for axis in f.metadata["axes"]) for f in fields(cls)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, FloatArray], dimensions: Mapping[str, int]) -> Self:
        """Rebuild a record and check what arrived.

        Raises
        ------
        EgressError
            When a field is missing, extra, has another shape, or is not finite.
        """
        expected = {f.name for f in fields(cls)}
        if set(arrays) != expected:
            raise EgressError(
                f"record {cls.NAME!r} has fields {sorted(expected)}, got {sorted(arrays)}"
            )
        record = cls(**{name: np.asarray(array, np.float64) for name, array in arrays.items()})
        record.check(dimensions)
        return record

    def check(self, dimensions: Mapping[str, int]) -> None:
        """Raise EgressError unless every field is finite and has its declared shape."""
        for name, shape in self.shapes(dimensions).items():
            array = np.asarray(getattr(self, name), np.float64)
            if array.shape != shape:
                raise EgressError(
                    f"record {self.NAME!r}: field {name!r} has shape {array.shape}, "
                    f"declared is {shape}"
                )
            if not np.isfinite(array).all():
                raise EgressError(f"record {self.NAME!r}: field {name!r} is not finite")


@dataclass(frozen=True)
class SumRecord(Record):
    """A record whose fields are sums over rows, so that sites' records add up."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )
