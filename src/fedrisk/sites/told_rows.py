"""Which rows of a stretch of time may be told, after others were told before.

Of the rows of one stretch, every version that was told is kept, as keyed digests of rows and of
their persons. A new version must be the same as one of them, or differ from each by the rows of
enough people; where only a few came to it, they wait, and the old rows are told again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fedrisk.sites.windows import TimedRows
from fedrisk.study.records import BoolArray

Digests = NDArray[np.uint64]
#: An odd number, so that equal rows get digests of their own, the same in whatever order they come.
_AGAIN = np.uint64(0x9E37_79B9_7F4A_7C15)


@dataclass(frozen=True)
class Told:
    """A version of a stretch's rows.

    Attributes
    ----------
    digests, people : (rows,) array of uint64
        Of each row, and of its person.
    """

    digests: Digests
    people: Digests

    def apart(self, other: Told, least: int) -> bool:
        """Whether both are the same rows, or differ by rows of at least so many people."""
        rows = np.concatenate([self.digests, other.digests])
        people = np.concatenate([self.people, other.people])
        _, first, number = np.unique(rows, return_index=True, return_counts=True)
        differing = len(np.unique(people[first[number == 1]]))
        return differing == 0 or differing >= least

    def only(self, chosen: BoolArray) -> Told:
        """Some of the rows."""
        return Told(self.digests[chosen], self.people[chosen])

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the rows, whatever their order."""
        return hashlib.sha256(np.sort(self.digests).astype("<u8").tobytes()).hexdigest()


def settle(now: Told, before: Sequence[Told], least: int) -> BoolArray | None:
    """Which of the rows are told; None where the stretch as a whole is not.

    Parameters
    ----------
    now : Told
        All rows that the stretch has now.
    before : sequence of Told
        Versions that were told, oldest first.
    least : int
        Least people by whom two versions differ.
    """
    everything = np.ones(len(now.digests), bool)
    candidates = [everything]
    if before and np.isin(before[-1].digests, now.digests).all():
        candidates.append(np.isin(now.digests, before[-1].digests))
    for chosen in candidates:
        version = now.only(chosen)
        if all(version.apart(other, least) for other in before):
            return chosen
    return None


def batches(now: Told, chosen: BoolArray, before: Sequence[Told]) -> NDArray[np.intp]:
    """With which version each row was told first; -1 where it is not told.

    Rows that came to a version are counted apart from those before, so that the difference of two
    answers is what was counted of them alone. Where rows went or changed meanwhile, all are of one
    batch.

    Parameters
    ----------
    now : Told
    chosen : (rows,) array of bool
        Rows that are told (`settle`).
    before : sequence of Told
        Versions that were told, oldest first.
    """
    batch = np.where(chosen, 0, -1)
    grown = [*before, now.only(chosen)]
    if not all(np.isin(a.digests, b.digests).all() for a, b in pairwise(grown)):
        return batch
    for version in before:
        batch += chosen & ~np.isin(now.digests, version.digests)
    return batch


def told_rows(rows: TimedRows, key: bytes) -> Told:
    """Digests of rows as they are counted: features, marks, time, person."""
    people = None if rows.names is None else _people(rows.names, rows.persons, key)
    columns = [np.asarray(rows.columns[name], np.float64) + 0.0 for name in sorted(rows.columns)]
    table = np.stack(
        [*columns, *(rows.outside.get(name, _no(rows)) for name in sorted(rows.columns))], axis=1
    ).astype("<f8")
    table[np.isnan(table)] = np.nan  # one NaN of the many that there are
    times = np.zeros(len(rows)) if rows.times is None else rows.times.astype(np.int64)
    content = [table.view("<u8"), times.astype("<i8").view("<u8")[:, None]]
    content += [] if people is None else [people[:, None]]
    digests = _numbered(_digests(np.hstack(content), key))
    return Told(digests, digests if people is None else people)


def told_labels(events: BoolArray, told: Told, key: bytes) -> Told:
    """Digests of rows with a label, and of which it is."""
    content = np.stack([told.digests, events.astype(np.uint64)], axis=1)
    return Told(_digests(content, key), told.people)


def _no(rows: TimedRows) -> BoolArray:
    return np.zeros(len(rows), bool)


def _people(names: Sequence[str], persons: NDArray[np.int64], key: bytes) -> Digests:
    """A digest of each row's person; all rows without an id are one person's."""
    start = hashlib.blake2b(b"person", digest_size=8, key=key[:64])
    found = []
    for name in names:
        digest = start.copy()
        digest.update(name.encode())
        found.append(int.from_bytes(digest.digest(), "little"))
    return np.array([*found, 0], np.uint64)[persons]


def _digests(table: NDArray[np.uint64], key: bytes) -> Digests:
    """A keyed digest of each line."""
    start = hashlib.blake2b(b"row", digest_size=8, key=key[:64])
    content = memoryview(np.ascontiguousarray(table, "<u8").tobytes())
    width = 8 * table.shape[1]
    digests = bytearray()
    for at in range(0, len(content), width):
        digest = start.copy()
        digest.update(content[at : at + width])
        digests += digest.digest()
    return np.frombuffer(bytes(digests), "<u8")


def _numbered(digests: Digests) -> Digests:
    """Equal digests told apart by how many of them came before."""
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    first = np.searchsorted(ordered, ordered, side="left")
    numbered = np.empty_like(ordered)
    with np.errstate(over="ignore"):
        numbered[order] = ordered + (np.arange(len(ordered)) - first).astype(np.uint64) * _AGAIN
    return numbered
