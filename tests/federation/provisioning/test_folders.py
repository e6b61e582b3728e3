"""A folder that is made is its owner's alone, also where it was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.errors import HomeError
from fedrisk.federation.provisioning.folders import make_folder


def mode_of(folder: Path) -> int:
    return folder.stat().st_mode & 0o777


def test_a_new_folder_is_its_owner_s(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    assert mode_of(tmp_path / "a" / "b") == 0o700


def test_an_empty_folder_becomes_its_owner_s(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    make_folder(folder)
    assert mode_of(folder) == 0o700


def test_a_folder_that_holds_something_is_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(HomeError, match="not empty"):
        make_folder(tmp_path)
    assert mode_of(tmp_path) == 0o755
