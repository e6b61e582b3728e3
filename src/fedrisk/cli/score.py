"""`fedrisk score`: score a file by the champion."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import click

from fedrisk.cli.options import home_option, json_option
from fedrisk.home import Home

if TYPE_CHECKING:
    from fedrisk.registry.cache import StoredModel
    from fedrisk.settings import Settings


@click.command()
@home_option
@click.option(
    "--input",
    "source",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rows to score: .csv, .csv.gz or .parquet.",
)
@click.option(
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where the rows go with risk_score and risk_level; format by suffix.",
)
@click.option("--name", default=None, help="Another registered model than the one that serves.")
@click.option("--version", "version", default=None, help="Another model version than the champion.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "blank"]),
    default="stop",
    show_default=True,
    help="On rows that break the study: stop, or leave their scores empty.",
)
@json_option
def score(
    home: Path | None,
    source: Path,
    target: Path,
    name: str | None,
    version: str | None,
    on_error: str,
    as_json: bool,
) -> None:
    """Score a file by the champion, in a stream.

    Rows keep their order and other columns pass through unchanged. Nothing stands under the
    output's name before all of it is written.
    """
    from fedrisk.settings import read_settings

    settings = read_settings()
    if name is not None:
        settings = settings.model_copy(update={"registry_name": name})
    place = Home(home or settings.home).existing()
    stored = _model(place, settings, version)
    from fedrisk.serving.files import score_file
    from fedrisk.serving.scoring import Scorer

    began = perf_counter()
    tally = score_file(Scorer(stored.model), source, target, allow_wrong=on_error == "blank")
    seconds = perf_counter() - began
    if as_json:
        model = {"name": stored.name, "version": stored.version}
        click.echo(json.dumps({**tally.document(), "seconds": seconds, "model": model}))
        return
    levels = ", ".join(f"{count:,} {level}" for level, count in tally.levels.items())
    click.echo(
        f"{tally.rows - tally.blank:,} rows scored by {stored.name} version {stored.version} "
        f"in {seconds:.1f} s: {levels}",
        err=True,
    )
    if tally.blank:
        click.secho(
            f"warning: {tally.blank:,} rows break the study and have no score "
            f"({tally.violations:,} values)",
            fg="yellow",
            err=True,
        )


def _model(home: Home, settings: Settings, version: str | None) -> StoredModel:
    """A model from the cache where it is there, else from the registry."""
    from fedrisk.registry.cache import generation, read_model

    name = settings.registry_name
    if version is None and not name:
        return read_model(home.champion)
    folders = (home.champion,) if version is None else (home.champion, home.challenger)
    for folder in folders:
        if generation(folder) is not None:
            stored = read_model(folder)
            if version in (None, stored.version) and name in ("", stored.name):
                return stored
    from fedrisk.registry.fetch import fetch_version

    return fetch_version(home, settings, version)
