"""Flower's entry point at the coordinator: run the request, hand a model to the registry."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrisk.errors import FederationError, FedriskError, SupersededError
from fedrisk.federation.broadcast import Broadcast, Watcher, ignore
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.compatibility import version_warnings
from fedrisk.federation.progress import Progress
from fedrisk.federation.questions.asking import ask
from fedrisk.federation.receipts import Countersigner
from fedrisk.home import Home
from fedrisk.settings import Settings, read_settings
from fedrisk.study.questions import Request, Result, parse_request
from fedrisk.study.training import RoundRecord, TrainingResult

logger = logging.getLogger(__name__)

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the request that came as run configuration."""
    request = parse_request(str(context.run_config["request"]))
    execute(grid, request, read_settings())


def execute(grid: Grid, request: Request, settings: Settings, watch: Watcher = ignore) -> None:
    """Ask the sites over the grid, keep the result, record a model, and leave an outcome.

    A run that another process began goes on after its last finished round. A process whose run was
    stopped, or taken up by another one, ends without a word. At a federation's coordinator a
    process that dies leaves no outcome, for its supervisor starts the run again.

    Parameters
    ----------
    grid : Grid
        Flower's transport, on any engine.
    request : TrainingRequest, ProfileRequest or ComparisonRequest
    settings : Settings
        Names the home, the registry, and the federation's folder where there is one.
    watch : callable
        Called with each finished round, beside its line in the run's folder.
    """
    home = Home(settings.home)
    progress = Progress(home.run(request.run_id))
    progress.ask(request)
    checkpoints = Checkpoints.claim(progress.folder / "checkpoint")
    if reason := progress.stopped():  # asked last: who stops a run marks it, then claims it
        logger.warning("%s", reason)
        return
    progress = Progress(progress.folder, checkpoints.fenced)
    work = _Work(grid, request, settings, home, progress, checkpoints, watch)
    with progress.hold(checkpoints.token):
        work.run()


@dataclass
class _Work:
    grid: Grid
    request: Request
    settings: Settings
    home: Home
    progress: Progress
    checkpoints: Checkpoints
    watch: Watcher

    @cached_property
    def broadcast(self) -> Broadcast[Request]:
        """The way to the sites."""
        return Broadcast(self.grid, self.request, self.settings.poll_seconds, self._tell)

    def run(self) -> None:
        try:
            self.progress.succeed(self.checkpoints.token, **self._ask_and_record())
        except SupersededError as error:
            logger.warning("%s", error.message)
        except FedriskError as error:
            self._fail(error)
        except BaseException as error:
            self._died(error)
            raise

    def _ask_and_record(self) -> dict[str, str]:
        """What the outcome tells beside that all went well."""
        result = self._ask()
        self.progress.bring(result)
        if not isinstance(result, TrainingResult):
            return {}
        from fedrisk.registry.record import record_training

        with self.checkpoints.fenced():  # the registry knows no tokens
            return {"version": record_training(result, self.home, self.settings)}

    def _ask(self) -> Result:
        kept = self.checkpoints.load()
        rounds = [] if kept is None else kept["conversation"]["rounds"]
        self.progress.catch_up(RoundRecord.model_validate(each) for each in rounds)
        broadcast = self.broadcast
        if self.settings.federation is not None:
            broadcast.countersigner = Countersigner.open(
                self.settings.federation, lambda: datetime.now(UTC)
            )
        result = ask(broadcast, datetime.now(UTC), self.checkpoints)
        warnings = (*result.warnings, *version_warnings(broadcast.versions))
        return result.model_copy(update={"warnings": warnings})

    def _tell(self, record: RoundRecord) -> None:
        self.progress.add(record)
        self.watch(record)

    def _fail(self, error: FedriskError) -> None:
        with suppress(SupersededError):
            self.progress.fail(error, self.checkpoints.token, self.broadcast.unfinished)

    def _died(self, error: BaseException) -> None:
        reason = _reason(error)
        logger.error("%s", reason)
        if self.settings.federation is None:
            self._fail(FederationError(reason, hint="`fedrisk train --resume` takes the run up"))
        else:
            with suppress(SupersededError):
                self.progress.crash(reason)


def _reason(error: BaseException) -> str:
    from flwr.supercore.run import RunNotRunningException

    if isinstance(error, RunNotRunningException):
        return "Flower ended the run: it was stopped there, or its app was taken for dead"
    return f"the coordinator's app failed: {error!r}"
