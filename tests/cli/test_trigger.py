"""`fedrisk trigger` against a watch that really listens, with commands that answer as told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.cli.main import main
from fedrisk.retraining import asking
from fedrisk.retraining.operating import Operating
from fedrisk.retraining.operation import Operation
from fedrisk.retraining.operation_store import OperationStore
from fedrisk.retraining.watch import Finished
from fedrisk.retraining.watch_figures import WatchFigures
from fedrisk.retraining.watch_server import Desk, Tokens, serve_watch

Run = Callable[..., tuple[int, str, str]]


def now() -> datetime:
    return datetime.now(UTC)


class World:
    """What the commands answer, and what was asked of them."""

    def __init__(self) -> None:
        self.done = Finished(0, {"verdict": "stable", "sentences": ["nothing changed"]})
        self.asked: list[Operation] = []

    def run(self, operation: Operation) -> Finished:
        self.asked.append(operation)
        return self.done


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def run(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> Iterator[Run]:
    monkeypatch.setattr(asking, "EVERY", 0.05)
    token = tmp_path / "token"
    token.write_text("secret")
    store = OperationStore(f"sqlite:///{tmp_path / 'state.db'}")
    operating = Operating(store, now, lambda _: ())
    ending = threading.Event()

    def work() -> None:
        while not ending.wait(0.02):
            operating.one(world.run)

    thread = threading.Thread(target=work)
    thread.start()
    desk = Desk(store, now, lambda: None, lambda: ((), 0))
    registry = WatchFigures(now).registry
    with serve_watch(registry, "127.0.0.1", 0, Tokens(None, token), desk) as port:

        def call(*words: str) -> tuple[int, str, str]:
            at = ("--at", f"http://127.0.0.1:{port}", "--token-file", str(token))
            with pytest.raises(SystemExit) as ended:
                main(["trigger", *words, *at])
            told = capsys.readouterr()
            return int(ended.value.code or 0), told.out, told.err

        yield call
        ending.set()
        thread.join()
    store.close()


def test_a_look_is_followed_to_its_verdict(run: Run, world: World) -> None:
    code, out, err = run("drift")
    assert (code, out) == (0, "drift: stable\nnothing changed\n")
    assert "is queued" in err
    world.done = Finished(0, {"verdict": "harm"}, ("asking the sites",), 1)
    code, out, err = run("drift", "--exit-code", "--json")
    assert (code, json.loads(out)["answer"]) == (20, {"verdict": "harm"})
    assert "asking the sites" in err


def test_a_retraining_says_that_it_waits_for_a_person(run: Run, world: World) -> None:
    reason = "a person has to agree: `fedrisk retrain approve l`"
    answer = {"id": "l", "state": "awaiting approval", "reason": reason, "challenger": "2"}
    world.done = Finished(0, answer)
    code, out, _ = run("retrain", "--trigger", "scheduled")
    assert code == 21
    assert out.splitlines()[:2] == ["retraining l: awaiting approval", f"  {reason}"]
    assert world.asked[0].asked.arguments == {"trigger": "scheduled"}
    world.done = Finished(0, {"id": "m", "state": "refused", "reason": "worse"})
    assert run("retrain")[0] == 22
    assert world.asked[1].asked.arguments == {"trigger": "manual"}


def test_a_failure_has_the_commands_own_code(run: Run, world: World) -> None:
    world.done = Finished(6, {"error": "no site answered", "hint": "start them"})
    code, out, _ = run("retrain")
    assert (code, out) == (6, "error: no site answered\nhint: start them\n")


def test_a_study_is_sent(run: Run, world: World, tmp_path: Path) -> None:
    study = tmp_path / "study.toml"
    study.write_text('name = "s"\n')
    world.done = Finished(0, {"model": "s", "model_version": "1", "alias": "champion"})
    code, out, _ = run("train", "--study", str(study), "--promote")
    assert (code, out) == (0, "train: s version 1 is champion\n")
    assert world.asked[0].asked.arguments == {"study": 'name = "s"\n', "promote": True}
    study.write_bytes(b"\xff\xfe")
    assert run("train", "--study", str(study))[0] == 2


def test_who_does_not_wait_follows_later_by_its_name(run: Run, world: World) -> None:
    code, out, _ = run("drift", "--wait", "0", "--id", "mine")
    assert (code, "--id mine follows it" in out) == (0, True)
    assert run("drift", "--id", "mine")[0] == 0
    assert len(world.asked) == 1
    assert run("retrain", "--id", "mine")[0] == 14
