"""A site's ledger (SQLite): questions and refusals a day, and the studies and cohorts asked about.

Cohorts are kept as `fedrisk.sites.cohort_rows` has them: enough to judge the rows in which two of
them differ, and nothing that could be read without the site's key.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from fedrisk.errors import SiteFolderError
from fedrisk.sites.cohort_rows import Apart, CohortRows, Side, seal, unseal

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
CREATE TABLE IF NOT EXISTS compared (
  cohort TEXT PRIMARY KEY, study TEXT NOT NULL, time TEXT NOT NULL, features TEXT NOT NULL,
  train BLOB NOT NULL, train_cells BLOB NOT NULL, test BLOB NOT NULL, test_cells BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS refusals (day TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS times (run TEXT PRIMARY KEY, study TEXT NOT NULL, as_of TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS stretches (
  clock TEXT NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL, PRIMARY KEY (clock, start)
);
CREATE TABLE IF NOT EXISTS told (
  rows TEXT NOT NULL, start INTEGER NOT NULL, part TEXT NOT NULL, fingerprint TEXT NOT NULL,
  digests BLOB NOT NULL, people BLOB NOT NULL, PRIMARY KEY (rows, start, part, fingerprint)
);
"""
# Earlier releases kept ``cohorts``, both sides together and without cells. What those differ by is
# unknown; a cohort that is asked about again moves to ``compared``.


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
        Refusals that depend on the rows, or of studies that nobody approved.
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
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection that no other process writes beside; what is done counts as a whole."""
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
        with self.transaction() as connection:
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

    def refused(
        self, study: str, run: str, question: str, time: str, most: float = float("inf")
    ) -> None:
        """Count a refusal, once a question and day, until the day has so many."""
        row = (study, time[:10], run, REFUSED, f"{REFUSED} {question}", 1.0, time)
        with self.transaction() as connection:
            if _sum(connection, time[:10], REFUSED) < most:
                connection.execute(
                    "INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row
                )

    def count_told(self, day: str) -> int:
        """Count a refusal that leaves, whatever its cause; how many left on that day (UTC)."""
        with self.transaction() as connection:
            (number,) = connection.execute(
                "INSERT INTO refusals VALUES (?, 1) "
                "ON CONFLICT (day) DO UPDATE SET number = number + 1 RETURNING number",
                (day,),
            ).fetchone()
        return int(number)

    def told(self) -> dict[str, int]:
        """Refusals that left, a day, newest first."""
        with self.transaction() as connection:
            rows = connection.execute("SELECT day, number FROM refusals ORDER BY day DESC")
            return dict(rows.fetchall())

    def related(self, study: str, columns: frozenset[str]) -> str:
        """Remember a study's columns; an earlier study that reads one of them, if any."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO studies VALUES (?, ?) ON CONFLICT DO NOTHING",
                (study, json.dumps(sorted(columns))),
            )
            return _earlier(connection, study, columns)

    def would_relate(self, study: str, columns: frozenset[str]) -> str:
        """As `related`, of a study that nobody has asked about yet; nothing is remembered."""
        with self.transaction() as connection:
            return _earlier(connection, study, columns)

    def first_asked(self, study: str) -> str:
        """When the first question about a study was counted, ISO 8601; empty for none.

        Refusals do not count: a study is refused before its first approval.
        """
        with self.transaction() as connection:
            (first,) = connection.execute(
                "SELECT MIN(time) FROM questions WHERE study = ? AND kind != ?", (study, REFUSED)
            ).fetchone()
        return str(first or "")

    def freeze(self, run: str, study: str, cohort: str) -> bool:
        """Bind a run to its first message's cohort; whether this is still the cohort."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO runs VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (run, study, cohort)
            )
            (bound,) = connection.execute(
                "SELECT cohort FROM runs WHERE run = ?", (run,)
            ).fetchone()
        return bool(bound == cohort)

    def in_order(self, run: str, study: str, as_of: str) -> bool:
        """Bind a run to its time; whether it is, and no earlier than other runs' of the study.

        Parameters
        ----------
        run, study : str
        as_of : str
            ISO 8601 in UTC, always with as many digits, so that texts order as times do.
        """
        with self.transaction() as connection:
            newest = connection.execute(
                "SELECT MAX(as_of) FROM times WHERE study = ?", (study,)
            ).fetchone()[0]
            bound = connection.execute("SELECT as_of FROM times WHERE run = ?", (run,)).fetchone()
            if bound:
                return bool(bound[0] == as_of)
            if newest and as_of < newest:
                return False
            connection.execute("INSERT INTO times VALUES (?, ?, ?)", (run, study, as_of))
        return True

    def knows(self, cohort: str, since: str) -> bool:
        """Whether this cohort was asked about since then, and so admitted."""
        with self.transaction() as connection:
            found = connection.execute(
                "SELECT 1 FROM compared WHERE cohort = ? AND time >= ?", (cohort, since)
            )
            return found.fetchone() is not None

    def admit(
        self,
        study: str,
        cohort: str,
        rows: CohortRows,
        key: bytes,
        since: str,
        apart: Apart,
        time: str,
    ) -> bool:
        """Remember a cohort, unless it is too close to one that was asked about since then.

        The same rows in another order do not differ.
        """
        with self.transaction() as connection:
            for other in _compared(connection, rows, key, since):
                if other is None or rows.too_close(other, apart):
                    return False
            old = connection.execute(
                "SELECT digests FROM cohorts WHERE time >= ? AND cohort != ?", (since, cohort)
            )
            if any(not np.array_equal(rows.digests, np.frombuffer(b, "<u8")) for (b,) in old):
                return False  # by how many rows of which side is unknown
            connection.execute("DELETE FROM cohorts WHERE cohort = ?", (cohort,))
            connection.execute(
                "INSERT INTO compared VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (cohort) DO UPDATE SET time = excluded.time",
                (cohort, study, time, rows.features, *_sealed(rows, key, cohort)),
            )
        return True

    def spent(self) -> list[dict[str, Any]]:
        """Cost, questions and runs a study and day, newest first."""
        names = ("study", "day", "cost", "questions", "runs")
        with self.transaction() as connection:
            rows = connection.execute(
                "SELECT study, day, SUM(cost), COUNT(*), COUNT(DISTINCT run) FROM questions "
                "WHERE kind != ? GROUP BY study, day ORDER BY day DESC, study",
                (REFUSED,),
            ).fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]


def _sealed(rows: CohortRows, key: bytes, cohort: str) -> list[bytes]:
    blobs = []
    for name, side in (("train", rows.train), ("test", rows.test)):
        blobs += [side.digests.astype("<u8").tobytes(), seal(side.cells, key, f"{cohort} {name}")]
    return blobs


def _compared(
    connection: sqlite3.Connection, rows: CohortRows, key: bytes, since: str
) -> Iterator[CohortRows | None]:
    """Cohorts of the same features asked about since then; None for one kept under another key."""
    found = connection.execute(
        "SELECT cohort, train, train_cells, test, test_cells FROM compared "
        "WHERE time >= ? AND features = ?",
        (since, rows.features),
    )
    width = rows.train.cells.shape[1]
    for cohort, *blobs in found:
        sides = []
        for name, digests, cells in zip(("train", "test"), blobs[::2], blobs[1::2], strict=True):
            plain = unseal(cells, key, f"{cohort} {name}", width)
            if plain is not None:
                sides.append(Side(np.frombuffer(digests, "<u8"), plain))
        yield CohortRows(rows.features, *sides) if len(sides) == len(blobs) // 2 else None


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
