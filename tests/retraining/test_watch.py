"""The watch: what is due runs once, people are told, and no failure ends it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fedrisk.monitoring.alerts.channels import LogChannel
from fedrisk.monitoring.alerts.notifier import Notifier
from fedrisk.monitoring.alerts.rules import AlertRules
from fedrisk.monitoring.alerts.store import AlertStore
from fedrisk.retraining.operating import Operating
from fedrisk.retraining.operation import Asked, Operation
from fedrisk.retraining.operation_store import OperationStore
from fedrisk.retraining.schedule import Schedule
from fedrisk.retraining.states import ENDS
from fedrisk.retraining.watch import ITSELF, OPEN, Finished, Watch
from fedrisk.retraining.watch_figures import WatchFigures
from fedrisk.retraining.watch_store import LastRun, WatchStore

START = datetime(2026, 1, 5, 7, tzinfo=UTC)
STABLE = {"verdict": "stable", "severity": "none", "diagnosis": "none", "sentences": []}
HARM = STABLE | {"verdict": "harm", "severity": "high", "diagnosis": "concept"}
DONE = {"state": "done", "reason": "", "released": False}


class World:
    """Commands with prepared answers, and a time that tests move."""

    def __init__(self) -> None:
        self.now = START
        self.ran: list[Sequence[str]] = []
        self.idle = False
        self.answers = {"drift": Finished(0, STABLE), "retrain": Finished(0, DONE)}

    def run(self, words: Sequence[str]) -> Finished:
        self.ran.append(words)
        done = self.answers[words[0]]
        if words[0] == "retrain" and done.answer is not None and "state" in done.answer:
            self.idle = done.answer["state"] not in ENDS
        return done

    @property
    def commands(self) -> list[str]:
        return [" ".join(words[:3] if words[0] == "retrain" else words[:1]) for words in self.ran]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state.db'}"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def watch(url: str, world: World) -> Iterator[Watch]:
    made = make(url, world)
    yield made
    made.store.close()
    made.notifier.store.close()


def make(url: str, world: World, **more: object) -> Watch:
    schedules = {"drift": "0 */6 * * *", "retrain": "0 3 * * 1", "digest": "0 9 * * *"}
    return Watch(
        model="m",
        schedules={name: Schedule(text) for name, text in schedules.items()},  # type: ignore[misc]
        words=("--home", "h"),
        store=WatchStore(url, "m"),
        notifier=Notifier(AlertStore(url, "m"), AlertRules(), [], LogChannel()),
        run=world.run,
        clock=lambda: world.now,
        idle=lambda: world.idle,
        more={"retrain": ("--server", "s")},
        **more,  # type: ignore[arg-type]
    )


def pass_hours(watch: Watch, world: World, hours: float, step: float = 0.5) -> list[str]:
    """Let time pass, a turn every half hour; everything that was run."""
    ran: list[str] = []
    for _ in range(round(hours / step)):
        world.now += timedelta(hours=step)
        ran += watch.turn()
    return ran


def test_a_week_has_its_runs_and_no_more(watch: Watch, world: World) -> None:
    watch.turn()
    ran = pass_hours(watch, world, 24 * 7)
    assert (ran.count("drift"), ran.count("retrain"), ran.count("digest")) == (28, 1, 7)
    assert world.commands.count("drift") == 28
    assert world.commands.count("retrain --trigger scheduled") == 1
    assert world.ran[0] == ("drift", "--home", "h", "--json")
    assert world.ran[world.commands.index("retrain --trigger scheduled")][3:] == (
        "--home",
        "h",
        "--server",
        "s",
        "--json",
    )


def test_a_restart_neither_repeats_nor_forgets(url: str, watch: Watch, world: World) -> None:
    watch.turn()
    pass_hours(watch, world, 5)
    assert world.commands == ["drift"]
    again = make(url, world)
    again.turn()
    assert world.commands == ["drift"]
    world.now += timedelta(days=2)
    assert again.turn() == ["drift", "digest"]
    assert again.turn() == []


def test_a_run_that_kills_the_watch_is_not_run_again(watch: Watch, world: World) -> None:
    def die(words: Sequence[str]) -> Finished:
        raise KeyboardInterrupt

    watch.turn()
    world.now += timedelta(hours=5)
    object.__setattr__(watch, "run", die)
    with pytest.raises(KeyboardInterrupt):
        watch.turn()
    object.__setattr__(watch, "run", world.run)
    assert "drift" not in watch.turn()
    kept = watch.store.last("drift")
    assert kept == LastRun(world.now, None, -1)


def test_what_is_old_is_forgotten_after_every_look(url: str, world: World) -> None:
    told: list[datetime] = []
    watch = make(url, world, tidy=told.append)
    watch.turn()
    pass_hours(watch, world, 12)
    assert told == [START + timedelta(hours=5), START + timedelta(hours=11)]


def test_harm_is_told_and_retrained_upon(watch: Watch, world: World, caplog) -> None:
    world.answers["drift"] = Finished(0, HARM)
    watch.turn()
    pass_hours(watch, world, 5)
    assert world.commands == ["drift", "retrain --trigger drift"]
    assert "[fedrisk, high] model m does harm: concept" in caplog.text


@pytest.mark.parametrize("status", ["stable", "monitor", "quality", "insufficient evidence"])
def test_nothing_else_begins_a_retraining(watch: Watch, world: World, status: str) -> None:
    world.answers["drift"] = Finished(0, HARM | {"verdict": status})
    watch.turn()
    pass_hours(watch, world, 5)
    assert world.commands == ["drift"]


def test_a_retraining_that_waits_is_taken_up_until_its_end(watch: Watch, world: World) -> None:
    world.answers["drift"] = Finished(0, HARM)
    world.answers["retrain"] = Finished(0, DONE | {"state": "shadow"})
    watch.turn()
    pass_hours(watch, world, 5)
    ran = pass_hours(watch, world, 1, step=1 / 60)
    assert ran.count(OPEN) == 12
    world.answers["retrain"] = Finished(0, DONE | {"released": True, "champion": "2"})
    pass_hours(watch, world, 0.1, step=1 / 60)
    assert pass_hours(watch, world, 1, step=1 / 60) == ["drift"] * 0
    kinds = [each.alert.kind for each in watch.notifier.store.all()]
    assert set(kinds) == {"harm", "released"}
    assert "retrain --trigger manual" not in world.commands


def test_one_whose_command_failed_is_taken_up_too(watch: Watch, world: World) -> None:
    watch.turn()
    world.idle = True
    world.answers["retrain"] = Finished(8, {"error": "the registry is away", "hint": ""})
    assert pass_hours(watch, world, 0.5, step=1 / 60).count(OPEN) == 6
    world.answers["retrain"] = Finished(0, DONE)
    assert pass_hours(watch, world, 0.5, step=1 / 60).count(OPEN) == 1


def test_a_clock_that_went_back_stops_nothing(watch: Watch, world: World) -> None:
    world.answers["drift"] = Finished(0, HARM)
    world.now += timedelta(days=4_000)
    watch.turn()
    pass_hours(watch, world, 24)
    before = len(watch.notifier.store.all())
    world.now = START
    world.ran.clear()
    world.idle = True
    watch.turn()
    assert world.commands == ["retrain --trigger drift"]
    pass_hours(watch, world, 24)
    assert world.commands.count("drift") == 4
    (harm,) = [each for each in watch.notifier.store.all() if each.alert.kind == "harm"]
    assert harm.told is not None
    assert harm.told < START + timedelta(days=2)
    assert len(watch.notifier.store.all()) == before


def test_watches_of_two_models_share_a_database_and_nothing_else(
    url: str, watch: Watch, world: World
) -> None:
    other = World()
    second = replace(make(url, other), model="n", store=WatchStore(url, "n"))
    second.notifier.store = AlertStore(url, "n")
    world.answers["drift"] = Finished(0, HARM)
    for each in (watch, second):
        each.turn()
    for each, its in ((watch, world), (second, other)):
        pass_hours(each, its, 6)
    assert other.commands == ["drift"]
    assert [each.active for each in watch.notifier.store.all()] == [True]
    assert second.notifier.store.all() == []


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (Finished(1, {"unfinished": True}), "it answered nothing; see the log"),
        (Finished(8, {"error": "the registry is away", "hint": ""}), "the registry is away"),
        (Finished(-9), "a signal ended it"),
    ],
)
def test_a_command_that_fails_is_told_and_over_when_it_works_again(
    watch: Watch, world: World, done: Finished, reason: str
) -> None:
    world.answers["drift"] = done
    watch.turn()
    pass_hours(watch, world, 5)
    (standing,) = watch.notifier.store.all()
    assert (standing.alert.kind, standing.alert.text) == ("command", reason)
    world.answers["drift"] = Finished(0, STABLE)
    pass_hours(watch, world, 6)
    assert [each.active for each in watch.notifier.store.all()] == [False]


def test_a_failed_look_does_not_end_what_the_last_one_saw(watch: Watch, world: World) -> None:
    world.answers["drift"] = Finished(0, HARM)
    watch.turn()
    pass_hours(watch, world, 5)
    world.answers["drift"] = Finished(6, {"error": "no site", "hint": ""})
    pass_hours(watch, world, 6)
    states = {each.alert.kind: each.active for each in watch.notifier.store.all()}
    assert states == {"harm": True, "command": True}


def test_a_database_that_is_away_ends_nothing(world: World, tmp_path: Path, caplog) -> None:
    blocked = make(f"sqlite:///{tmp_path / 'nowhere' / 'state.db'}", world)
    assert blocked.turn() == []
    assert "cannot be" in caplog.text
    (tmp_path / "nowhere").mkdir()
    assert blocked.turn() == []
    world.now += timedelta(hours=5)
    assert blocked.turn() == ["drift", "digest"]


@pytest.mark.parametrize("output", ["", "[1]", "{", "text"])
def test_what_is_no_json_object_is_no_answer(output: str) -> None:
    assert Finished.read(1, output) == Finished(1)


def test_figures_tell_what_was_found(url: str, world: World) -> None:
    figures = WatchFigures(lambda: world.now)
    watch = make(url, world, listeners=(figures,))
    feature = {"effect": 1.5, "q_value": 0.01}
    site = {"status": "quality", "rows": 7.0}
    told = {"per_feature": {"pm25": feature}, "per_site": {"north": site}}
    world.answers["drift"] = Finished(0, HARM | told)
    world.answers["retrain"] = Finished(
        0, DONE | {"state": "refused", "gate": {"verdict": "refuse"}}
    )
    watch.turn()
    pass_hours(watch, world, 5)
    value = figures.registry.get_sample_value
    assert value("drift_status", {"status": "harm"}) == 1
    assert value("drift_status", {"status": "stable"}) == 0
    assert value("drift_severity") == 3
    assert value("drift_feature_effect", {"feature": "pm25"}) == 1.5
    assert value("drift_site_faulty", {"site": "north"}) == 1
    assert value("retraining_state", {"state": "refused"}) == 1
    assert value("retraining_gate", {"verdict": "refuse"}) == 1
    assert value("watch_last_exit_code", {"command": "drift"}) == 0
    world.answers["drift"] = Finished(0, STABLE)
    pass_hours(watch, world, 6)
    assert value("drift_feature_effect", {"feature": "pm25"}) is None
    assert value("drift_status", {"status": "harm"}) == 0


@pytest.fixture
def asked(url: str, world: World) -> Iterator[Watch]:
    """A watch that is asked for things, with nothing on its calendar."""
    operating = Operating(OperationStore(url), lambda: world.now, lambda each: ("train", "x"))
    made = replace(make(url, world, operating=operating), schedules={})
    yield made
    operating.store.close()


def ask(watch: Watch, *wanted: Asked) -> None:
    assert watch.operating is not None
    for number, each in enumerate(wanted):
        watch.operating.store.add(each, START + timedelta(seconds=number))


def ended(watch: Watch, identifier: str) -> Operation:
    assert watch.operating is not None
    found = watch.operating.store.find(identifier)
    assert found is not None
    return found


def test_what_is_asked_for_runs_as_by_schedule(asked: Watch, world: World) -> None:
    world.answers["drift"] = Finished(0, HARM)
    world.answers["retrain"] = Finished(0, DONE | {"id": "l"})
    world.answers["train"] = Finished(0, {"model_version": "2"})
    manual = Asked("r", "retrain", {"trigger": "manual"})
    ask(asked, Asked("d", "drift", {}), manual, Asked("t", "train", {"study": "x"}))
    turns = [asked.turn() for _ in range(4)]
    assert turns == [["asked: drift"], ["asked: retrain"], ["asked: train"], []]
    # A look that finds harm is followed by a retraining, as always.
    assert [" ".join(words[:3]) for words in world.ran] == [
        "drift --home h",
        "retrain --trigger drift",
        "retrain --trigger manual",
        "train x",
    ]
    assert world.ran[2][3:] == ("--home", "h", "--server", "s", "--json")
    assert ended(asked, "d").answer == HARM
    assert ended(asked, "r").answer["state"] == "done"
    assert {each.alert.kind for each in asked.notifier.store.all()} == {"harm"}


def test_a_fault_of_the_watch_is_told_and_ends_nothing(
    watch: Watch, world: World, monkeypatch
) -> None:
    watch.turn()

    def fail(words: Sequence[str]) -> Finished:
        raise ZeroDivisionError("a value of somebody's row")

    object.__setattr__(watch, "run", fail)
    world.now += timedelta(hours=5)
    # The digest comes after the look that fails.
    assert watch.turn() == ["digest"]
    (fault,) = watch.notifier.store.all()
    assert (fault.alert.subject, fault.active) == (ITSELF, True)
    assert fault.alert.text.startswith("drift: ZeroDivisionError")
    assert "somebody" not in fault.alert.text
    object.__setattr__(watch, "run", world.run)
    assert watch.turn() == []
    assert [each.active for each in watch.notifier.store.all()] == [False]


def test_alerts_that_fail_end_nothing_either(watch: Watch, world: World, monkeypatch) -> None:
    watch.turn()

    def fail(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr(Notifier, "again", fail)
    monkeypatch.setattr(Notifier, "observe", fail)
    world.now += timedelta(hours=5)
    assert watch.turn() == ["digest"]
    assert world.commands == ["drift"]
