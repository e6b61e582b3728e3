"""Services start in order, come back within bounds, and are never started twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fedrisk.federation.supervision.supervisor import Backoff, Service, Supervisor

TICK = 0.2


@dataclass
class Machine:
    """A machine with processes in place of real ones: who runs, who is ready, who ignores SIGTERM.

    `take_exits` gives each end once, as `engines.processes` does; a process that was told to stop
    ends at the next look, a deaf one when the guardian would kill it.
    """

    now: float = 100.0
    running: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    stopping: dict[str, float] = field(default_factory=dict)
    exits: dict[str, int] = field(default_factory=dict)
    starts: list[tuple[float, str]] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def start(self, name: str, argv: Sequence[str]) -> None:
        assert argv == [f"/bin/{name}"]
        if name in self.broken:
            raise OSError(28, "No space left on device")
        assert name not in self.running, f"{name} was started twice"
        self.running.add(name)
        self.starts.append((self.now, name))

    def stop(self, name: str) -> None:
        if name in self.running:
            grace = 6.0 if name in self.deaf else 0.0
            self.stopping.setdefault(name, self.now + grace)

    def end(self, name: str, code: int = 1) -> None:
        if name in self.running:
            self.running.remove(name)
            self.ready.discard(name)
            self.stopping.pop(name, None)
            self.exits[name] = code

    def take_exits(self) -> dict[str, int]:
        for name, due in list(self.stopping.items()):
            if self.now >= due:
                self.end(name, -9 if name in self.deaf else -15)
        taken, self.exits = self.exits, {}
        return taken

    def service(self, name: str, *after: str, start_seconds: float = 30.0) -> Service:
        return Service(
            name, lambda: [f"/bin/{name}"], lambda: name in self.ready, after, start_seconds
        )


class Scene:
    """A supervisor on that machine, with what it said."""

    def __init__(
        self, machine: Machine, *services: Service, backoff: Backoff | None = None
    ) -> None:
        self.machine = machine
        self.said: list[tuple[str, str]] = []
        self.told: list[str] = []
        self.supervisor = Supervisor(
            services,
            machine,
            lambda event, **facts: self.said.append((event, str(facts.get("service", "")))),
            lambda: machine.now,
            random.Random(1),
            backoff or Backoff(),
            on_ready=lambda name: self.told.append(f"ready {name}"),
            on_exit=lambda name: self.told.append(f"exit {name}"),
        )

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.supervisor.tick()
            self.machine.now += TICK

    def run_until(self, condition: Callable[[], object], seconds: float = 200.0) -> float:
        begun = self.machine.now
        while not condition():
            assert self.machine.now - begun < seconds, "it never came"
            self.run(TICK)
        return self.machine.now - begun

    def state(self, name: str) -> str:
        return str(self.supervisor.report()[name]["state"])


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_starts_in_order_each_once_the_former_is_ready(machine: Machine) -> None:
    scene = Scene(machine, machine.service("gateway", "superlink"), machine.service("superlink"))
    scene.run(5)
    assert machine.running == {"superlink"}
    assert not scene.supervisor.all_running()
    machine.ready.add("superlink")
    scene.run(1)
    assert machine.running == {"superlink", "gateway"}
    assert not scene.supervisor.all_running()
    machine.ready.add("gateway")
    scene.run(1)
    assert scene.supervisor.all_running()
    assert scene.told == ["ready superlink", "ready gateway"]


def test_what_depends_on_it_goes_on_while_a_service_is_away(machine: Machine) -> None:
    scene = Scene(machine, machine.service("superlink"), machine.service("gateway", "superlink"))
    machine.ready |= {"superlink", "gateway"}
    scene.run(1)
    machine.end("superlink")
    scene.run(TICK)
    assert machine.running == {"gateway"}
    assert scene.state("gateway") == "running"
    machine.end("gateway")
    machine.ready.discard("superlink")
    scene.run(20)
    assert machine.running == {"superlink"}, "the gateway waits for what it stands before"


@pytest.mark.parametrize("jitter", [0.0, 0.25, 0.999_999])
def test_delays_double_to_a_bound_and_jitter_takes_off_up_to_half(jitter: float) -> None:
    backoff = Backoff(first=1.0, largest=60.0)
    for failures in range(1, 50):
        whole = min(60.0, 2.0 ** (failures - 1))
        assert whole / 2 < backoff.delay(failures, jitter) <= whole
        assert backoff.delay(failures, jitter) == pytest.approx(whole * (1 - jitter / 2))
    assert backoff.delay(10_000, 0.0) == 60.0


def test_a_process_that_keeps_ending_is_started_ever_more_rarely(machine: Machine) -> None:
    scene = Scene(machine, machine.service("node"))
    for _ in range(9):
        scene.run_until(lambda: "node" in machine.running)
        machine.end("node")
    times = [time for time, _ in machine.starts]
    pauses = [b - a for a, b in pairwise(times)]
    for number, pause in enumerate(pauses):
        whole = min(60.0, 2.0**number)
        assert whole / 2 <= pause + 1e-9
        assert pause <= whole + 3 * TICK


def test_two_sites_do_not_come_back_at_the_same_moment(machine: Machine) -> None:
    scene = Scene(machine, *(machine.service(f"node-{n}") for n in range(20)))
    machine.ready |= {f"node-{n}" for n in range(20)}
    scene.run(1)
    for n in range(20):
        machine.end(f"node-{n}")
    scene.run(TICK)
    due = {condition.due for condition in scene.supervisor.conditions.values()}
    assert len(due) == 20


def test_a_process_that_ran_long_starts_without_history(machine: Machine) -> None:
    scene = Scene(machine, machine.service("node"), backoff=Backoff(stable=60.0))
    for _ in range(6):
        scene.run_until(lambda: "node" in machine.running)
        machine.end("node")
    scene.run_until(lambda: "node" in machine.running)
    machine.ready.add("node")
    scene.run(59)
    machine.end("node")
    assert scene.run_until(lambda: "node" in machine.running) > 15, "59 s are not long enough"
    machine.ready.add("node")
    scene.run(61)
    machine.end("node")
    assert scene.run_until(lambda: "node" in machine.running) <= 1.0 + 3 * TICK


def test_only_time_in_which_it_worked_counts_as_stable(machine: Machine) -> None:
    scene = Scene(machine, machine.service("node", start_seconds=1000.0))
    for _ in range(5):
        scene.run_until(lambda: "node" in machine.running)
        scene.run(100)
        machine.end("node")
    assert scene.run_until(lambda: "node" in machine.running) > 7


def test_asked_to_restart_it_is_back_at_once_without_history(machine: Machine) -> None:
    scene = Scene(machine, machine.service("gateway"))
    for _ in range(6):
        scene.run_until(lambda: "gateway" in machine.running)
        machine.end("gateway")
    scene.run_until(lambda: "gateway" in machine.running)
    machine.ready.add("gateway")
    scene.run(1)
    scene.supervisor.restart("gateway")
    scene.supervisor.restart("gateway")
    assert scene.run_until(lambda: len(machine.starts) == 8) <= 2 * TICK
    assert scene.supervisor.conditions["gateway"].failures == 0
    machine.end("gateway")
    assert 0.5 <= scene.run_until(lambda: len(machine.starts) == 9) <= 1.0 + 3 * TICK


def test_restart_of_what_waits_changes_nothing(machine: Machine) -> None:
    scene = Scene(machine, machine.service("superlink"), machine.service("gateway", "superlink"))
    scene.supervisor.restart("gateway")
    machine.ready |= {"superlink", "gateway"}
    scene.run(1)
    machine.end("gateway")
    scene.run(TICK)
    assert scene.supervisor.conditions["gateway"].failures == 1, "that end was nobody's wish"


def test_one_that_is_about_to_end_is_not_called_ready(machine: Machine) -> None:
    scene = Scene(machine, machine.service("gateway"))
    machine.deaf.add("gateway")
    scene.run(TICK)
    scene.supervisor.restart("gateway")
    machine.ready.add("gateway")
    scene.run(3)
    assert scene.told == []
    assert not scene.supervisor.all_running()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_late_service_is_ended_and_started_again(machine: Machine, deaf: bool) -> None:
    scene = Scene(machine, machine.service("superlink", start_seconds=30.0))
    machine.deaf |= {"superlink"} if deaf else set()
    scene.run(29)
    assert len(machine.starts) == 1
    assert ("late", "superlink") not in scene.said
    scene.run(10)
    assert ("late", "superlink") in scene.said
    assert len(machine.starts) == 2
    machine.ready.add("superlink")
    scene.run(1)
    assert scene.supervisor.report()["superlink"]["last_exit"] == (-9 if deaf else -15)


def test_report_counts_from_the_start_however_late_it_is(machine: Machine) -> None:
    scene = Scene(machine, machine.service("superlink", start_seconds=10.0))
    machine.deaf.add("superlink")
    scene.run(13)
    assert scene.supervisor.report()["superlink"]["state"] == "starting"
    assert scene.supervisor.report()["superlink"]["seconds"] == pytest.approx(13.0, abs=0.3)


def test_two_that_end_at_once_both_come_back_in_order(machine: Machine) -> None:
    scene = Scene(machine, machine.service("superlink"), machine.service("gateway", "superlink"))
    machine.ready |= {"superlink", "gateway"}
    scene.run(1)
    machine.end("superlink", 137)
    machine.end("gateway", 1)
    scene.run(TICK)
    assert {n: r["last_exit"] for n, r in scene.supervisor.report().items()} == {
        "superlink": 137,
        "gateway": 1,
    }
    machine.ready.add("gateway")
    scene.run(5)
    assert [name for _, name in machine.starts[2:]] == ["superlink"]
    machine.ready.add("superlink")
    scene.run(1)
    assert [name for _, name in machine.starts[2:]] == ["superlink", "gateway"]


def test_an_end_of_what_was_never_started_or_is_unknown_is_ignored(machine: Machine) -> None:
    scene = Scene(machine, machine.service("superlink"), machine.service("gateway", "superlink"))
    machine.exits = {"gateway": 1, "flwr": 0}
    scene.run(1)
    report = scene.supervisor.report()
    assert set(report) == {"superlink", "gateway"}
    assert (report["gateway"]["restarts"], report["gateway"]["last_exit"]) == (0, None)
    assert scene.told == []


def test_one_end_told_twice_counts_once(machine: Machine) -> None:
    scene = Scene(machine, machine.service("node"))
    scene.run(1)
    machine.end("node", 7)
    scene.run(TICK)
    machine.exits = {"node": 7}
    scene.run(TICK)
    assert scene.supervisor.report()["node"]["restarts"] == 1
    assert scene.told == ["exit node"]


def test_one_that_is_not_allowed_yet_waits_without_a_failure(machine: Machine) -> None:
    allowed: list[str] = []
    first, door = machine.service("first"), machine.service("door", "first")
    door.allowed = lambda: bool(allowed)
    scene = Scene(machine, first, door)
    scene.run(1.0)
    machine.ready.add("first")
    scene.run(100.0)
    assert [name for _, name in machine.starts] == ["first"]
    allowed.append("door")
    scene.run_until(lambda: "door" in machine.running, 2 * TICK)
    assert not [event for event, _ in scene.said if event == "cannot start"]


def test_one_that_cannot_be_started_now_is_tried_again(machine: Machine) -> None:
    scene = Scene(machine, machine.service("node"), machine.service("other"))
    machine.broken.add("node")
    scene.run(10)
    assert machine.running == {"other"}
    assert 2 <= scene.said.count(("cannot start", "node")) <= 8
    machine.broken.clear()
    assert scene.run_until(lambda: "node" in machine.running) <= 60.0 + TICK


NAMES = ("resident", "superlink", "gateway")


class AnySequence(RuleBasedStateMachine):
    """Whatever ends, whenever: no service is started twice, each is back within the largest delay.

    `Machine.start` itself refuses a second start of a process that runs.
    """

    LARGEST = 8.0

    def __init__(self) -> None:
        super().__init__()
        self.machine = Machine()
        self.scene = Scene(
            self.machine,
            self.machine.service("resident", start_seconds=5.0),
            self.machine.service("superlink", "resident", start_seconds=5.0),
            self.machine.service("gateway", "resident", "superlink", start_seconds=5.0),
            backoff=Backoff(first=1.0, largest=self.LARGEST, stable=10.0),
        )
        self.startable_since: dict[str, float | None] = dict.fromkeys(NAMES)

    @rule(name=st.sampled_from(NAMES), code=st.integers(-15, 137))
    def end(self, name: str, code: int) -> None:
        self.machine.end(name, code)

    @rule(name=st.sampled_from(NAMES))
    def tell_an_end_twice(self, name: str) -> None:
        if name not in self.machine.running:
            self.machine.exits[name] = 1

    @rule(name=st.sampled_from(NAMES))
    def become_ready(self, name: str) -> None:
        if name in self.machine.running:
            self.machine.ready.add(name)

    @rule(name=st.sampled_from(NAMES), on=st.booleans())
    def be_deaf(self, name: str, on: bool) -> None:
        (self.machine.deaf.add if on else self.machine.deaf.discard)(name)

    @rule(name=st.sampled_from(NAMES))
    def ask_for_a_restart(self, name: str) -> None:
        self.scene.supervisor.restart(name)

    @rule(ticks=st.integers(1, 60))
    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            self.scene.run(TICK)
            self._nobody_waits_too_long()

    def _nobody_waits_too_long(self) -> None:
        conditions = self.scene.supervisor.conditions
        for service in self.scene.supervisor.services:
            waits = conditions[service.name].state == "waiting"
            may = all(conditions[name].state == "running" for name in service.after)
            if not (waits and may):
                self.startable_since[service.name] = None
                continue
            since = self.startable_since[service.name] or self.machine.now
            self.startable_since[service.name] = since
            assert self.machine.now - since <= self.LARGEST + 2 * TICK

    @invariant()
    def what_is_called_running_was_started(self) -> None:
        for name, condition in self.scene.supervisor.conditions.items():
            if condition.state == "waiting":
                assert name not in self.machine.running
            else:
                assert name in self.machine.running or name in self.machine.exits


AnySequence.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnySequence = AnySequence.TestCase
