"""`fedrisk watch`: look for drift and retrain by schedule, do what is asked, and tell people."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedrisk.cli.options import home_option, read_sites, site_option
from fedrisk.errors import UsageError
from fedrisk.home import Home, locked

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from fedrisk.monitoring.alerts.rules import AlertRules
    from fedrisk.retraining.commands import Commands
    from fedrisk.retraining.operating import Beginning, Operating
    from fedrisk.retraining.operation import Operation
    from fedrisk.retraining.watch import Finished, Watch
    from fedrisk.settings import Settings

#: Seconds between two looks at what is due.
LOOK_SECONDS = 5.0
#: Seconds that a retraining may wait in the middle before the watch looks at other things.
WAIT_SECONDS = 60.0
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@dataclass(frozen=True)
class Arguments:
    """What was given on the command line."""

    sites: tuple[str, ...]
    engine: str
    federation: Path | None
    server: str | None
    server_key: Path | None
    drift: str | None
    retrain: str | None
    metrics_host: str
    metrics_port: int | None
    metrics_token_file: Path | None
    operations: bool
    operations_token_file: Path | None

    def check(self) -> None:
        """Raise UsageError where arguments do not fit together."""
        deployed = self.engine == "deployed"
        if deployed and (self.sites or self.federation is None):
            raise UsageError("--engine deployed takes --federation DIR, and no --site")
        if not deployed and self.federation is not None:
            raise UsageError(f"--engine {self.engine} takes no --federation")
        if not deployed and not read_sites(self.sites):
            raise UsageError("no site is named", hint="--site NAME=FILE, once for each site")
        if self.operations and (self.metrics_port is None or self.operations_token_file is None):
            raise UsageError(
                "--operations needs --metrics-port and --operations-token-file",
                hint="operations are asked for there, by whoever has the token",
            )
        if self.operations_token_file is not None and not self.operations:
            raise UsageError("--operations-token-file without --operations opens nothing")

    def where(self) -> tuple[str, ...]:
        """Options that say how the sites are asked."""
        words = ["--engine", self.engine]
        if self.federation is not None:
            words += ["--federation", str(self.federation)]
        for site in self.sites:
            words += ["--site", site]
        return tuple(words)

    def retraining(self) -> tuple[str, ...]:
        """Options of `fedrisk retrain` alone; what waits is left, and taken up again later."""
        words: tuple[str, ...] = ("--wait", f"{WAIT_SECONDS:g}")
        words += () if self.server is None else ("--server", self.server)
        return words if self.server_key is None else (*words, "--server-key", str(self.server_key))

    def training(self, home: Home, operation: Operation) -> tuple[str, ...]:
        """The command line of a training that somebody asked for.

        The run has the operation's name, so that one in whose middle the watch ended is taken up,
        and not begun a second time.
        """
        from fedrisk.retraining.asked_studies import keep_study

        asked = operation.asked
        words = ["train", *self.where(), "--json"]
        if self.engine != "deployed":
            words += ["--home", str(home.root)]
        if asked.arguments.get("promote"):
            words.append("--promote")
        run = f"asked-{asked.id}"
        if (home.run(run) / "request.json").exists():
            return (*words, "--resume", run)
        study = keep_study(home, asked.id, asked.arguments["study"])
        for name in ("model", "strategy"):
            if name in asked.arguments:
                words += [f"--{name}", asked.arguments[name]]
        return (*words, "--study", str(study), "--run-id", run)


@click.command()
@home_option
@site_option
@click.option(
    "--engine",
    type=click.Choice(["local", "deployed"]),
    default="local",
    show_default=True,
    help="How the sites are asked; deployed: a running federation, whose home is the default.",
)
@click.option(
    "--federation",
    type=_FOLDER,
    help="Folder of the running coordinator, for --engine deployed.",
)
@click.option("--server", help="Address of the API, for trials of challengers.")
@click.option("--server-key", type=_FILE, help="File with an API key of it, scope metrics.")
@click.option("--drift", help="When to look for drift, as a cron expression in UTC.")
@click.option("--retrain", help="When to retrain without a reason; `never` for never.")
@click.option("--metrics-host", default="127.0.0.1", show_default=True)
@click.option(
    "--metrics-port", type=click.IntRange(0, 65_535), help="Figures for Prometheus; off without."
)
@click.option("--metrics-token-file", type=_FILE, help="What a scrape must send, as bearer token.")
@click.option("--operations", is_flag=True, help="Take operations at that port, too.")
@click.option(
    "--operations-token-file", type=_FILE, help="What who asks for one must send, as bearer token."
)
def watch(home: Path | None, **given: Any) -> None:
    """Run `fedrisk drift` and `fedrisk retrain` when they are due, until told to end.

    Schedules come from the change plan (`plan.toml` in the home): every six hours and every Monday
    without one. `alerts.toml` in the home says who is told of what. With --operations it runs what
    `fedrisk trigger` asks for, one after the other. Without a champion it waits for the first.
    """
    from fedrisk.logs import configure_logs
    from fedrisk.retraining.commands import Commands
    from fedrisk.retraining.watch_figures import WatchFigures
    from fedrisk.settings import read_settings

    arguments = Arguments(**given)
    arguments.check()
    settings = read_settings()
    settings = settings.model_copy(update={"home": _place(home, arguments, settings)})
    place = Home(settings.home).existing()
    configure_logs(settings.log_format, settings.log_level)
    figures = WatchFigures(_now)
    commands, wake = Commands(settings.command_hours * 3600), threading.Event()
    operating = _operating(place, settings, arguments) if arguments.operations else None
    watching = Watching(place, settings, arguments, commands, figures, operating, wake)
    # What does not fit is told before the watch waits for anything.
    watching.check()
    serving = _serving(arguments, figures.registry, operating, commands, wake)
    with locked(place.root / "watch.lock", patience=1.0), serving, commands:
        watching.run()


def _now() -> datetime:
    return datetime.now(UTC)


def _place(home: Path | None, arguments: Arguments, settings: Settings) -> Path:
    """The home: the one that is named, or the federation's, where it may have to be made."""
    if home is not None or arguments.federation is None:
        return home or settings.home
    from fedrisk.federation.provisioning.coordinator import Federation

    return Home(Federation.open(arguments.federation).home).prepare().root


