"""SIGKILL in every phase of a run, of every process that takes part: the model stays the same.

In each phase one victim after the other is killed, the next one as soon as the run is under way
again, for a phase ends only when every site has answered. What a run was too fast for is left to
the next run.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from e2e.federation.deployment import Deployment
from e2e.federation.faults import (
    ACCOUNT,
    Fault,
    Undisturbed,
    gateway,
    guardian,
    kill,
    lines_of,
    model_of,
    outcome_of,
    phase_of,
    resident,
    server_app,
    superlink,
    supernode,
)

pytestmark = [pytest.mark.federation, pytest.mark.hosts]

PHASES = ("summary", "newton 1", "newton 2", "evaluation", "recording")
EVERYTHING = "everything on every host"
VICTIMS = ("SuperNode", "gateway", "server app", "SuperLink", EVERYTHING)
#: What the processes above depend on, once each.
BESIDE = {"newton 1": "resident process", "evaluation": "guardian"}
#: A run goes on while these are away: Flower lets a SuperNode whose machine died back in only when
#: it has missed its heartbeats, a minute later.
NOT_WAITED_FOR = ("SuperNode", "gateway")
#: Seconds for a run with all its kills, on a busy machine.
RUN = 2400.0
#: Runs that the kills may be spread over.
MOST_RUNS = 3


@dataclass(frozen=True)
class Wound:
    """A victim that was killed and is not back."""

    victim: str
    phase: str
    began: float
    healed: Callable[[], object]


@dataclass
class Campaign:
    """The kills in one run.

    Attributes
    ----------
    federation : Deployment
    run : Path
    training : Popen
        The command that follows the run; it is spared, for it is no part of the federation.
    rounds : int
        Of an undisturbed run.
    pairs : list of phase and victim
        Who is to be killed yet, in this order.
    """

    federation: Deployment
    run: Path
    training: subprocess.Popen[bytes]
    rounds: int
    pairs: list[tuple[str, str]]
    open: list[Wound] = field(default_factory=list)

    def wage(self) -> None:
        """Kill until the run has ended and everyone is back."""
        end = time.monotonic() + RUN
        while (phase := phase_of(self.run, self.rounds)) != "ended" or self.open:
            assert time.monotonic() < end, f"at {phase}, not back: {self.open}"
            self._heal()
            victims = [victim for due, victim in self.pairs if due == phase]
            if victims and not self._waits() and server_app(self.run):
                self._strike(phase, victims[0])
            time.sleep(0.05)

    def _waits(self) -> bool:
        return any(wound.victim not in NOT_WAITED_FOR for wound in self.open)

    def _strike(self, phase: str, victim: str) -> None:
        began, hit = time.monotonic(), self._victim(phase, victim)
        killed = hit.kill()
        if not killed or phase_of(self.run, self.rounds) != phase:
            return  # it was not there, or the phase had just ended
        self.pairs.remove((phase, victim))
        self.open.append(Wound(victim, phase, began, lambda: hit.is_back(killed)))
        self.federation.start_all()

    def _heal(self) -> None:
        for wound in list(self.open):
            if wound.healed():
                self.open.remove(wound)
                seconds = time.monotonic() - wound.began
                ACCOUNT.survived.append(Fault(wound.victim, wound.phase, seconds))

    def _victim(self, phase: str, victim: str) -> Victim:
        federation, run = self.federation, self.run
        sites = list(federation.data)
        site = sites[PHASES.index(phase) % len(sites)]  # another one in every phase
        if victim == EVERYTHING:
            return Everything(self)
        found: dict[str, tuple[str, Callable[[], int]]] = {
            "SuperNode": (site, lambda: supernode(federation, site)),
            "gateway": ("coordinator", lambda: gateway(federation)),
            "server app": ("", lambda: server_app(run)),
            "SuperLink": ("coordinator", lambda: superlink(federation)),
            "resident process": ("coordinator", lambda: resident(federation)),
            "guardian": ("coordinator", lambda: guardian(federation)),
        }
        return Victim(self, *found[victim])

    def under_way(self) -> bool:
        """Whether the run has ended, or a process works on it."""
        return phase_of(self.run, self.rounds) == "ended" or server_app(self.run) > 0


@dataclass(frozen=True)
class Victim:
    """One process: the folder whose probe must be well again, and how to find it."""

    campaign: Campaign
    name: str
    find: Callable[[], int] = lambda: 0

    def kill(self) -> int:
        """SIGKILL it; its process id, 0 where it was not there."""
        return kill(self.find)

    def is_back(self, killed: int) -> bool:
        """Whether another process is in its place and does its work."""
        if not self.name:  # the run's own process
            return self.campaign.under_way() and self.find() != killed
        well = self.find() not in (0, killed) and self.campaign.under_way()
        return well and bool(self.campaign.federation.probe(self.name).get("ready"))


class Everything(Victim):
    """Every process of the federation on every host, as by a power cut."""

    def __init__(self, campaign: Campaign) -> None:
        super().__init__(campaign, "coordinator")

    def kill(self) -> int:
        federation = self.campaign.federation
        spared = frozenset({self.campaign.training.pid})
        hosts = [federation.host(name) for name in ("coordinator", *federation.data)]
        killed = sum(host.cut_power(spared) for host in hosts)
        for name in list(federation.starts):
            federation.starts.pop(name).wait(10)
        return killed

    def is_back(self, killed: int) -> bool:
        names = ("coordinator", *self.campaign.federation.data)
        under_way = self.campaign.under_way()
        return under_way and all(self.campaign.federation.probe(n).get("ready") for n in names)


def check(federation: Deployment, run: Path, undisturbed: Undisturbed) -> None:
    """The run ended as if nothing had happened to it."""
    told = outcome_of(run)
    assert told is not None
    assert told["ok"], told
    assert model_of(run) == undisturbed.model
    rounds = lines_of(run)
    assert [line["number"] for line in rounds] == list(range(1, undisturbed.rounds + 1))
    assert {tuple(line["sites"]) for line in rounds} == {tuple(federation.data)}
    assert not any(line["dropped"] for line in rounds)
    words = ("models", "--home", federation.coordinator / "home")
    listed = federation.told(federation.network.coordinator, *words)["versions"]
    assert [version["run_id"] for version in listed].count(run.name) == 1


def test_the_model_is_the_same_to_the_last_bit(
    federation: Deployment, undisturbed: Undisturbed
) -> None:
    pairs = [(phase, victim) for phase in PHASES for victim in VICTIMS]
    pairs += [*BESIDE.items()]
    pairs.sort(key=lambda pair: pair[1] == EVERYTHING)
    for _ in range(MOST_RUNS):
        federation.wait_ready()
        before = {path.name for path in federation.runs.glob("*")}
        training = federation.train()
        run = federation.new_run(before)
        Campaign(federation, run, training, undisturbed.rounds, pairs).wage()
        # Whoever asked for the run has noticed nothing.
        assert federation.finished(training, 120)["run_id"] == run.name
        check(federation, run, undisturbed)
        if not pairs:
            break
    assert pairs == []
