"""What a site's ledger keeps of windows: how time was closed, and which rows were told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedrisk.models.bins import Places
from fedrisk.sites.ledger import Ledger
from fedrisk.sites.stretches import Stretches
from fedrisk.sites.told_rows import Told, batches, settle


@dataclass(frozen=True)
class StretchLedger:
    """A site's ledger, and the key of the digests in it.

    Raises
    ------
    SiteFolderError
        From every method, when the ledger cannot be used.
    """

    ledger: Ledger
    key: bytes

    def known(self, clock: str) -> Stretches:
        """Stretches that were closed before, by the column of times."""
        with self.ledger.transaction() as connection:
            found = connection.execute("SELECT start, end FROM stretches WHERE clock = ?", (clock,))
            return Stretches.of(found.fetchall())

    def keep(self, clock: str, closed: Stretches) -> Stretches:
        """Keep stretches; all that are closed now, by other processes, too."""
        with self.ledger.transaction() as connection:
            connection.executemany(
                "INSERT INTO stretches SELECT ?1, ?2, ?3 WHERE NOT EXISTS "
                "(SELECT 1 FROM stretches WHERE clock = ?1 AND start < ?3 AND end > ?2)",
                [(clock, start, end) for start, end in closed.pairs],
            )
        return self.known(clock)

    def settle(self, about: tuple[str, int, str], now: Told, least: int) -> Places | None:
        """With which version each of a stretch's rows was told first, -1 for none; kept as told.

        None where the stretch is not told (`fedrisk.sites.told_rows.settle`).

        Parameters
        ----------
        about : (str, int, str)
            Which features rows are digested by, the stretch's start, what part of them is told.
        now : Told
        least : int
        """
        with self.ledger.transaction() as connection:
            found = connection.execute(
                "SELECT digests, people FROM told WHERE rows = ? AND start = ? AND part = ? "
                "ORDER BY rowid",
                about,
            )
            before = [Told(*(np.frombuffer(blob, "<u8") for blob in pair)) for pair in found]
            chosen = settle(now, before, least)
            if chosen is not None:
                told = now.only(chosen)
                blobs = (told.digests.astype("<u8").tobytes(), told.people.astype("<u8").tobytes())
                connection.execute(
                    "INSERT INTO told VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                    (*about, told.fingerprint, *blobs),
                )
        return None if chosen is None else batches(now, chosen, before)
