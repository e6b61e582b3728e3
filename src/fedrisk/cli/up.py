"""`fedrisk up`: the main job on one machine, from rows to an answering API."""

from __future__ import annotations

import json
import shlex
import signal
import threading
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from fedrisk.cli.options import home_option, json_option, read_sites, site_option

if TYPE_CHECKING:
    from fedrisk.study import Study

BUILT_IN = "air-wearables"
#: Seconds for the server to have loaded the champion, and for its first answer.
READY_SECONDS = 60.0
ANSWER_SECONDS = 10.0


@click.command()
@click.option(
    "--study",
    "study_name",
    default=BUILT_IN,
    show_default=True,
    help="Study file, or a built-in study's name.",
)
@site_option
@home_option
@click.option("--port", type=click.IntRange(0, 65_535), help="Port of the API.  [default: 8080]")
@click.option("--once", is_flag=True, help="End after the first answered prediction.")
@json_option
def up(
    study_name: str,
    sites: tuple[str, ...],
    home: Path | None,
    port: int | None,
    once: bool,
    as_json: bool,
) -> None:
    """Train over a real local federation, register, and serve: the main job on one machine.

    Without --site, four simulated cities with wearables, air and weather take part.
    """
    from fedrisk.cli.training import new_request, train_on
    from fedrisk.home import Home
    from fedrisk.serving.listening import listen
    from fedrisk.serving.process import start_server
    from fedrisk.settings import read_settings
    from fedrisk.study import find_study

    started = datetime.now(UTC)
    settings = read_settings()
    settings = settings.model_copy(
        update={"home": home or settings.home, "port": settings.port if port is None else port}
    )
    study = find_study(study_name)
    named = read_sites(sites)
    listen(settings.host, settings.port).close()  # a taken port is an error before the work
    place = Home(settings.home).prepare()
    files = named or _simulated(place, study_name, started)
    request = new_request(
        study, files, started, model="logistic", strategy="exact", rounds=None, options={}
    )
    trained = train_on("local", request, files, settings, promote=True, started=started)
    log = place.root / "logs" / "serve.log"
    server = start_server(place, settings.host, settings.port, log)
    try:
        server.wait_ready(READY_SECONDS)
        row = rounded(study, trained.result.checks[0]["row"])
        answer = predict(server.url, row)
        seconds = (datetime.now(UTC) - started).total_seconds()
        if as_json:
            facts = {"url": server.url, "row": row, "answer": answer, "up_seconds": seconds}
            click.echo(json.dumps(trained.document() | facts))
        else:
            from fedrisk.cli.summary import print_trained

            print_trained(trained)
            _print_address(server.url, row, answer, seconds, place.root)
        if not once:
            _wait_for_signal()
    finally:
        server.stop()


def _simulated(home: Any, study_name: str, now: datetime) -> dict[str, Path]:
    from fedrisk.cli.simulate import DAYS, PEOPLE, SEED, SITES
    from fedrisk.errors import UsageError
    from fedrisk.simulation import latest_start, write_cohort

    if study_name != BUILT_IN:
        raise UsageError(
            f"study {study_name!r} needs rows", hint="name each site by --site NAME=FILE"
        )
    click.echo(f"simulating {SITES} cities, {PEOPLE} people each, {DAYS} days", err=True)
    start = latest_start(now.date(), DAYS)
    folder = home.root / "simulated"
    return write_cohort(folder, SITES, PEOPLE, DAYS, SEED, start, force=True)


def rounded(study: Study, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people type it, so that the answer that is shown belongs to the row that is shown.

    A number that would leave its hard bounds by that stays as it is.
    """
    bounds = {f.name: (f.minimum, f.maximum) for f in study.features if f.kind == "number"}

    def short(name: str, value: Any) -> Any:
        if not isinstance(value, float):
            return value
        low, high = bounds.get(name, (None, None))
        rounded = round(value, 2)
        allowed = (low is None or rounded >= low) and (high is None or rounded <= high)
        return rounded if allowed else value

    return {name: short(name, value) for name, value in row.items()}


def predict(url: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Ask the API for one prediction."""
    request = urllib.request.Request(  # noqa: S310 our own server on loopback
        f"{url}/predict", json.dumps(row).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer


def _print_address(
    url: str, row: Mapping[str, Any], answer: Mapping[str, Any], seconds: float, home: Path
) -> None:
    body = json.dumps(row)
    shown = f"risk {answer['risk_score']:.4f} ({answer['risk_level']})"
    click.echo(f"\nfirst prediction answered {seconds:.0f} s after the start: {shown}")
    click.echo(f"API: {url}   documentation: {url}/docs   metrics: {url}/metrics")
    click.echo("try:")
    click.echo(
        f"  curl -s {url}/predict -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
    click.echo(f"models, runs and logs: {home}   end with Ctrl-C")


def _wait_for_signal() -> None:
    """Return on SIGINT or SIGTERM."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask)
    asked.wait()
