"""`fedrisk drift`: current rows against the champion's reference."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from fedrisk.cli.options import (
    DAY,
    day_known,
    engine_option,
    federation_option,
    home_option,
    json_option,
    policy_option,
    read_sites,
    site_option,
)
from fedrisk.errors import UsageError
from fedrisk.home import Home

if TYPE_CHECKING:
    from fedrisk.cli.federating import Federating, Place
    from fedrisk.monitoring.calendar import Span
    from fedrisk.monitoring.verdict import Verdict
    from fedrisk.profiles.site_window import SiteWindow
    from fedrisk.registry.cache import StoredModel
    from fedrisk.settings import Settings

#: Weeks that are looked at where nobody says since when.
LATEST = timedelta(weeks=12)
#: Exit code of --exit-code where the verdict calls for somebody.
CALLS = 20
_COLOURS = {"stable": "green", "monitor": "cyan", "insufficient evidence": "cyan"}


@dataclass(frozen=True)
class Arguments:
    """What was given on the command line."""

    sites: tuple[str, ...]
    engine: str
    federation: Path | None
    only: tuple[str, ...]
    policy: Path | None
    serving: bool
    since: datetime | None
    until: datetime | None
    days: int | None
    now: datetime

    def check(self) -> None:
        """Raise UsageError where arguments do not fit together."""
        deployed = self.engine == "deployed"
        if self.serving:
            if self.sites or deployed or self.only or self.policy:
                raise UsageError("--serving judges what the server was asked: it takes no site")
            return
        if deployed and (self.sites or self.policy):
            raise UsageError(
                "--engine deployed takes no --site and no --policy",
                hint="its sites and policies are the federation's",
            )
        if deployed and self.federation is None:
            raise UsageError("no federation is named", hint="--federation DIR")
        if not deployed and (self.federation or self.only):
            raise UsageError(f"--engine {self.engine} takes no --federation and no --only")
        if not deployed and not self.sites:
            raise UsageError(
                "no site is named", hint="--site NAME=FILE for each, or --serving for requests"
            )


@click.command()
@home_option
@site_option
@engine_option
@federation_option
@click.option(
    "--only", multiple=True, metavar="NAME", help="Some of the federation's sites; once for each."
)
@policy_option
@click.option("--serving", is_flag=True, help="Judge what the server was asked, as it counted it.")
@click.option(
    "--since", type=DAY, help="First day looked at.  [default: after training, at most 12 weeks]"
)
@click.option("--until", type=DAY, help="Day after the last one.  [default: now]")
@click.option(
    "--window", "days", type=click.IntRange(1, 92), help="Days.  [default: the plan's, 7 without]"
)
@click.option(
    "--as-of", type=DAY, help="Judge as on this day: later labels are unknown.  [default: now]"
)
@click.option(
    "--dry-run", is_flag=True, help="Store nothing: the next verdict knows nothing of this one."
)
@click.option("--exit-code", is_flag=True, help=f"Exit with {CALLS} on drift, harm or broken data.")
@json_option
@click.pass_context
def drift(
    context: click.Context,
    home: Path | None,
    sites: tuple[str, ...],
    engine: str,
    federation: Path | None,
    only: tuple[str, ...],
    policy: Path | None,
    serving: bool,
    since: datetime | None,
    until: datetime | None,
    days: int | None,
    as_of: datetime | None,
    dry_run: bool,
    exit_code: bool,
    as_json: bool,
) -> None:
    """Judge current rows against the champion's reference.

    Sites send bin counts by windows, labelled as far as outcomes are known; the verdict says
    whether data are broken, rows have changed, or the model does worse, and why.
    """
    now = day_known(as_of) or datetime.now(UTC)
    given = Arguments(
        sites, engine, federation, only, policy, serving, _utc(since), _utc(until), days, now
    )
    given.check()
    verdict, stored = _judge(given, home, keep=not dry_run)
    if as_json:
        model = {"name": stored.name, "version": stored.version}
        click.echo(json.dumps({**verdict.document(), "model": model}))
    else:
        _show(verdict, stored)
    if exit_code and verdict.status in ("drift", "harm", "quality"):
        context.exit(CALLS)


def _utc(time: datetime | None) -> datetime | None:
    if time is None or time.tzinfo is not None:
        return time
    return time.replace(tzinfo=UTC)


def _judge(given: Arguments, home: Path | None, *, keep: bool) -> tuple[Verdict, StoredModel]:
    """Ask for windows, judge them by what was judged before, and store the verdict."""
    from fedrisk.monitoring.store import VerdictStore
    from fedrisk.monitoring.verdict import judge
    from fedrisk.profiles.reference import read_reference
    from fedrisk.registry.cache import read_model
    from fedrisk.retraining.plan import read_plan
    from fedrisk.settings import read_settings

    settings = read_settings()
    if home is not None:
        settings = settings.model_copy(update={"home": home})
    federating = _federating(given, settings)
    if federating is not None:
        settings = federating.settings
    place = Home(settings.home).existing()
    stored, plan = read_model(place.champion), read_plan(place.plan)
    study = stored.model.study
    reference = read_reference(stored.reference, study)
    trained_until = max((block.end for block in reference.blocks), default=None)
    # Rows of a study without times are one window, which nobody can choose.
    days = given.days or max(round(plan.window_days), 1)
    spans = _spans(given, trained_until, days) if study.time is not None else []
    url = settings.database(place.state)
    if study.time is not None and not spans:
        windows = []  # In a champion's first days: that is too little to judge by, and no error.
    elif federating is None:
        windows = _captured(url, stored, spans)
    else:
        windows = _profiles(federating, stored, spans, given.now)
    store = VerdictStore(url)
    try:
        memory = store.memory(stored.name, stored.version)
        document = stored.model.document()
        verdict = judge(study, reference, windows, document, memory, plan.verdict, given.now)
        if keep:
            store.add(stored.name, stored.version, verdict)
    finally:
        store.close()
    return verdict, stored


def _federating(given: Arguments, settings: Settings) -> Federating | None:
    """The way to the sites; None where the server's own windows are judged."""
    from fedrisk.cli.federating import Federating

    if given.serving:
        return None
    if given.engine == "deployed":
        assert given.federation is not None  # noqa: S101 as `Arguments.check` holds
        return Federating.deployed(given.federation, settings, given.only)
    place = cast("Place", given.engine)
    return Federating.local(settings, read_sites(given.sites), place, given.policy)