def _operating(home: Home, settings: Settings, arguments: Arguments) -> Operating:
    from fedrisk.retraining.operating import Operating
    from fedrisk.retraining.operation_store import OperationStore

    url = settings.database(home.state)
    return Operating(
        # Asked of this watch alone: not in a database that others share.
        OperationStore(f"sqlite:///{home.state}"),
        _now,
        lambda operation: arguments.training(home, operation),
        lambda identifier: _standing(url, identifier),
    )


def _standing(url: str, identifier: str) -> Mapping[str, Any] | None:
    """How a retraining stands."""
    from fedrisk.cli.retrain import document_of
    from fedrisk.retraining.loop_store import LoopStore

    store = LoopStore(url)
    try:
        loop = store.find(identifier)
    finally:
        store.close()
    if loop is None:
        return None
    document = document_of(loop, loop.fact("promoted", "version"))
    return {name: value for name, value in document.items() if value is not None}


def _serving(
    arguments: Arguments,
    registry: CollectorRegistry,
    operating: Operating | None,
    commands: Commands,
    wake: threading.Event,
) -> AbstractContextManager[object]:
    from fedrisk.retraining.watch_server import Desk, Tokens, serve_watch

    if arguments.metrics_port is None:
        return nullcontext()
    desk = None if operating is None else Desk(operating.store, _now, wake.set, commands.told)
    tokens = Tokens(arguments.metrics_token_file, arguments.operations_token_file)
    host, port = arguments.metrics_host, arguments.metrics_port
    return serve_watch(registry, host, port, tokens, desk)


