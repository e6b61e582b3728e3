"""One federation for all tests of this folder, and the account of what was done to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.federation import gusto
from e2e.federation.deployment import Deployment
from e2e.federation.faults import ACCOUNT, Undisturbed, lines_of
from e2e.federation.hosts import Network, make_network, names_of, why_not

HERE = Path(__file__).parent
#: The order of the files: the federation's life, from its first site to its end.
ORDER = ("hosts", "joining", "kills", "dropouts", "refusals", "end")
#: Seconds for one training, undisturbed, on a busy machine.
TRAINING = 600.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files of this folder in the order of a federation's life."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem.removeprefix("test_")
        return ORDER.index(name) if item.path.parent == HERE and name in ORDER else -1

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the faults that were survived, what was refused, and how long it all took."""
    if not (ACCOUNT.survived or ACCOUNT.refused or ACCOUNT.rounds):
        return
    show = terminalreporter.write_line
    terminalreporter.section("federation of hosts")
    if ACCOUNT.rounds:
        mean = sum(ACCOUNT.rounds) / len(ACCOUNT.rounds)
        show(f"{len(ACCOUNT.rounds)} undisturbed rounds of four sites, {mean:.1f} s each")
    show(f"{len(ACCOUNT.survived)} faults injected and survived; seconds until all was back:")
    for fault in ACCOUNT.survived:
        show(f"  {fault.phase:12} {fault.what:28} {fault.seconds:6.1f} s")
    show(f"{len(ACCOUNT.refused)} refused:")
    for line in ACCOUNT.refused:
        show(f"  {line}")
    show(f"{time.monotonic() - ACCOUNT.started:.0f} s in all")


def absent(reason: str) -> None:
    """Skip what needs something that is not here; fail where it was to be run in any case."""
    if os.environ.get("FEDRISK_REQUIRE_HOSTS", "") not in ("", "0"):
        pytest.fail(f"FEDRISK_REQUIRE_HOSTS is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def network() -> Iterator[Network]:
    if reason := why_not():
        absent(reason)
    with make_network(f"fr{os.getpid()}-") as made:
        yield made
    assert names_of(made.prefix) == []


@pytest.fixture(scope="session")
def federation(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Four sites that joined as `docs/federation.md` says, all running."""
    if not gusto.DATA.is_file():
        absent("../shared/data/gusto_regions is absent")
    folder = tmp_path_factory.mktemp("hosts")
    made = Deployment(network, folder, gusto.write_sites(folder / "data"))
    made.init()
    made.start_coordinator()
    for name, rows in made.data.items():
        made.approve(name, made.invite(name, rows))
        made.approve_study(name)
        made.start_site(name)
    made.wait_ready()
    yield made
    made.stop(*made.starts)


@pytest.fixture(scope="session")
def undisturbed(federation: Deployment) -> Undisturbed:
    """A training that nothing happened to."""
    told = federation.finished(federation.train(), TRAINING)
    run = federation.runs / told["run_id"]
    ACCOUNT.rounds += [line["seconds"] for line in lines_of(run)]
    return Undisturbed.of(run, told)
