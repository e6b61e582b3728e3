"""Flower's entry point at the coordinator: run the request, hand the result to the registry."""

from __future__ import annotations

from datetime import UTC, datetime

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrisk.errors import FederationError, FedriskError
from fedrisk.federation.broadcast import Broadcast, Watcher, ignore
from fedrisk.federation.progress import Progress
from fedrisk.federation.training import train
from fedrisk.home import Home
from fedrisk.settings import Settings, read_settings
from fedrisk.study.training import RoundRecord, TrainingRequest

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the request that came as run configuration."""
    request = TrainingRequest.model_validate_json(str(context.run_config["request"]))
    execute(grid, request, read_settings())


def execute(
    grid: Grid, request: TrainingRequest, settings: Settings, watch: Watcher = ignore
) -> None:
    """Train over the grid, record the result, and leave an outcome, whatever happens.

    Parameters
    ----------
    grid : Grid
        Flower's transport, on any engine.
    request : TrainingRequest
    settings : Settings
        Names the home and the registry.
    watch : callable
        Called with each finished round, beside its line in the run's folder.
    """
    home = Home(settings.home)
    progress = Progress(home.run(request.run_id))

    def finished(record: RoundRecord) -> None:
        progress.add(record)
        watch(record)

    with progress.hold():
        _run(grid, request, settings, home, progress, finished)


def _run(
    grid: Grid,
    request: TrainingRequest,
    settings: Settings,
    home: Home,
    progress: Progress,
    finished: Watcher,
) -> None:
    try:
        broadcast = Broadcast(grid, request, settings.poll_seconds, finished)
        version = _train_and_record(broadcast, settings, home, progress)
    except FedriskError as error:
        progress.fail(error)
    except BaseException as error:
        progress.fail(FederationError(f"the coordinator's app failed: {error!r}"))
        raise
    else:
        progress.succeed(version=version)


def _train_and_record(
    broadcast: Broadcast, settings: Settings, home: Home, progress: Progress
) -> str:
    result = train(broadcast, datetime.now(UTC))
    (progress.folder / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    from fedrisk.registry.record import record_training

    return record_training(result, home, settings)
