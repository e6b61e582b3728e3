"""Run a request of any kind on this machine: by which of the engines, the caller says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrisk.errors import FederationError
from fedrisk.home import Home
from fedrisk.settings import Settings
from fedrisk.study.questions import Request

if TYPE_CHECKING:
    from fedrisk.cli.progress import Display
    from fedrisk.federation.engines.local import LocalEngine, LocalFederation

#: Seconds between two looks for replies where everything happens in this process.
IN_MEMORY_POLL = 0.002


def run_here(
    engine: str,
    request: Request,
    sites: Mapping[str, Path],
    settings: Settings,
    display: Display,
    policy: Path | None = None,
) -> dict[str, Any]:
    """Run a request, or take it up, to its outcome.

    Parameters
    ----------
    engine : str
        ``local``: real SuperLink and SuperNodes; ``simulation``: Flower's simulation runtime;
        ``in_memory``: this process alone.
    request : TrainingRequest, ProfileRequest or ComparisonRequest
    sites : mapping of name to path
    settings : Settings
    display : Display
    policy : Path, optional
        What every site answers; the simulation runtime takes none.

    Raises
    ------
    FedriskError
        The error that the run ended by.
    """
    home = Home(settings.home)
    if engine == "simulation":
        return _simulate(request, sites, settings, home, display)
    if engine == "in_memory":
        return _in_memory(request, sites, settings, home, display, policy)
    return _locally(request, sites, settings, display, policy)


def _simulate(
    request: Request,
    sites: Mapping[str, Path],
    settings: Settings,
    home: Home,
    display: Display,
) -> dict[str, Any]:
    from fedrisk.cli.server_app import execute
    from fedrisk.federation.engines.simulation import run_simulation

    display.say("starting Flower's simulation runtime")
    return run_simulation(
        request,
        sites,
        home.run(request.run_id),
        lambda grid, asked: execute(grid, asked, settings, display.watch),
    )


def _in_memory(
    request: Request,
    sites: Mapping[str, Path],
    settings: Settings,
    home: Home,
    display: Display,
    policy: Path | None,
) -> dict[str, Any]:
    from fedrisk.cli.server_app import execute
    from fedrisk.federation.engines.in_memory import InMemoryGrid
    from fedrisk.federation.progress import Progress

    progress = Progress(home.run(request.run_id))
    progress.reopen()
    quick = settings.model_copy(update={"poll_seconds": IN_MEMORY_POLL, "federation": None})
    execute(InMemoryGrid(sites, policy), request, quick, display.watch)
    outcome = progress.outcome()
    if outcome is None:
        raise FederationError(f"run {request.run_id} was taken up by another process")
    return outcome


@contextmanager
def running_here(
    sites: Mapping[str, Path], settings: Settings, policy: Path | None = None
) -> Iterator[Callable[[Request, Display], dict[str, Any]]]:
    """Runs of the ``local`` engine one after the other, on one federation that starts at the first.

    Parameters
    ----------
    sites : mapping of name to path
    settings : Settings
    policy : Path, optional
        What every site answers.

    Yields
    ------
    callable
        Runs a request to its outcome, as `run_here` does.
    """
    local = _local_engine(settings, policy)
    with ExitStack() as stack:
        started: list[LocalFederation] = []

        def run(request: Request, display: Display) -> dict[str, Any]:
            if not started:
                started.append(stack.enter_context(local.running(sites, display.say)))
            return started[0].run(request, display.watch, display.say)

        yield run


def _local_engine(settings: Settings, policy: Path | None) -> LocalEngine:
    from fedrisk.federation.engines.local import LocalEngine
    from fedrisk.settings import process_environment

    resident = settings.flower_start == "resident"
    home = Home(settings.home)
    return LocalEngine(home, process_environment(), datetime.now(UTC), resident, policy)


def _locally(
    request: Request,
    sites: Mapping[str, Path],
    settings: Settings,
    display: Display,
    policy: Path | None,
) -> dict[str, Any]:
    local = _local_engine(settings, policy)
    return local.run(request, sites, display.watch, display.say)
