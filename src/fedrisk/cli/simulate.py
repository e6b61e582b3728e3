"""`fedrisk simulate`: write the simulated cohort, one file a site."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import click

from fedrisk.cli.options import json_option

#: A cohort that trains in seconds and covers every season.
SITES, PEOPLE, DAYS, SEED = 4, 300, 365, 20_240_229


def today() -> date:
    """The date in UTC."""
    return datetime.now(UTC).date()


@click.command()
@click.option("--sites", default=SITES, show_default=True, help="Number of sites, each a city.")
@click.option("--people", default=PEOPLE, show_default=True, help="People of each site.")
@click.option("--days", default=DAYS, show_default=True, help="Days of the cohort.")
@click.option("--scenario", default="none", show_default=True, help="How the world changes.")
@click.option(
    "--change",
    type=click.DateTime(["%Y-%m-%d"]),
    default=None,
    help="Day on which it changes.  [default: after two thirds of the days]",
)
@click.option("--size", default=1.0, show_default=True, help="Factor on the size of the change.")
@click.option("--seed", default=SEED, show_default=True, help="Same seed, same files.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d"]),
    default=None,
    help="First day.  [default: the latest one for which every outcome is known today]",
)
@click.option("--truth", is_flag=True, help="Add the column true_risk.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "parquet"]),
    default="csv",
    show_default=True,
)
@click.option(
    "--output", "folder", type=click.Path(path_type=Path), required=True, help="Folder to write to."
)
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@json_option
def simulate(
    sites: int,
    people: int,
    days: int,
    scenario: str,
    change: datetime | None,
    size: float,
    seed: int,
    start: datetime | None,
    truth: bool,
    file_format: Literal["csv", "parquet"],
    folder: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Write the simulated cohort: a file a site, study.toml and truth.json.

    People with wearables in several cities, their air and weather, and whether an acute event
    followed, drawn from a stated risk model. docs/simulated-cohort.md says how.
    """
    from fedrisk.simulation import latest_start, write_cohort

    latest = latest_start(today(), days)
    first = start.date() if start is not None else latest
    files = write_cohort(
        folder,
        sites,
        people,
        days,
        seed,
        first,
        scenario=scenario,
        change=change.date() if change is not None else None,
        size=size,
        truth=truth,
        file_format=file_format,
        force=force,
    )
    if first > latest:
        click.echo(
            "note: the last days' outcomes are not yet mature; training leaves them out", err=True
        )
    if as_json:
        click.echo(json.dumps(_document(folder, files)))
    else:
        _print(folder, files)


def _document(folder: Path, files: dict[str, Path]) -> dict[str, Any]:
    truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    return {
        "study": str(folder / "study.toml"),
        "truth": str(folder / "truth.json"),
        "start": truth["start"],
        "scenario": truth["scenario"]["name"],
        "change": truth["change"],
        "sites": {
            name: {"file": str(file)} | {k: truth["sites"][name][k] for k in ("rows", "events")}
            for name, file in files.items()
        },
    }


def _print(folder: Path, files: dict[str, Path]) -> None:
    """The written rows on standard error, the next command's flags on standard output."""
    for name, site in _document(folder, files)["sites"].items():
        click.echo(f"{name}: {site['rows']} rows, {site['events']} events", err=True)
    flags = [f"--site {shlex.quote(f'{name}={file}')}" for name, file in files.items()]
    click.echo(" ".join([f"--study {shlex.quote(str(folder / 'study.toml'))}", *flags]))