def _spans(given: Arguments, trained_until: datetime | None, days: int) -> list[Span]:
    """Whole windows since training, or since when it is said.

    Raises
    ------
    UsageError
        When there is none between days that somebody named.
    """
    from fedrisk.monitoring.calendar import windows_between

    until = min(given.until or given.now, given.now)
    since = given.since or max(filter(None, (trained_until, until - LATEST)))
    spans = windows_between(since, until, days)
    if not spans and (given.since or given.until):
        raise UsageError(
            f"no whole window of {days} days lies between {since:%Y-%m-%d} and {until:%Y-%m-%d}",
            hint="windows begin on Mondays, after the champion's training rows; --since asks for "
            "earlier ones",
        )
    return spans


def _profiles(
    federating: Federating, stored: StoredModel, spans: list[Span], now: datetime
) -> list[SiteWindow]:
    """Windows of all sites that answer; who does not is told on standard error."""
    from fedrisk.profiles.site_window import SiteWindow
    from fedrisk.study.questions import ProfileRequest

    request = ProfileRequest(
        run_id=f"drift-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        study=stored.model.study,
        sites=federating.sites,
        as_of=now.isoformat(timespec="seconds"),
        model=stored.model.document(),
        windows=tuple((start.isoformat(), end.isoformat()) for start, end in spans),
    )
    result = federating.profile(request)
    for site, reason in result.refused.items():
        click.secho(f"warning: {site} did not answer: {reason}", fg="yellow", err=True)
    return [SiteWindow.from_document(document) for document in result.windows]


def _captured(url: str, stored: StoredModel, spans: list[Span]) -> list[SiteWindow]:
    """What the server was asked of this version, by the same windows."""
    if not spans:
        raise UsageError(
            "--serving needs a study whose rows have times",
            hint="without a `time` the reference has no weeks to compare with",
        )
    from fedrisk.monitoring.calendar import captured_windows
    from fedrisk.profiles.store import WindowStore

    store = WindowStore(url)
    try:
        held = store.between(stored.name, spans[0][0], spans[-1][1] + timedelta(days=1))
    finally:
        store.close()
    return captured_windows([w for w in held if w.version == stored.version], spans)


def _show(verdict: Verdict, stored: StoredModel) -> None:
    first, *rest = verdict.sentences
    click.echo(f"{stored.name} version {stored.version}, {verdict.at:%Y-%m-%d}")
    click.secho(first, fg=_COLOURS.get(verdict.status, "red"), bold=True)
    for sentence in rest:
        click.echo(f"  {sentence}")
