"""`fedrisk serve`: the champion over HTTP."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.errors import RegistryError
from fedrisk.home import Home
from fedrisk.settings import Settings


@click.command()
@home_option
@click.option(
    "--registry",
    metavar="URI",
    help="MLflow server whose champion is fetched into the home's cache first.",
)
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
@click.option("--socket", "handle", type=int, default=None, hidden=True)
@click.option("--until-input-closes", is_flag=True, hidden=True)
@json_option
def serve(
    home: Path | None,
    registry: str | None,
    host: str | None,
    port: int | None,
    workers: int,
    handle: int | None,
    until_input_closes: bool,
    as_json: bool,
) -> None:
    """Serve the champion over HTTP, and the next one as soon as it is in the cache.

    Ends on Ctrl-C or SIGTERM once running requests are answered.
    """
    from fedrisk.serving.listening import listen
    from fedrisk.settings import read_settings

    settings = read_settings()
    place = Home(home or settings.home)
    # The port comes first: nothing heavy is loaded to find it taken.
    if handle is None:
        number = settings.port if port is None else port
        opened = listen(host or settings.host, number, keys=place.keys.exists())
    else:
        opened = socket.socket(fileno=handle)
    with opened:
        place = place.existing() if registry is None else place.prepare()
        if workers > 1:
            _serve_together(place, opened, workers, registry, as_json)
        _serve(place, opened, settings, registry, until_input_closes, as_json)


def _serve(
    home: Home,
    opened: socket.socket,
    settings: Settings,
    registry: str | None,
    until_input_closes: bool,
    as_json: bool,
) -> None:
    from fedrisk.serving.listening import url_of
    from fedrisk.serving.signals import end_well_on_signals

    end_well_on_signals()
    if registry is not None:
        _refresh(home, registry)

    from fedrisk.serving.assembly import assemble
    from fedrisk.serving.server import run_server

    url = url_of(opened)

    def announce() -> None:
        if as_json:
            click.echo(json.dumps({"url": url}))
        click.echo(f"serving on {url} (documentation at {url}/docs)", err=True)

    app, lifecycle = assemble(home, settings)
    run_server(
        app,
        opened,
        settings.log_level,
        announce,
        until_input_closes=until_input_closes,
        lifecycle=lifecycle,
        drain_seconds=settings.drain_seconds,
    )


def _serve_together(
    home: Home, opened: socket.socket, count: int, registry: str | None, as_json: bool
) -> None:
    import sys

    from fedrisk.serving.listening import url_of
    from fedrisk.serving.workers import Workers
    from fedrisk.settings import process_environment

    if registry is not None:
        _refresh(home, registry)
    url = url_of(opened)
    if as_json:
        click.echo(json.dumps({"url": url}))
    click.echo(f"serving on {url} with {count} workers", err=True)
    environment = process_environment()
    together = Workers(home, opened, count, environment, lambda line: click.echo(line, err=True))
    sys.exit(together.run())


def _refresh(home: Home, registry: str) -> None:
    """Fetch the champion; where the registry is away, one from before will do."""
    from fedrisk.registry.cache import generation
    from fedrisk.serving.refresh import refresh_from

    click.echo("fetching the champion from the registry", err=True)
    try:
        refresh_from(home, registry)
    except RegistryError as error:
        if generation(home.champion) is None:
            raise
        click.secho(
            f"warning: {error.message}; serving the champion of the cache", fg="yellow", err=True
        )
