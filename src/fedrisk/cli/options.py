"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from fedrisk.errors import UsageError

#: Names appear in file names and messages.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

study_option = click.option(
    "--study", "study_name", required=True, help="Study file, or a built-in study's name."
)
home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Where models, runs and state live.  [default: ./fedrisk-home, or FEDRISK_HOME]",
)
site_option = click.option(
    "--site",
    "sites",
    multiple=True,
    metavar="NAME=FILE",
    help="A site and its rows (CSV or Parquet, also gzipped); once for each site.",
)
#: A day, or a time with its zone.
DAY = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])
engine_option = click.option(
    "--engine",
    type=click.Choice(["local", "simulation", "in_memory", "deployed"]),
    default="local",
    show_default=True,
    help="How the sites are asked; deployed: a running federation.",
)
federation_option = click.option(
    "--federation",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of the running coordinator, for --engine deployed.",
)
policy_option = click.option(
    "--policy",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="What every site answers, for --engine local.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on standard output."
)


health_listen_option = click.option(
    "--health-listen",
    default="127.0.0.1",
    show_default=True,
    help="Address on which probes are answered, as a kubelet's; kept in the settings file.",
)
health_port_option = click.option(
    "--health-port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="Port of probes; 0 takes a free one at each start; kept in the settings file.",
)
if_missing_option = click.option(
    "--if-missing",
    is_flag=True,
    help="Leave a folder that is made already as it is; go on where making it was cut short.",
)


def read_sites(given: tuple[str, ...]) -> dict[str, Path]:
    """Read ``NAME=FILE`` values.

    Raises
    ------
    UsageError
        On a value without ``=``, a name given twice, or what is not a file that is there.
    """
    sites: dict[str, Path] = {}
    for text in given:
        name, found, file = text.partition("=")
        if not found or not name or not file:
            raise UsageError(f"--site {text!r} is not NAME=FILE")
        if not NAME.fullmatch(name):
            raise UsageError(
                f"--site {text!r}: {name!r} is not a site's name",
                hint="letters, digits, '.', '_' and '-', at most 64, a letter or digit first",
            )
        if name in sites:
            raise UsageError(f"two sites are named {name!r}", hint="give each site its own name")
        if not Path(file).is_file():
            what = "not a regular file" if Path(file).exists() else "no such file"
            raise UsageError(f"site {name!r}: {what}: {file}")
        sites[name] = Path(file)
    return sites


def day_known(time: datetime | None) -> datetime | None:
    """A day as of which one looks, UTC without a zone of its own.

    Raises
    ------
    UsageError
        When it lies ahead: labels would count as known that nobody knows yet.
    """
    if time is None:
        return None
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    if time > datetime.now(UTC) + timedelta(days=1):
        raise UsageError(f"--as-of {time:%Y-%m-%d} lies ahead", hint="it is today or earlier")
    return time
