"""`fedrisk models follow`: the home's caches follow the registry."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.home import Home

EVERY_SECONDS = 5.0


@click.command()
@home_option
@click.option("--registry", metavar="URI", help="MLflow server; else the one that settings name.")
@click.option("--name", default=None, help="Registered model, where the registry holds several.")
@click.option(
    "--every",
    type=click.FloatRange(min=0, min_open=True),
    default=EVERY_SECONDS,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Only say whether a follower of this home has looked lately; an error where none has.",
)
@click.option("--once", is_flag=True, help="Look once; a registry that is away is an error.")
@click.option("--until-input-closes", is_flag=True, hidden=True)
@json_option
def follow(
    home: Path | None,
    registry: str | None,
    name: str | None,
    every: float,
    check: bool,
    once: bool,
    until_input_closes: bool,
    as_json: bool,
) -> None:
    """Keep the home's champion and challenger what the registry's aliases say.

    Versions are verified before they replace what is there; running servers take them up. While the
    registry is away the caches stay as they are.
    """
    from fedrisk.serving.signals import end_well_on_signals
    from fedrisk.settings import read_settings

    settings = read_settings()
    if check:
        _check(Home(home or settings.home), every, as_json)
        return
    if not once:
        end_well_on_signals()
    given = {"tracking_uri": registry, "registry_name": name}
    settings = settings.model_copy(update={k: v for k, v in given.items() if v is not None})
    place = Home(home or settings.home).prepare()
    if once:
        from fedrisk.registry.promotion import refresh_cache

        now = refresh_cache(place, settings)
        held = {"champion": now.champion, "challenger": now.challenger, "changed": now.changed}
        text = f"champion {now.champion or 'none'}, challenger {now.challenger or 'none'}"
        click.echo(json.dumps(held) if as_json else text)
        return
    if until_input_closes:
        threading.Thread(target=_end_with_input, daemon=True).start()
    from fedrisk.logs import announcer, configure_logs
    from fedrisk.registry.follow import Follower
    from fedrisk.registry.waking import Waiting

    configure_logs(settings.log_format, settings.log_level)
    tell = announcer(settings.log_format, lambda line: click.echo(line, err=True))

    def say(line: str) -> None:
        tell(f"follower: {line}")

    Follower(place, settings, every, say, lambda: datetime.now(UTC)).run(
        Waiting(place.follower_wake)
    )


def _check(home: Home, every: float, as_json: bool) -> None:
    """Tell what the follower saw last; a registry that is away is no fault of the follower's."""
    from fedrisk.errors import RegistryError
    from fedrisk.registry.follower_status import OLDEST, read_status

    status = read_status(home.follower_status)
    if status is None:
        raise RegistryError(f"nothing follows a registry in {home.root}")
    oldest = max(OLDEST, 3 * every)
    age = (datetime.now(UTC) - datetime.fromisoformat(status.at)).total_seconds()
    if age > oldest:
        raise RegistryError(
            f"the follower of {home.root} looked last {age:.0f} s ago, more than {oldest:g}",
            hint="start it again",
        )
    told = {**status.document(), "age": round(age)}
    click.echo(json.dumps(told) if as_json else f"{status.state}, {age:.0f} s ago")


def _end_with_input() -> None:
    """End when standard input does: when the server that started this process is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
