"""`fedrisk study`: check data against a study, or draft a study from data."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedrisk.cli.options import json_option, read_sites, site_option, study_option
from fedrisk.errors import DataError, UsageError, Violation
from fedrisk.study import Study, find_study

if TYPE_CHECKING:
    from fedrisk.sites.cohort import Cohort
    from fedrisk.sites.drafting.draft import Draft
    from fedrisk.sites.overview import SiteOverview


@click.group()
def study() -> None:
    """Draft a study from data, or check data against it."""


@study.command()
@study_option
@site_option
@click.option("--as-of", default=None, metavar="TIME", help="Judge maturity then.  [default: now]")
@click.option("--all", "show_all", is_flag=True, help="Print every violation, not the first ones.")
@json_option
def check(
    study_name: str, sites: tuple[str, ...], as_of: str | None, show_all: bool, as_json: bool
) -> None:
    """Check every site's rows against the study; exit with 4 where one breaks it."""
    from fedrisk.sites.overview import overview, warnings

    contract, files = find_study(study_name), _some_sites(sites)
    cohorts, refused = _load_all(contract, files, _time(as_of), complete=show_all or as_json)
    found = {cohort.site: overview(cohort) for cohort in cohorts}
    if not as_json:
        _print_sites(found)
    if refused:
        raise _together(refused, len(files), spell_out=show_all and not as_json)
    said = warnings(contract, cohorts)
    if as_json:
        click.echo(json.dumps(_document(contract, found, said)))
        return
    for warning in said:
        click.secho(f"warning: {warning}", fg="yellow", err=True)
    click.echo(f"{len(files)} site(s) fit study {contract.name!r} ({contract.hash[:12]})")


def _some_sites(given: tuple[str, ...]) -> dict[str, Path]:
    if not given:
        raise UsageError("no site was named", hint="--site NAME=FILE, once for each site")
    return read_sites(given)


def _time(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--as-of {text!r} is not a date or time as in 2024-05-31") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _load_all(
    contract: Study, files: dict[str, Path], as_of: datetime, *, complete: bool
) -> tuple[list[Cohort], list[DataError]]:
    """Load every site, also after one was refused."""
    from fedrisk.sites.cohort import load_cohort
    from fedrisk.sites.violations import RECORDED

    cohorts, refused = [], []
    for site, path in files.items():
        try:
            limit = None if complete else RECORDED
            cohorts.append(load_cohort(contract, site, path, as_of, limit=limit))
        except DataError as error:
            refused.append(error)
    return cohorts, refused


def _together(refused: list[DataError], sites: int, *, spell_out: bool) -> DataError:
    """Make one error of several; with ``spell_out`` its violations are printed here and now."""
    message = "; ".join(error.message for error in refused)
    found: list[Violation] = [v for error in refused for v in error.violations]
    total = sum(error.total for error in refused)
    if len(refused) > 1:
        message = f"{len(refused)} of {sites} sites do not fit the study: {message}"
    hint = " | ".join(dict.fromkeys(error.hint for error in refused if error.hint))
    if not spell_out:
        return DataError(message, found, total, hint)
    for violation in found:
        click.echo(f"  {violation}", err=True)
    return DataError(message)


def _document(contract: Study, found: dict[str, SiteOverview], said: list[str]) -> dict[str, Any]:
    return {
        "study": contract.name,
        "hash": contract.hash,
        "violations": 0,
        "sites": {site: asdict(one) for site, one in found.items()},
        "warnings": said,
    }


def _print_sites(found: dict[str, SiteOverview]) -> None:
    from rich.console import Console
    from rich.table import Table

    if not found:
        return
    columns = ("rows", "usable", "unlabelled", "immature", "treated", "train", "test", "events")
    table = Table("site", *columns, "test events", "missing", "implausible", box=None)
    for site, one in found.items():
        counts = [f"{getattr(one, column):,}" for column in columns]
        shares = [_shares(one.missing, one.usable), _shares(one.implausible, one.usable)]
        table.add_row(site, *counts, f"{one.test_events:,}", *shares)
    console = Console(width=None if Console().is_terminal else 200, highlight=False)
    console.print(table)


def _shares(counts: dict[str, int], rows: int) -> str:
    """Write the features that have any, as per cent of the usable rows."""
    return ", ".join(f"{name} {100 * n / rows:.2g} %" for name, n in counts.items() if n) or "-"


@study.command()
@site_option
@click.option("--label", required=True, metavar="COLUMN", help="The outcome.")
@click.option(
    "--positive",
    multiple=True,
    metavar="VALUE",
    help="Value of the label that counts as an event; several times for several.",
)
@click.option("--id", "id_column", default=None, metavar="COLUMN", help="Names a row's person.")
@click.option("--time", "time_column", default=None, metavar="COLUMN", help="A row's index time.")
@click.option("--name", default=None, help="Name of the study.  [default: the label]")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write the draft here."
)
@click.option("--force", is_flag=True, help="Replace an output that exists.")
@json_option
def infer(
    sites: tuple[str, ...],
    label: str,
    positive: tuple[str, ...],
    id_column: str | None,
    time_column: str | None,
    name: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Draft a study from data, to be read and corrected by a person."""
    from fedrisk.sites.drafting.draft import Wishes, draft_study

    files = _some_sites(sites)
    if output is not None and output.exists() and not force:
        raise UsageError(f"{output} exists", hint="--force replaces it")
    wishes = Wishes(label, positive, id_column, time_column, name)
    draft = draft_study(files, wishes, datetime.now(UTC))
    if output is not None:
        _write(output, draft.text)
    if as_json:
        click.echo(json.dumps(_draft_document(draft, output)))
    elif output is None:
        click.echo(draft.text, nl=False)
    else:
        click.echo(f"wrote {output}: {len(draft.study.features)} features; read and correct it")


def _write(output: Path, text: str) -> None:
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--output {output}: cannot be written: {error.strerror}") from None


def _draft_document(draft: Draft, output: Path | None) -> dict[str, Any]:
    return {
        "output": None if output is None else str(output),
        "study": json.loads(draft.study.canonical),
        "hash": draft.study.hash,
        "prevalence": draft.proposal.prevalence,
        "suggested": draft.proposal.suggested,
        "left_out": draft.proposal.left_out,
        "toml": draft.text,
    }
