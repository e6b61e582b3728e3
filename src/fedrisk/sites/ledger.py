"""A site's ledger (SQLite): questions and refusals a day, and the studies and cohorts asked about.

Cohorts are kept as keyed digests of their rows: enough to count by how many rows two cohorts
differ, and nothing that could be read without the site's key.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedrisk.errors import SiteFolderError
from fedrisk.sites.cohort import Cohort

Digests = NDArray[np.uint64]
#: Seconds to wait for another process that writes.
BUSY_SECONDS = 30.0
#: The kind under which refusals stand; they cost nothing of the limit of questions.
REFUSED = "refused"
_TABLES = """
CREATE TABLE IF NOT EXISTS questions (
  study TEXT NOT NULL, day TEXT NOT NULL, run TEXT NOT NULL, kind TEXT NOT NULL,
  question TEXT NOT NULL, cost REAL NOT NULL, time TEXT NOT NULL,
  PRIMARY KEY (study, day, question)
);
CREATE TABLE IF NOT EXISTS studies (study TEXT PRIMARY KEY, columns TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS runs (run TEXT PRIMARY KEY, study TEXT NOT NULL, cohort TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS cohorts (
  cohort TEXT PRIMARY KEY, study TEXT NOT NULL, time TEXT NOT NULL, rows INTEGER NOT NULL,
  digests BLOB NOT NULL
);
"""


def row_digests(cohort: Cohort, key: bytes) -> Digests:
    """A keyed digest of each usable row, sorted, ``(rows,)``: features by name, outcome, side."""
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
    return np.sort(np.frombuffer(bytes(digests), "<u8"))


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


def rows_apart(one: Digests, other: Digests) -> int:
    """In how many rows two cohorts differ: rows of either that the other lacks.

    >>> rows_apart(np.array([1, 1, 2], np.uint64), np.array([1, 3], np.uint64))
    3
    """
    values, places = np.unique(np.concatenate([one, other]), return_inverse=True)
    signs = np.concatenate([np.ones(len(one)), -np.ones(len(other))])
    return int(np.abs(np.bincount(places, weights=signs, minlength=len(values))).sum())


@dataclass(frozen=True, slots=True)
class Limits:
    """What a day (UTC) allows, of all studies together.

    Attributes
    ----------
    all : float
        Parameter vectors; a question without any counts as one.
    evaluations : float
        Evaluations among them.
    refusals : float
        Refusals that depend on the rows.
    """

    all: float = float("inf")
    evaluations: float = float("inf")
    refusals: float = float("inf")


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
        self,
        study: str,
        run: str,
        kind: str,
        question: str,
        cost: float,
        time: str,
        limits: Limits,
    ) -> str:
        """Count a question; why not, where that would exceed a limit of the day, else nothing.

        The same question again on the same day costs nothing: its answer is the same.
        """
        day = time[:10]
        with self._open() as connection:
            asked = connection.execute(
                "SELECT 1 FROM questions WHERE study = ? AND day = ? AND question = ?",
                (study, day, question),
            )
            if asked.fetchone():
                return ""
            if _sum(connection, day, REFUSED) >= limits.refusals:
                return f"{limits.refusals:g} questions were refused for these rows today"
            if _sum(connection, day) + cost > limits.all:
                return f"more than {limits.all:g} parameter vectors asked about these rows today"
            if kind == "evaluation" and _sum(connection, day, kind) + cost > limits.evaluations:
                return f"more than {limits.evaluations:g} evaluations of these rows today"
            row = (study, day, run, kind, question, cost, time)
            connection.execute("INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?)", row)
        return ""

    def refused(self, study: str, run: str, question: str, time: str) -> None:
        """Count a refusal that depends on the rows, once a question and day."""
        row = (study, time[:10], run, REFUSED, f"{REFUSED} {question}", 1.0, time)
        with self._open() as connection:
            connection.execute(
                "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
            )

    def related(self, study: str, columns: frozenset[str]) -> str:
        """Remember a study's columns; an earlier study that reads one of them, if any."""
        with self._open() as connection:
            connection.execute(
                "INSERT INTO studies VALUES (?, ?) ON CONFLICT DO NOTHING",
                (study, json.dumps(sorted(columns))),
            )
            return _earlier(connection, study, columns)

    def would_relate(self, study: str, columns: frozenset[str]) -> str:
        """As `related`, of a study that nobody has asked about yet; nothing is remembered."""
        with self._open() as connection:
            return _earlier(connection, study, columns)

    def first_asked(self, study: str) -> str:
        """When the first question about a study was counted, ISO 8601; empty for none."""
        with self._open() as connection:
            (first,) = connection.execute(
                "SELECT MIN(time) FROM questions WHERE study = ?", (study,)
            ).fetchone()
        return str(first or "")

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

    def knows(self, cohort: str, since: str) -> bool:
        """Whether this cohort was asked about since then, and so admitted."""
        with self._open() as connection:
            found = connection.execute(
                "SELECT 1 FROM cohorts WHERE cohort = ? AND time >= ?", (cohort, since)
            )
            return found.fetchone() is not None

    def admit(
        self, study: str, cohort: str, digests: Digests, since: str, least: int, time: str
    ) -> bool:
        """Remember a cohort, unless it differs from one asked about since then by too few rows.

        The same rows in another order do not differ.
        """
        with self._open() as connection:
            earlier = connection.execute(
                "SELECT digests FROM cohorts WHERE time >= ? AND cohort != ?", (since, cohort)
            )
            for (blob,) in earlier:
                if 0 < rows_apart(digests, np.frombuffer(blob, "<u8")) < least:
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
                "WHERE kind != ? GROUP BY study, day ORDER BY day DESC, study",
                (REFUSED,),
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]


def _earlier(connection: sqlite3.Connection, study: str, columns: frozenset[str]) -> str:
    """The first study that reads one of the columns and came before this one."""
    rows = connection.execute("SELECT study, columns FROM studies ORDER BY rowid").fetchall()
    before = takewhile(lambda row: row[0] != study, rows)
    return next((str(s) for s, names in before if columns & set(json.loads(names))), "")


def _sum(connection: sqlite3.Connection, day: str, kind: str = "") -> float:
    """Cost of a day's questions of one kind, or of all but refusals."""
    (used,) = connection.execute(
        "SELECT COALESCE(SUM(cost), 0) FROM questions "
        "WHERE day = ? AND kind != ? AND (? = '' OR kind = ?)",
        (day, "" if kind else REFUSED, kind, kind),
    ).fetchone()
    return float(used)
