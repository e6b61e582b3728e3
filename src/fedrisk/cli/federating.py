"""Ask the sites of a federation, wherever they are: train, profile, compare.

The same three questions go to files on this machine (real SuperLink and SuperNodes, Flower's
simulation runtime, or all in this process) and to a running federation. A question whose run ended
well is not asked again: its kept result is the answer, so who was killed in between asks anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel

from fedrisk.cli.training import Trained, check_rows
from fedrisk.errors import FederationError, UsageError
from fedrisk.home import Home
from fedrisk.settings import Settings
from fedrisk.study.questions import (
    ComparisonRequest,
    ComparisonResult,
    ProfileRequest,
    ProfileResult,
    Request,
)
from fedrisk.study.training import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from fedrisk.cli.progress import Display

#: Where the sites of files on this machine run.
Place = Literal["local", "simulation", "in_memory"]
#: Runs a request to its outcome.
Run = Callable[[Request, "Display"], dict[str, Any]]
R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Federating:
    """The way to the sites; make it by `local` or `deployed`.

    Attributes
    ----------
    settings : Settings
        Its home is where runs and models go.
    sites : tuple of str
        Names of the sites that are asked.
    run : callable
        Runs a request to its outcome.
    files : mapping of name to path
        The sites' rows, where they are files on this machine; empty otherwise.
    keep : callable
        Makes a block within which runs share what has to be started for them.
    """

    settings: Settings
    sites: tuple[str, ...]
    run: Run
    files: Mapping[str, Path]
    keep: Callable[[], AbstractContextManager[Run]] | None = None

    @contextmanager
    def kept(self) -> Iterator[Federating]:
        """The same sites for several questions: what has to be started for one stays for the next.

        On the local engine SuperLink and SuperNodes start at the first question, and end with the
        block, however it ends; meanwhile no other command runs a federation in this home.
        """
        if self.keep is None:
            yield self
            return
        with self.keep() as run:
            yield replace(self, run=run, keep=None)

    @classmethod
    def local(
        cls,
        settings: Settings,
        sites: Mapping[str, Path],
        engine: Place = "local",
        policy: Path | None = None,
    ) -> Federating:
        """Sites that are files on this machine.

        Parameters
        ----------
        settings : Settings
        sites : mapping of name to path
        engine : str
            ``local``: real SuperLink and SuperNodes; ``simulation``: Flower's simulation runtime;
            ``in_memory``: this process alone, quick, for tests and notebooks.
        policy : Path, optional
            What every site answers; without one everything, for the files are the asker's own.

        Raises
        ------
        UsageError
            When no site is named, or the engine takes no policy.
        """
        if not sites:
            raise UsageError("no site is named", hint="name each by --site NAME=FILE")
        if policy is not None and engine == "simulation":
            raise UsageError("--engine simulation takes no --policy", hint="use --engine local")

        def run(request: Request, display: Display) -> dict[str, Any]:
            from fedrisk.cli.engines import run_here

            asked = {site: sites[site] for site in request.sites} if request.sites else sites
            return run_here(engine, request, asked, settings, display, policy)

        def keep() -> AbstractContextManager[Run]:
            from fedrisk.cli.engines import running_here

            return running_here(sites, settings, policy)

        shared = keep if engine == "local" else None
        return cls(settings, tuple(sorted(sites)), run, dict(sites), shared)

    @classmethod
    def deployed(cls, federation: Path, settings: Settings, only: Sequence[str] = ()) -> Federating:
        """Sites of a running federation; its home is the federation's.

        Parameters
        ----------
        federation : Path
            Folder of the coordinator.
        settings : Settings
        only : sequence of str
            Some of its sites.

        Raises
        ------
        UsageError
            When a name is none of an approved site's, or no site is approved.
        """
        from fedrisk.federation.engines.deployed import DeployedEngine
        from fedrisk.federation.provisioning.coordinator import Federation
        from fedrisk.settings import process_environment

        engine = DeployedEngine(Federation.open(federation), process_environment())

        def run(request: Request, display: Display) -> dict[str, Any]:
            return engine.run(request, display.watch, display.say)

        there = settings.model_copy(update={"home": engine.home.root})
        return cls(there, engine.sites(only), run, {})

    def train(self, request: TrainingRequest) -> Trained:
        """Fit, evaluate at the sites, register a version; no alias is given or moved.

        Raises
        ------
        DataError
            When files on this machine break the study, with every violation.
        FedriskError
            Whatever ended the run; nothing is registered then.
        """
        started = datetime.now(UTC)
        outcome, result = self._ask(request, TrainingResult)
        seconds = (datetime.now(UTC) - started).total_seconds()
        return Trained(result, str(outcome["version"]), "", seconds)

    def profile(self, request: ProfileRequest) -> ProfileResult:
        """Bin counts of the sites' rows by windows.

        Raises
        ------
        FedriskError
            Whatever ended the run, as when no site answered.
        """
        return self._ask(request, ProfileResult)[1]

    def compare(self, request: ComparisonRequest) -> ComparisonResult:
        """Models on the same matured test rows of every site.

        Raises
        ------
        FedriskError
            Whatever ended the run, as when no site answered.
        """
        return self._ask(request, ComparisonResult)[1]

    def _ask(self, request: Request, kind: type[R]) -> tuple[dict[str, Any], R]:
        """The outcome and the result of a run: kept ones, or those of a run now."""
        from fedrisk.cli.progress import Display
        from fedrisk.federation.progress import Progress

        progress = Progress(Home(self.settings.home).prepare().run(request.run_id))
        outcome = progress.success()
        if outcome is None:
            self._check(request)
            with Display(request) as display:
                outcome = self.run(request, display)
        text = (progress.folder / "result.json").read_text(encoding="utf-8")
        if json.loads(text)["request"] != request.model_dump(mode="json"):
            raise UsageError(
                f"run {request.run_id} asked for something else",
                hint="every request has a run id of its own",
            )
        try:
            return outcome, kind.model_validate_json(text)
        except ValueError as error:
            raise FederationError(f"{progress.folder}: result cannot be read: {error}") from None

    def _check(self, request: Request) -> None:
        """Raise an error where a run would fail from the start."""
        unknown = sorted({*request.sites} - {*self.sites})
        if unknown:
            raise UsageError(
                f"no site is named {', '.join(unknown)}", hint=f"sites: {', '.join(self.sites)}"
            )
        if self.files and isinstance(request, TrainingRequest):
            asked = {site: self.files[site] for site in request.sites or self.sites}
            check_rows(request.study, asked, datetime.fromisoformat(request.as_of))
