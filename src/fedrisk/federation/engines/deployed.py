"""A running federation of real machines: submit a run to its coordinator and follow it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrisk.errors import FederationError, UsageError
from fedrisk.federation.engines.flower import Control
from fedrisk.federation.engines.processes import flower_environment
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.coordinator import Federation
from fedrisk.federation.provisioning.folders import is_held
from fedrisk.federation.unfinished import (
    HANG_SECONDS,
    START_SECONDS,
    deciding,
    pending,
    stop,
    submit,
)
from fedrisk.home import Home
from fedrisk.study.request import SiteRequest
from fedrisk.study.training import RoundRecord

LOOK_SECONDS = 0.2
#: Beyond two deadlines, what a coordinator may need to be started anew and take a run up.
PATIENCE_SECONDS = HANG_SECONDS + 2 * START_SECONDS


@dataclass(frozen=True)
class DeployedEngine:
    """Runs a request on a federation whose coordinator runs on this machine.

    Attributes
    ----------
    federation : Federation
    environment : mapping
        The environment to call Flower's command with.
    patience : float
        Seconds without a sign of the run, beyond two deadlines of the request, after which
        following ends; the run itself goes on.
    start_seconds : float
        For SuperLink to listen, where the coordinator was started just now.
    """

    federation: Federation
    environment: Mapping[str, str]
    patience: float = PATIENCE_SECONDS
    start_seconds: float = START_SECONDS

    @property
    def home(self) -> Home:
        """Where runs and models of the federation are."""
        return Home(self.federation.home)

    def sites(self, only: Sequence[str] = ()) -> tuple[str, ...]:
        """The sites that take part: all that are approved, or some of them.

        Raises
        ------
        UsageError
            When a name is none of an approved site's, or no site is approved.
        """
        members = self.federation.members.read().sites
        approved = sorted(name for name, m in members.items() if m.status == "approved")
        unknown = sorted({*only} - {*approved})
        if unknown or not approved:
            what = f"no approved site is named {', '.join(unknown)}" if unknown else "no site yet"
            raise UsageError(
                f"{self.federation.folder}: {what}",
                hint="`fedrisk federation status` lists the sites and their states",
            )
        return tuple(sorted({*only})) or tuple(approved)

    def run(
        self,
        request: SiteRequest,
        watch: Callable[[RoundRecord], None],
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """Submit a run, or take it up, and follow it to its outcome.

        A run that a process works on, or that was submitted just now, is followed only.

        Parameters
        ----------
        request : SiteRequest
        watch : callable
            Called with each finished round.
        say : callable
            Called with a line about what happens.

        Returns
        -------
        dict
            The outcome that the server app wrote.

        Raises
        ------
        FedriskError
            The error that the run ended by.
        FederationError
            When the coordinator does not run, its SuperLink does not begin to answer, or the run
            gives no sign for too long.
        """
        run = self.home.run(request.run_id)
        progress = Progress(run)
        if not _goes_on(progress):
            self._check_running()
            progress.ask(request)
            self._submit(progress)
        say(f"the coordinator runs {request.run_id}")
        return self._follow(progress, request, watch)

    def stop(self, request: SiteRequest) -> None:
        """End the run at the coordinator and at the sites.

        Raises
        ------
        FederationError
            When Flower does not stop it.
        """
        run = self.home.run(request.run_id)
        stop(self._control(run), run, f"run {request.run_id} was stopped by who asked for it")

    def _submit(self, progress: Progress) -> None:
        run = progress.folder
        if pending(run, time.time()):
            return
        control = self._control(run)
        self._await_superlink(control)
        with deciding(run):
            if _goes_on(progress) or pending(run, time.time()):  # by who was here meanwhile
                return
            progress.reopen()
            submit(control, run, time.time())

    def _await_superlink(self, control: Control) -> None:
        """Let a coordinator that was started a moment ago get ready."""
        end = time.monotonic() + self.start_seconds
        while not control.reachable():
            self._check_running()
            if time.monotonic() > end:
                raise FederationError(
                    f"the coordinator of {self.federation.folder} runs, but its SuperLink has not "
                    f"answered for {self.start_seconds:g} s",
                    hint=f"its logs: {self.federation.folder / 'logs'}",
                )
            time.sleep(LOOK_SECONDS)

    def _check_running(self) -> None:
        if not is_held(self.federation.folder):
            raise FederationError(
                f"the coordinator of {self.federation.folder} does not run",
                hint=f"start it: `fedrisk federation start --federation {self.federation.folder}`",
            )

    def _control(self, run: Path) -> Control:
        flower = self.federation.folder.resolve() / "flower"
        return Control(flower_environment(self.environment, flower, None), run / "flwr.log")

    def _follow(
        self, progress: Progress, request: SiteRequest, watch: Callable[[RoundRecord], None]
    ) -> dict[str, Any]:
        limit = 2 * request.deadline + self.patience
        token, end = progress.token(), time.monotonic() + limit
        while True:
            ended = progress.ended()  # asked first: the last round is told before the outcome
            for record in progress.news():
                watch(record)
                end = time.monotonic() + limit
            if ended and (outcome := progress.outcome()) is not None:
                return outcome
            if progress.token() != token:
                token, end = progress.token(), time.monotonic() + limit
            if time.monotonic() > end:
                raise self._silent(request, limit)
            time.sleep(LOOK_SECONDS)

    def _silent(self, request: SiteRequest, limit: float) -> FederationError:
        state = "runs" if is_held(self.federation.folder) else "does not run"
        return FederationError(
            f"run {request.run_id} gave no sign for {limit:g} s; its coordinator {state}",
            hint=f"it is not lost: `fedrisk train --resume {request.run_id}` follows it again; "
            f"logs: {self.federation.folder / 'logs'}",
        )


def _goes_on(progress: Progress) -> bool:
    """Whether a process works on the run, or it ended well."""
    return progress.alive() or progress.success() is not None