@dataclass(frozen=True)
class Watching:
    """One watch as it runs: before there is a model, and from then on."""

    home: Home
    settings: Settings
    arguments: Arguments
    commands: Commands
    figures: Callable[[str, Finished], None]
    operating: Operating | None
    wake: threading.Event

    def check(self) -> None:
        """Read what people wrote, so that it fails at once where it is wrong."""
        from fedrisk.monitoring.alerts.notifier import Notifier
        from fedrisk.monitoring.alerts.store import AlertStore

        self._schedules()
        Notifier.open(AlertStore(self._url, ""), self.rules())

    def rules(self) -> AlertRules:
        """Who is told of what."""
        from pydantic import SecretStr

        from fedrisk.monitoring.alerts.rules import ChannelRules, read_rules

        rules, address = read_rules(self.home.alerts), self.settings.alertmanager
        if rules.channels or address is None:
            return rules
        told = ChannelRules(kind="alertmanager", url=SecretStr(address), least="low")
        return rules.model_copy(update={"channels": (told,)})

    def run(self) -> None:
        """Take turn after turn, until the process ends."""
        beginning = self._beginning()
        if self._model() is None:
            click.echo("no champion yet: waiting for the first model", err=True)
        while self._model() is None:
            _guarded(beginning.turn)
            self._pause()
        made = self._make()
        click.echo(_announcement(made), err=True)
        while True:
            made.turn()
            self._pause()

    def _pause(self) -> None:
        """Until the next look, or until somebody asks for something."""
        self.wake.wait(LOOK_SECONDS)
        self.wake.clear()

    @property
    def _url(self) -> str:
        return self.settings.database(self.home.state)

    def _model(self) -> str | None:
        """The registered model's name; None before there is a champion."""
        from fedrisk.errors import ModelNotFoundError
        from fedrisk.registry.cache import read_model

        try:
            found = read_model(self.home.champion).name
        except ModelNotFoundError:
            return None
        return self.settings.registry_name or found

    def _beginning(self) -> Beginning:
        from fedrisk.retraining.operating import Beginning

        return Beginning(self.operating, self.commands.run, (self.figures,))

    def _schedules(self) -> Mapping[Any, Any]:
        from fedrisk.retraining.plan import read_plan
        from fedrisk.retraining.schedule import Schedule

        plan = read_plan(self.home.plan)
        expressions = {
            "drift": self.arguments.drift or plan.drift_schedule,
            "retrain": self.arguments.retrain or plan.retrain_schedule,
            "digest": self.rules().digest,
        }
        return {
            job: Schedule(text) for job, text in expressions.items() if text not in ("", "never")
        }

    def _make(self) -> Watch:
        from fedrisk.monitoring.alerts.notifier import Notifier
        from fedrisk.monitoring.alerts.store import AlertStore
        from fedrisk.retraining.loop_store import LoopStore
        from fedrisk.retraining.watch import Watch
        from fedrisk.retraining.watch_store import WatchStore

        model = self._model() or ""
        loops = LoopStore(self._url)
        return Watch(
            model=model,
            schedules=self._schedules(),
            words=("--home", str(self.home.root), *self.arguments.where()),
            store=WatchStore(self._url, model),
            notifier=Notifier.open(AlertStore(self._url, model), self.rules()),
            run=self.commands.run,
            clock=_now,
            idle=lambda: loops.idle(model, _now()),
            more={"retrain": self.arguments.retraining()},
            tidy=self._tidy,
            listeners=(self.figures,),
            operating=self.operating,
        )

    def _tidy(self, now: datetime) -> None:
        """Delete windows, verdicts, what was asked, and looks' runs that are too old to be kept."""
        from fedrisk.monitoring.store import VerdictStore
        from fedrisk.profiles.store import WindowStore
        from fedrisk.retraining.asked_studies import forget_studies
        from fedrisk.retraining.drift_runs import forget_drift_runs

        time = now - timedelta(days=self.settings.keep_days)
        for store in (WindowStore(self._url), VerdictStore(self._url)):
            try:
                store.forget_before(time)
            finally:
                store.close()
        if self.operating is not None:
            self.operating.store.forget_before(time)
        forget_studies(self.home, time)
        forget_drift_runs(self.home, now)


def _guarded(turn: Callable[[], Sequence[str]]) -> None:
    """Before there is a model nobody can be told of a fault; the log tells it."""
    import logging

    try:
        turn()
    except Exception:
        logging.getLogger("fedrisk.watch").exception("a fault before the first model")


def _announcement(watch: Watch) -> str:
    now = _now()
    times = [
        f"{job} {schedule.after(now):%Y-%m-%d %H:%M} UTC"
        for job, schedule in watch.schedules.items()
    ]
    return f"watching model {watch.model}; next: {', '.join(times) or 'what is asked for'}"
