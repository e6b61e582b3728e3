"""A site's ledger (SQLite): questions answered a study and day, and the cohorts they were about.

Cohorts are kept as keyed digests of their rows: enough to count by how many rows two cohorts
differ, and nothing that could be read without the site's key.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import SiteFolderError
from fedrisk.sites.cohort import Cohort

Digests = NDArray[np.uint64]
#: Seconds to wait for another process that writes.
BUSY_SECONDS = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS questions (
  study TEXT NOT NULL, day TEXT NOT NULL, run TEXT NOT NULL, kind TEXT NOT NULL,
  question TEXT NOT NULL, cost REAL NOT NULL, time TEXT NOT NULL,
  PRIMARY KEY (study, day, question)
);
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, study TEXT NOT NULL, cohort TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cohorts (
  cohort TEXT PRIMARY KEY, study TEXT NOT NULL, time TEXT NOT NULL, rows INTEGER NOT NULL,
  digests BLOB NOT NULL
);
"""


def row_digests(cohort: Cohort, key: bytes) -> Digests:
    """A keyed digest of each usable row, sorted, ``(rows,)``: features by name, outcome, side."""
    names = sorted(cohort.columns)
    parts = [cohort.columns[name].astype(np.float64) for name in names]
    table = np.stack([*parts, cohort.events.astype(np.float64), cohort.test.astype(np.float64)], 1)
    table[np.isnan(table)] = np.nan
    table += 0.0
    start = hashlib.blake2b("\n".join(names).encode(), digest_size=8, key=key[:64])
    content, width = memoryview(table.astype("<f8").tobytes()), 8 * table.shape[1]
    digests = bytearray()
    for at in range(0, len(content), width):
        digest = start.copy()
        digest.update(content[at : at + width])
        digests += digest.digest()
    return np.sort(np.frombuffer(bytes(digests), "<u8"))


def fingerprint(digests: Digests) -> str:
    """One SHA-256 of a cohort's row digests."""
    return hashlib.sha256(digests.tobytes()).hexdigest()


def rows_apart(one: Digests, other: Digests) -> int:
    """In how many rows two cohorts differ: rows of either that the other lacks.

    >>> rows_apart(np.array([1, 1, 2], np.uint64), np.array([1, 3], np.uint64))
    3
    """
    values, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    signs = np.concatenate([np.ones(len(one)), -np.ones(len(other))])
    return int(np.abs(np.bincount(places, weights=signs, minlength=len(values))).sum())


@dataclass(frozen=True)
class Ledger:
    """The ledger in a file; every process of a site opens its own.

    Raises
    ------
    SiteFolderError
        From every method, when the file is no ledger or cannot be written.
    """

    path: Path

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
        except sqlite3.Error as error:
            raise SiteFolderError(f"{self.path}: cannot be opened: {error}") from None
        try:
            connection.executescript(_TABLES)
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise SiteFolderError(
                f"{self.path}: the ledger cannot be used: {error}",
                hint="free disk space, or restore the file; without it nothing is answered",
            ) from None
        finally:
            connection.close()

    def charge(
        self, study: str, run: str, kind: str, question: str, cost: float, time: str, limit: float
    ) -> bool:
        """Count a question, unless that would exceed the limit of its study and day.

        The same question again on the same day costs nothing: its answer is the same.
        """
        day = time[:10]
        with self._open() as connection:
            of_day = "FROM questions WHERE study = ? AND day = ?"
            asked = connection.execute(
                f"SELECT 1 {of_day} AND question = ?",
                (study, day, question),
            )
            if asked.fetchone():
                return True
            (used,) = connection.execute(
                f"SELECT COALESCE(SUM(cost), 0) {of_day}",
                (study, day),
            ).fetchone()
            if used + cost > limit:
                return False
            row = (study, day, run, kind, question, cost, time)
            connection.execute("INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return True

    def freeze(self, run: str, study: str, cohort: str) -> bool:
        """Bind a run to its first message's cohort; whether this is still the cohort."""
        with self._open() as connection:
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (run, study, cohort)
            )
            (bound,) = connection.execute(
                "SELECT cohort FROM runs WHERE run = ?", (run,)
            ).fetchone()
        return bool(bound == cohort)

    def admit(self, study: str, digests: Digests, since: str, least: int, time: str) -> bool:
        """Remember a cohort, unless it differs from one asked about since then by too few rows."""
        cohort = fingerprint(digests)
        with self._open() as connection:
            earlier = connection.execute(
                "SELECT digests FROM cohorts WHERE time >= ? AND cohort != ?", (since, cohort)
            )
            for (blob,) in earlier:
                if rows_apart(digests, np.frombuffer(blob, "<u8")) < least:
                    return False
            connection.execute(
                "INSERT INTO cohorts VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (cohort) DO UPDATE SET time = excluded.time",
                (cohort, study, time, len(digests), digests.astype("<u8").tobytes()),
            )
        return True

    def spent(self) -> list[dict[str, Any]]:
        """Cost, questions and runs a study and day, newest first."""
        names = ("study", "day", "cost", "questions", "runs")
        with self._open() as connection:
            rows = connection.execute(
                "SELECT study, day, SUM(cost), COUNT(*), COUNT(DISTINCT run) FROM questions "
                "GROUP BY study, day ORDER BY day DESC, study"
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]
