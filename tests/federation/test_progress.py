"""Rounds arrive whole and once; the outcome is an error of the same class, or facts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fedrisk.errors import ConvergenceError, QuorumError, SupersededError
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.progress import Progress
from fedrisk.study import Study
from fedrisk.study.training import RoundRecord, TrainingRequest, TrainingResult

#: Fields do not matter here.
RESULT = TrainingResult.model_construct(rounds=())


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
    assert progress.outcome() == {"ok": True, "token": 0, "version": "3"}


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


def test_half_a_line_of_a_killed_process_is_written_over(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.add(RoundRecord(number=1, kind="summary", seconds=0.5))
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"number": 2, "ki')
    progress.add(RoundRecord(number=2, kind="newton", seconds=0.5))
    assert [record.number for record in progress.news()] == [1, 2]


def test_an_outcome_of_an_earlier_process_does_not_count(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.fail(ConvergenceError("too few rounds"), token=1)
    assert progress.ended()
    with progress.hold(2):
        assert not progress.ended()
    assert not progress.ended()
    progress.fail(ConvergenceError("written late"), token=1)
    assert not progress.ended()
    progress.succeed(2, version="3")
    assert progress.success() is not None


def test_the_latest_process_alone_is_alive(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    with progress.hold(9):
        with progress.hold(10):
            assert progress.alive()
        assert not progress.alive()  # an older one that hangs does not count


WRITES: dict[str, Callable[[Progress], None]] = {
    "a round": lambda p: p.add(RoundRecord(number=2, kind="newton", seconds=0.5)),
    "all rounds": lambda p: p.catch_up([]),
    "the result": lambda p: p.bring(RESULT),
    "why it dies": lambda p: p.crash("no memory"),
    "success": lambda p: p.succeed(9, version="3"),
    "failure": lambda p: p.fail(ConvergenceError("too few rounds"), 9),
}


@pytest.mark.parametrize("what", WRITES)
def test_who_was_superseded_writes_nothing_of_a_run(tmp_path: Path, what: str) -> None:
    older = Checkpoints.claim(tmp_path / "checkpoint")
    progress = Progress(tmp_path, older.fenced)
    progress.add(RoundRecord(number=1, kind="summary", seconds=0.5))
    newer = Checkpoints.claim(tmp_path / "checkpoint")

    def files() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}

    before = files()
    with pytest.raises(SupersededError, match="taken up by another process"):
        WRITES[what](progress)
    assert files() == before
    WRITES[what](Progress(tmp_path, newer.fenced))
    assert files() != before


def test_the_round_that_ended_a_run_is_kept_with_its_reasons(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    last = RoundRecord(number=2, kind="newton", seconds=0.5, dropped={"west": "silent"})
    assert progress.unfinished() is None
    progress.fail(QuorumError("too few"), unfinished=last)
    assert progress.unfinished() == last
    progress.fail(QuorumError("too few"))
    assert progress.unfinished() is None


def test_reopening_forgets_a_bad_outcome_alone(tmp_path: Path) -> None:
    progress = Progress(tmp_path)
    progress.fail(ConvergenceError("too few rounds"))
    progress.reopen()
    assert progress.outcome() is None
    progress.succeed(version="3")
    progress.reopen()
    assert progress.success() is not None


def test_catching_up_tells_exactly_the_kept_rounds(tmp_path: Path) -> None:
    kept = [RoundRecord(number=n, kind="newton", seconds=0.5) for n in (1, 2)]
    progress, reader = Progress(tmp_path), Progress(tmp_path)
    progress.add(kept[0])
    assert [record.number for record in reader.news()] == [1]
    progress.catch_up(kept)
    assert [record.number for record in reader.news()] == [2]
    progress.catch_up(kept[:1])
    assert list(reader.news()) == []
    progress.add(kept[1])
    assert [record.number for record in reader.news()] == [2]


def test_the_first_request_is_kept(tmp_path: Path, study: Study) -> None:
    progress = Progress(tmp_path / "run")
    first = TrainingRequest(run_id="r1", study=study, as_of="2026-01-01")
    progress.ask(first)
    progress.ask(first.model_copy(update={"rounds": 3}))
    text = (tmp_path / "run" / "request.json").read_text()
    assert TrainingRequest.model_validate_json(text) == first
