"""`fedrisk serve`: the champion over HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import click

from fedrisk.cli.options import NAME, home_option, json_option
from fedrisk.errors import ModelFileError, ModelNotFoundError, RegistryError, UsageError
from fedrisk.home import Home
from fedrisk.settings import Settings


@click.command()
@home_option
@click.option(
    "--registry",
    metavar="URI",
    help="MLflow server whose champion is fetched into the home's cache first.",
)
@click.option(
    "--follow",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Go on looking at the registry's aliases, this often, in a process beside the server.",
)
@click.option(
    "--wait",
    is_flag=True,
    help="Make the home where there is none, and wait for the first model that a follower brings.",
)
@click.option("--version", metavar="V", help="Serve this version, whatever the aliases say.")
@click.option("--host", default=None, help="A loopback address.  [default: 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=None,
    help="0 takes a free one.  [default: 8080, or FEDRISK_PORT]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Serving processes behind the one port.",
)
@click.option(
    "--grpc-port",
    type=click.IntRange(0, 65_535),
    default=None,
    help="Also speak the Open Inference Protocol over gRPC; 0 takes a free port.  [default: off]",
)
@click.option("--socket", "handle", type=int, default=None, hidden=True)
@click.option("--grpc-socket", "grpc_handle", type=int, default=None, hidden=True)
@click.option("--until-input-closes", is_flag=True, hidden=True)
@json_option
def serve(
    home: Path | None,
    registry: str | None,
    follow: float | None,
    wait: bool,
    version: str | None,
    host: str | None,
    port: int | None,
    workers: int,
    grpc_port: int | None,
    handle: int | None,
    grpc_handle: int | None,
    until_input_closes: bool,
    as_json: bool,
) -> None:
    """Serve the champion over HTTP, and the next one as soon as it is in the cache.

    With --follow the registry is looked at for as long as the server runs. A server without a model
    says so on /ready and waits for its first; with --wait also where there is no home yet, which a
    `fedrisk models follow` beside it fills.

    Ends on Ctrl-C or SIGTERM once running requests are answered.
    """
    from fedrisk.logs import announcer, configure_logs
    from fedrisk.serving.listening import listen
    from fedrisk.settings import read_settings

    if version is not None:
        _check_version(version, follow)
    settings = read_settings()
    configure_logs(settings.log_format, settings.log_level)
    models = ModelSource(registry, follow, version, announcer(settings.log_format, _print))
    place = Home(home or settings.home)
    guarded = settings.keys is not None or place.keys.exists() or bool(settings.oidc_issuer)
    # The port comes first: nothing heavy is loaded to find it taken.
    if handle is None:
        number = settings.port if port is None else port
        opened = listen(host or settings.host, number, keys=guarded)
    else:
        opened = socket.socket(fileno=handle)
    grpc_number = settings.grpc_port if grpc_port is None else grpc_port
    with opened, _held(grpc_handle, host or settings.host, grpc_number, guarded) as held:
        place = place.prepare() if wait or registry is not None else place.existing()
        _check_tokens(settings)
        sockets = Sockets(opened, held)
        if workers > 1:
            _serve_together(place, sockets, workers, models, as_json)
        _serve(place, sockets, settings, models, until_input_closes, as_json)


@dataclass(frozen=True)
class Sockets:
    """Where to listen: for HTTP, and for gRPC where it is on."""

    http: socket.socket
    grpc: socket.socket | None

    def announcement(self) -> dict[str, str]:
        """What ``--json`` prints."""
        from fedrisk.serving.listening import url_of

        told = {"url": url_of(self.http)}
        if self.grpc is not None:
            told["grpc"] = url_of(self.grpc).removeprefix("http://")
        return told

    def __str__(self) -> str:
        told = self.announcement()
        return told["url"] + (f", gRPC on {told['grpc']}" if "grpc" in told else "")


def _held(
    handle: int | None, host: str, port: int | None, guarded: bool
) -> AbstractContextManager[socket.socket | None]:
    """The port of gRPC: the parent's, or one of this process's own, or none."""
    if handle is not None:
        return socket.socket(fileno=handle)
    if port is None:
        return nullcontext()
    from fedrisk.serving.grpc.ports import hold

    return hold(host, port, keys=guarded)


@dataclass(frozen=True)
class ModelSource:
    """Where models come from: a registry's aliases, looked at once or for ever, or one version.

    ``say`` is told a line about what happens.
    """

    registry: str | None
    follow: float | None
    version: str | None
    say: Callable[[str], None]

    def fetch(self, home: Home) -> None:
        """Bring into the cache what must be there before anything serves.

        A follower brings it by itself, sooner or later; meanwhile what the cache holds serves.
        """
        if self.version is not None:
            _pin(home, self.registry, self.version)
        elif self.registry is not None and self.follow is None:
            _refresh(home, self.registry, self.say)

    def following(self, home: Home) -> AbstractContextManager[None]:
        """Follow the registry beside the server, where that is asked for."""
        from fedrisk.serving.following import following

        return following(home, self.registry, self.follow, self.say)


def _print(line: str) -> None:
    click.echo(line, err=True)


def _check_tokens(settings: Settings) -> None:
    """Find settings of tokens that do not fit together before any worker starts."""
    if settings.oidc_issuer or settings.oidc_audience or settings.oidc_jwks:
        from fedrisk.serving.access.configured import make_tokens

        make_tokens(settings)


def _check_version(version: str, follow: float | None) -> None:
    if follow is not None:
        raise UsageError("--version serves one version and --follow does not: take one of them")
    if not NAME.fullmatch(version):
        raise UsageError(f"--version {version!r} is no version", hint="`fedrisk models` lists them")


def _serve(
    home: Home,
    sockets: Sockets,
    settings: Settings,
    models: ModelSource,
    until_input_closes: bool,
    as_json: bool,
) -> None:
    from fedrisk.serving.signals import end_well_on_signals

    end_well_on_signals()
    models.fetch(home)

    from fedrisk.cli.retraining_api import add_retrainings
    from fedrisk.serving.assembly import assemble, serve_grpc, time_limits, with_traces
    from fedrisk.serving.champion import now
    from fedrisk.serving.server import run_server

    def announce() -> None:
        told = sockets.announcement()
        if as_json:
            click.echo(json.dumps(told))
        models.say(f"serving on {sockets} (documentation at {told['url']}/docs)")

    app, lifecycle = assemble(home, settings, models.version)
    add_retrainings(app, settings.database(home.state), app.door.guard, now)
    beside = None if sockets.grpc is None else serve_grpc(app, sockets.grpc, settings)
    traced = with_traces(app, settings)
    with models.following(home):
        run_server(
            traced,
            sockets.http,
            settings.log_level,
            announce,
            until_input_closes=until_input_closes,
            lifecycle=lifecycle,
            drain_seconds=settings.drain_seconds,
            time_limits=time_limits(settings),
            beside=beside,
            # What is traced is an ASGI application: every request has to go through it.
            prompt=app.prompt if traced is app else None,
        )


def _serve_together(
    home: Home, sockets: Sockets, count: int, models: ModelSource, as_json: bool
) -> None:
    import sys

    from fedrisk.serving.workers import Workers
    from fedrisk.settings import process_environment

    models.fetch(home)
    if as_json:
        click.echo(json.dumps(sockets.announcement()))
    models.say(f"serving on {sockets} with {count} workers")
    environment = process_environment()
    together = Workers(home, sockets.http, count, environment, models.say)
    if models.version is not None:
        together.options = ("--version", models.version)
    if sockets.grpc is not None:
        together.options += ("--grpc-socket", str(sockets.grpc.fileno()))
        together.held = (sockets.grpc,)
    with models.following(home):
        code = together.run()
    sys.exit(code)


def _pin(home: Home, registry: str | None, version: str) -> None:
    """Fetch a version, unless it was fetched before; then no registry is needed."""
    from fedrisk.registry.cache import read_model
    from fedrisk.serving.refresh import refresh_from

    try:
        read_model(home.pinned(version))
    except (ModelNotFoundError, ModelFileError):
        refresh_from(home, registry, version=version)


def _refresh(home: Home, registry: str, say: Callable[[str], None]) -> None:
    """Fetch the champion; where the registry is away, one from before will do."""
    from fedrisk.registry.cache import generation
    from fedrisk.serving.refresh import refresh_from

    say("fetching the champion from the registry")
    try:
        refresh_from(home, registry)
    except RegistryError as error:
        if generation(home.champion) is None:
            raise
        say(f"warning: {error.message}; serving the champion of the cache")
