"""A cohort as a site's ledger keeps it, and in which rows two of them differ.

Rows are keyed digests; beside each stand its categories, what it lacks and its outcome, sealed with
the site's key. That is enough to judge the difference of two answers, and without the key nothing.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.sites.cohort import Cohort
from fedrisk.sites.disclosure.cells import has_small_groups
from fedrisk.study.records import BoolArray

Digests = NDArray[np.uint64]
Cells = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Apart:
    """How far apart two cohorts must be on each side of the split, unless they are the same.

    Attributes
    ----------
    train, test : float
        Least rows that only one of the two has.
    contributors, pairs : int
        Least of these rows behind a level, a missing value or an outcome; behind a pair.
    """

    train: float
    test: float
    contributors: int = 0
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class Side:
    """Training rows, or test rows.

    Attributes
    ----------
    digests : (rows,) array of uint64
        Sorted.
    cells : (rows, features + 1) array of int16
        Of features by name: level and one, or zero where missing; of numbers, one or zero where
        missing. The outcome last.
    """

    digests: Digests
    cells: Cells

    def differing(self, other: Side) -> Cells:
        """The cells of each row that one side has and the other lacks."""
        both = np.concatenate([self.digests, other.digests])
        _, first, places = np.unique(both, return_index=True, return_inverse=True)
        signs = np.concatenate([np.ones(len(self.digests)), -np.ones(len(other.digests))])
        more = np.abs(np.bincount(places, weights=signs, minlength=len(first))).astype(int)
        cells: Cells = np.concatenate([self.cells, other.cells])[np.repeat(first, more)]
        return cells


@dataclass(frozen=True, slots=True)
class CohortRows:
    """Both sides of a cohort.

    Attributes
    ----------
    features : str
        Names, one a line. Cohorts of other features are not compared.
    train, test : Side
    """

    features: str
    train: Side
    test: Side

    @property
    def digests(self) -> Digests:
        """Of both sides, sorted."""
        return np.sort(np.concatenate([self.train.digests, self.test.digests]))

    def too_close(self, other: CohortRows, apart: Apart) -> bool:
        """Whether what two answers about these cohorts differ by is of too few rows.

        Training rows are held to what holds for one answer: enough rows, and nobody in a small
        group. Of test rows no features are told: enough rows, and enough of either outcome.
        """
        train, test = self.train.differing(other.train), self.test.differing(other.test)
        least = apart.contributors
        if 0 < len(train) < apart.train or 0 < len(test) < apart.test:
            return True
        if _few_outcomes(train, least) or _few_outcomes(test, least):
            return True
        codes = {str(at): train[:, at].astype(np.int64) for at in range(train.shape[1] - 1)}
        return len(train) > 0 and has_small_groups(codes, least, apart.pairs)


def _few_outcomes(cells: Cells, least: int) -> bool:
    return any(0 < rows < least for rows in np.bincount(cells[:, -1], minlength=2))


def cohort_rows(cohort: Cohort, key: bytes) -> CohortRows:
    """Digests and cells of a cohort's usable rows."""
    digests, cells = row_digests(cohort, key), _cells(cohort)
    sides = (_side(digests, cells, ~cohort.test), _side(digests, cells, cohort.test))
    return CohortRows("\n".join(sorted(cohort.columns)), *sides)


def _side(digests: Digests, cells: Cells, chosen: BoolArray) -> Side:
    order = np.argsort(digests[chosen], kind="stable")
    return Side(digests[chosen][order], cells[chosen][order])


def _cells(cohort: Cohort) -> Cells:
    columns = [_codes(cohort.columns[name]) for name in sorted(cohort.columns)]
    return np.stack([*columns, cohort.events], axis=1).astype(np.int16)


def _codes(values: NDArray[Any]) -> NDArray[Any]:
    return ~np.isnan(values) if values.dtype.kind == "f" else values + 1


def row_digests(cohort: Cohort, key: bytes) -> Digests:
    """A keyed digest of each usable row, ``(rows,)``: features by name, outcome, side."""
    names = sorted(cohort.columns)
    parts = (*(cohort.columns[name] for name in names), cohort.events, cohort.test)
    table = np.stack([_plain(values) for values in parts], axis=1)
    start = hashlib.blake2b("\n".join(names).encode(), digest_size=8, key=key[:64])
    content, width = memoryview(table.tobytes()), 8 * table.shape[1]
    digests = bytearray()
    for at in range(0, len(content), width):
        digest = start.copy()
        digest.update(content[at : at + width])
        digests += digest.digest()
    return np.frombuffer(bytes(digests), "<u8")


def fingerprint(cohort: Cohort, key: bytes) -> str:
    """One keyed digest of a cohort's rows, in their order: quick, for every question needs it."""
    names = sorted(cohort.columns)
    digest = hashlib.blake2b("\n".join(names).encode(), digest_size=32, key=key[:64])
    for values in (*(cohort.columns[name] for name in names), cohort.events, cohort.test):
        digest.update(_plain(values).data)
    return digest.hexdigest()


def _plain(values: NDArray[Any]) -> NDArray[np.float64]:
    """One NaN of the many that there are, and no -0."""
    plain = values.astype("<f8") + 0.0
    plain[np.isnan(plain)] = np.nan
    return plain


def seal(cells: Cells, key: bytes, about: str) -> bytes:
    """Cells as the ledger holds them; `about`, the cohort and its side, never stands for others."""
    plain = np.frombuffer(zlib.compress(cells.astype("<i2").tobytes(), 1), np.uint8)
    return (plain ^ _stream(key, about, len(plain))).tobytes()


def unseal(sealed: bytes, key: bytes, about: str, width: int) -> Cells | None:
    """What `seal` sealed, ``(rows, width)``; None where that was with another key or place."""
    mixed = np.frombuffer(sealed, np.uint8)
    try:
        plain = zlib.decompress((mixed ^ _stream(key, about, len(mixed))).tobytes())
    except zlib.error:
        return None
    return np.frombuffer(plain, "<i2").reshape(-1, width)


def _stream(key: bytes, about: str, length: int) -> NDArray[np.uint8]:
    return np.frombuffer(hashlib.shake_256(key + about.encode()).digest(length), np.uint8)
