"""SIGKILL in every phase of a run, of every process that takes part: the model stays the same.

A victim is killed while its phase is under way, and the next one as soon as all is back, in the
same phase where it still lasts; pairs that a run was too fast for are left to the next run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.federation.deployment import Deployment
from e2e.federation.faults import (
    ACCOUNT,
    Fault,
    Undisturbed,
    gateway,
    kill,
    lines_of,
    model_of,
    outcome_of,
    phase_of,
    server_app,
    superlink,
    supernode,
)
from running import wait_until

pytestmark = [pytest.mark.federation, pytest.mark.hosts]

PHASES = ("summary", "newton 1", "newton 2", "evaluation", "recording")
ONE_BY_ONE = ("SuperNode", "gateway", "server app", "SuperLink")
EVERYTHING = "everything, on every host"
#: Seconds for all to be back after a kill, and for a run with its kills.
BACK, RUN = 150.0, 560.0
#: Runs that a set of kills may be spread over.
MOST_RUNS = 3

Pairs = list[tuple[str, str]]


def find(federation: Deployment, run: Path, victim: str, phase: str) -> Callable[[], int]:
    """How to find a victim's process; the SuperNode is another site's in every phase."""
    site = list(federation.data)[PHASES.index(phase) % len(federation.data)]
    return {
        "SuperNode": lambda: supernode(federation, site),
        "gateway": lambda: gateway(federation),
        "server app": lambda: server_app(run),
        "SuperLink": lambda: superlink(federation),
    }[victim]


def strike(federation: Deployment, run: Path, victim: str, phase: str) -> bool:
    """Kill one victim; whether there was one."""
    if victim != EVERYTHING:
        return kill(find(federation, run, victim, phase)) > 0
    killed = sum(federation.host(name).cut_power() for name in ("coordinator", *federation.data))
    for name in list(federation.starts):
        federation.starts.pop(name).wait(10)
    return killed > 0


def all_back(federation: Deployment, run: Path, rounds: int) -> bool:
    """Whether every process does its work again: the run's own, too, unless the run has ended."""
    working = phase_of(run, rounds) == "ended" or server_app(run)
    names = ("coordinator", *federation.data)
    return bool(working and all(federation.probe(name).get("ready") for name in names))


def disturb(federation: Deployment, run: Path, pairs: Pairs, rounds: int) -> None:
    """Kill in this run, in as many of the pairs of phase and victim as it lasts."""
    end = time.monotonic() + RUN
    while (phase := phase_of(run, rounds)) != "ended":
        assert time.monotonic() < end, f"the run is still at {phase}"
        victims = [victim for due, victim in pairs if due == phase]
        if not victims or not server_app(run):
            time.sleep(0.02)
            continue
        began = time.monotonic()
        struck = strike(federation, run, victims[0], phase)
        if not struck or phase_of(run, rounds) != phase:
            continue
        pairs.remove((phase, victims[0]))
        federation.start_all()
        assert wait_until(lambda: all_back(federation, run, rounds), BACK), (phase, victims[0])
        ACCOUNT.survived.append(Fault(victims[0], phase, time.monotonic() - began))


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
    listed = federation.fedrisk(federation.network.coordinator, *words, "--json").stdout
    assert listed.count(run.name) == 1, listed


@pytest.mark.parametrize("victims", [ONE_BY_ONE, (EVERYTHING,)], ids=["one-by-one", "everything"])
def test_the_model_is_the_same_to_the_last_bit(
    federation: Deployment, undisturbed: Undisturbed, victims: tuple[str, ...]
) -> None:
    pairs: Pairs = [(phase, victim) for phase in PHASES for victim in victims]
    for _ in range(MOST_RUNS):
        federation.wait_ready()
        before = {path.name for path in federation.runs.glob("*")}
        training = federation.train()
        run = federation.new_run(before)
        disturb(federation, run, pairs, undisturbed.rounds)
        check(federation, run, undisturbed)
        if EVERYTHING not in victims:  # whoever asked for the run has not noticed
            assert federation.finished(training, 60)["run_id"] == run.name
        else:
            training.wait(60)
        if not pairs:
            break
    assert pairs == []
