"""A token is changed without a call that is refused: every line of the file is taken."""

from __future__ import annotations

from pathlib import Path

from fedrisk.token_file import admits, read_tokens


def test_old_and_new_are_taken_while_both_are_there(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    assert admits(file, "Bearer old")
    file.write_text("new\n\n  old\n")
    assert read_tokens(file) == ("new", "old")
    assert admits(file, "Bearer old")
    assert admits(file, "Bearer new")
    file.write_text("new\n")
    assert not admits(file, "Bearer old")
    assert admits(file, "Bearer new")


def test_no_token_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "token"
    assert not admits(file, "Bearer ")
    for content in (b"", b"\n \n", b"\xff\xfe"):
        file.write_bytes(content)
        assert read_tokens(file) == ()
        for header in ("", "Bearer", "Bearer ", "Bearer \n", "Bearer \u0159"):
            assert not admits(file, header)
    file.write_text("one\ntwo\n")
    for header in ("one", "Bearer one two", "Bearer one\ntwo", "bearer one", "Bearer on"):
        assert not admits(file, header)
