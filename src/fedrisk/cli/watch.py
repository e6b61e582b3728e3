"""`fedrisk watch`: look for drift and retrain by schedule, and tell people."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

import click

from fedrisk.cli.options import home_option, read_sites, site_option
from fedrisk.errors import UsageError
from fedrisk.home import Home, locked

if TYPE_CHECKING:
    from fedrisk.retraining.watch import Finished, Watch
    from fedrisk.settings import Settings

#: Seconds between two looks at what is due.
LOOK_SECONDS = 5.0
#: Seconds that a command has to end when the watch is told to.
GRACE = 30.0
#: Seconds that a retraining may wait in the middle before the watch looks at other things.
WAIT_SECONDS = 60.0
_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
_FILE = click.Path(path_type=Path, dir_okay=False, exists=True)


@click.command()
@home_option
@site_option
@click.option(
    "--engine",
    type=click.Choice(["local", "deployed"]),
    default="local",
    show_default=True,
    help="How the sites are asked; deployed: a running federation.",
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
def watch(
    home: Path | None,
    sites: tuple[str, ...],
    engine: str,
    federation: Path | None,
    server: str | None,
    server_key: Path | None,
    drift: str | None,
    retrain: str | None,
    metrics_host: str,
    metrics_port: int | None,
    metrics_token_file: Path | None,
) -> None:
    """Run `fedrisk drift` and `fedrisk retrain` when they are due, until told to end.

    Schedules come from the change plan (`plan.toml` in the home): every six hours and every Monday
    without one. `alerts.toml` in the home says who is told of what.
    """
    from contextlib import nullcontext

    from fedrisk.logs import configure_logs
    from fedrisk.retraining.watch_figures import WatchFigures, serve_figures
    from fedrisk.settings import read_settings

    settings = read_settings()
    if home is not None:
        settings = settings.model_copy(update={"home": home})
    place = Home(settings.home).existing()
    words = _words(place, sites, engine, federation)
    configure_logs(settings.log_format, settings.log_level)
    figures = WatchFigures(_now)
    token = metrics_token_file.read_text(encoding="utf-8").strip() if metrics_token_file else ""
    serving = (
        nullcontext()
        if metrics_port is None
        else serve_figures(figures.registry, metrics_host, metrics_port, token)
    )
    commands = Commands(settings.command_hours * 3600)
    more = _retrain_words(server, server_key)
    made = _make(place, settings, words, more, (drift, retrain), commands, figures)
    with locked(place.root / "watch.lock", patience=1.0), serving, commands:
        click.echo(_announcement(made), err=True)
        _watch(made, threading.Event())


def _now() -> datetime:
    return datetime.now(UTC)


def _words(
    home: Home, sites: tuple[str, ...], engine: str, federation: Path | None
) -> tuple[str, ...]:
    """Options that every command gets."""
    words = ["--home", str(home.root), "--engine", engine]
    if engine == "deployed":
        if sites or federation is None:
            raise UsageError("--engine deployed takes --federation DIR, and no --site")
        return (*words, "--federation", str(federation))
    if federation is not None:
        raise UsageError(f"--engine {engine} takes no --federation")
    if not read_sites(sites):
        raise UsageError("no site is named", hint="--site NAME=FILE, once for each site")
    for site in sites:
        words += ["--site", site]
    return tuple(words)


def _retrain_words(server: str | None, key: Path | None) -> tuple[str, ...]:
    """Options of `fedrisk retrain` alone; what waits is left, and taken up again later."""
    words: tuple[str, ...] = ("--wait", f"{WAIT_SECONDS:g}")
    words += () if server is None else ("--server", server)
    return words if key is None else (*words, "--server-key", str(key))


def _make(
    home: Home,
    settings: Settings,
    words: tuple[str, ...],
    more: tuple[str, ...],
    given: tuple[str | None, str | None],
    commands: Commands,
    figures: Callable[[str, Finished], None],
) -> Watch:
    from fedrisk.monitoring.alerts.notifier import Notifier
    from fedrisk.monitoring.alerts.rules import read_rules
    from fedrisk.monitoring.alerts.store import AlertStore
    from fedrisk.registry.cache import read_model
    from fedrisk.retraining.loop_store import LoopStore
    from fedrisk.retraining.plan import read_plan
    from fedrisk.retraining.schedule import Schedule
    from fedrisk.retraining.watch import JobName, Watch
    from fedrisk.retraining.watch_store import WatchStore

    plan, rules = read_plan(home.plan), read_rules(home.alerts)
    expressions: dict[JobName, str] = {
        "drift": given[0] or plan.drift_schedule,
        "retrain": given[1] or plan.retrain_schedule,
        "digest": rules.digest,
    }
    url = settings.database(home.state)
    model = settings.registry_name or read_model(home.champion).name
    loops = LoopStore(url)
    return Watch(
        model=model,
        schedules={
            job: Schedule(text) for job, text in expressions.items() if text not in ("", "never")
        },
        words=words,
        store=WatchStore(url, model),
        notifier=Notifier.open(AlertStore(url, model), rules),
        run=commands.run,
        clock=_now,
        idle=lambda: loops.idle(model, _now()),
        more={"retrain": more},
        tidy=lambda now: _forget(url, now - timedelta(days=settings.keep_days)),
        listeners=(figures,),
    )


def _forget(url: str, time: datetime) -> None:
    """Delete windows and verdicts that are older than they are kept."""
    from fedrisk.monitoring.store import VerdictStore
    from fedrisk.profiles.store import WindowStore

    for store in (WindowStore(url), VerdictStore(url)):
        try:
            store.forget_before(time)
        finally:
            store.close()


def _announcement(watch: Watch) -> str:
    now = _now()
    times = [
        f"{job} {schedule.after(now):%Y-%m-%d %H:%M} UTC"
        for job, schedule in watch.schedules.items()
    ]
    return f"watching model {watch.model}; next: {', '.join(times)}"


def _watch(watch: Watch, never: threading.Event) -> None:
    while True:
        watch.turn()
        never.wait(LOOK_SECONDS)


class Commands:
    """Runs `fedrisk` as a person would; at the end of the context, what runs is told to end.

    Parameters
    ----------
    limit : float
        Seconds after which a command is ended, so that one that hangs stops no other.
    grace : float
        Seconds that it has to end by itself then.
    program : tuple of str
    """

    def __init__(
        self,
        limit: float,
        grace: float = GRACE,
        program: tuple[str, ...] = (sys.executable, "-m", "fedrisk"),
    ) -> None:
        self._limit, self._grace, self._program = limit, grace, program
        self._running: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> None:
        """Nothing runs yet."""

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._end(self._running)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Tell a command to end, and make it."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, words: Sequence[str]) -> Finished:
        """Run one command to its end; what it tells beside its answer is passed on."""
        from fedrisk.retraining.watch import Finished

        # A file, not a pipe: what a command leaves running could hold a pipe open for ever.
        with TemporaryFile() as answer:
            self._running = process = subprocess.Popen(  # noqa: S603 our own command
                [*self._program, *words], stdin=subprocess.DEVNULL, stdout=answer
            )
            try:
                code = process.wait(self._limit)
            except subprocess.TimeoutExpired:
                self._end(process)
                told = f"it had not ended after {self._limit / 3600:g} hours, and was made to"
                return Finished(process.returncode, {"error": told})
            self._running = None
            answer.seek(0)
            return Finished.read(code, answer.read().decode(errors="replace"))
