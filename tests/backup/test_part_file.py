"""A sealed part is whole, or it does not open: also where its hash was made to fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.backup.part_file import BATCH, reading, writing
from fedrisk.errors import HomeError
from fedrisk.sealing import HEAD, make_keys, read_private, read_public


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two batches and the end."""
    make_keys(tmp_path / "key")
    file = tmp_path / "part.sealed"
    with writing(file, read_public(tmp_path / "key.pub")) as target:
        for _ in range(3):
            target.write(b"x" * (BATCH // 2))
        target.finish()
    return file


def opened(file: Path) -> bytes:
    with reading(file, read_private(file.with_name("key"))) as stream:
        return stream.read()


def test_what_was_written_in_pieces_is_read_in_one(file: Path) -> None:
    assert opened(file) == b"x" * (3 * BATCH // 2)


def test_a_part_without_its_end_or_a_batch_does_not_open(file: Path) -> None:
    whole = file.read_bytes()
    end = HEAD.size + 16
    file.write_bytes(whole[:-end])
    with pytest.raises(HomeError, match="has no end"):
        opened(file)
    first = HEAD.size + BATCH + 16
    file.write_bytes(whole[first:])
    with pytest.raises(HomeError, match="is not the one"):
        opened(file)
    file.write_bytes(whole[: first - 1])
    with pytest.raises(HomeError, match="cut short"):
        opened(file)
