"""Rounds arrive whole and once; the outcome is an error of the same class, or facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.errors import ConvergenceError
from fedrisk.federation.progress import Progress
from fedrisk.study.training import RoundRecord


def test_news_come_once_and_in_order(tmp_path: Path) -> None:
    writer, reader = Progress(tmp_path / "run"), Progress(tmp_path / "run")
    assert list(reader.news()) == []
    writer.add(RoundRecord(number=1, kind="summary", seconds=0.5))
    writer.add(RoundRecord(number=2, kind="newton", seconds=0.5, metrics={"loss_per_row": 0.1}))
    assert [record.number for record in reader.news()] == [1, 2]
    assert list(reader.news()) == []


def test_half_a_line_waits_for_its_rest(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    line = RoundRecord(number=1, kind="summary", seconds=0.5).model_dump_json()
    with (tmp_path / "progress.jsonl").open("w") as file:
        file.write(line[:10])
        file.flush()
        assert list(progress.news()) == []
        file.write(line[10:] + "\n")
    assert [record.number for record in progress.news()] == [1]


def test_outcome(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    assert progress.outcome() is None
    progress.succeed(version="3")
    assert progress.outcome() == {"ok": True, "version": "3"}


def test_failure_keeps_its_class_and_hint(tmp_path: Path) -> None:
    Progress(tmp_path).fail(ConvergenceError("no step lowers the loss", hint="raise it"))
    with pytest.raises(ConvergenceError, match="no step") as error:
        Progress(tmp_path).outcome()
    assert error.value.hint == "raise it"


def test_alive_while_held(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    assert not progress.alive()
    with progress.hold():
        assert Progress(tmp_path).alive()
    assert not progress.alive()
