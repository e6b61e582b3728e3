"""Rows of the sealed record, opened with its private key, as JSON lines or CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import IO

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedrisk.sealing import open_batches
from fedrisk.serving.recording.files import SUFFIX, days

#: Columns of CSV before the score and the features.
COLUMNS = ("at", "request_id", "row", "endpoint", "model", "version", "risk_score")


class Rows:
    """JSON lines of everything recorded from one day to another, without their line ends.

    Parameters
    ----------
    folder : Path
        ``Home.records``.
    key : X25519PrivateKey
    first, last : date

    Attributes
    ----------
    unfinished : list of str
        After they were read: files that lost their end, or are being written.

    Raises
    ------
    HomeError
        While they are read: when a file was changed, was cut within a batch, or is sealed for
        another key.
    """

    def __init__(self, folder: Path, key: X25519PrivateKey, first: date, last: date) -> None:
        self._folder = folder
        self._key = key
        self._first, self._last = first, last
        self.unfinished: list[str] = []

    def __iter__(self) -> Iterator[bytes]:
        self.unfinished = []
        for day, place in days(self._folder).items():
            if self._first <= day <= self._last:
                for file in sorted(place.glob(f"*{SUFFIX}")):
                    yield from self._of(file)

    def _of(self, file: Path) -> Iterator[bytes]:
        name, rows = f"{file.parent.name}/{file.name}", b"-"
        with file.open("rb") as stream:
            for rows in open_batches(stream, name, self._key):
                yield from rows.splitlines()
        if rows:  # the last batch of a whole file holds none
            self.unfinished.append(name)


def write_ndjson(rows: Rows, stream: IO[str]) -> None:
    """One JSON object a line."""
    for line in rows:
        stream.write(line.decode() + "\n")


def write_csv(rows: Rows, stream: IO[str]) -> None:
    """A header and a line a row; a feature that a row's study does not have is empty."""
    features = dict.fromkeys(name for line in rows for name in json.loads(line)["features"])
    writer = csv.writer(stream)
    writer.writerow([*COLUMNS, *features])
    for line in rows:
        row = json.loads(line)
        values = (row["features"].get(name) for name in features)
        writer.writerow([*(row[column] for column in COLUMNS), *values])
