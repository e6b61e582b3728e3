"""The world that the loop runs in: a home's registry, its sites, a server, the clock."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fedrisk.cli.federating import Federating
from fedrisk.home import Home
from fedrisk.monitoring.calendar import windows_between
from fedrisk.monitoring.store import VerdictStore
from fedrisk.monitoring.verdict import judge
from fedrisk.profiles.reference import read_reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.registry.cache import MODEL, REFERENCE
from fedrisk.registry.trial_control import TrialControl
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.ports import Assessment, Server, Standing, StoredVersion, World
from fedrisk.settings import Settings
from fedrisk.study import parse_study
from fedrisk.study.questions import ProfileRequest

if TYPE_CHECKING:
    from fedrisk.registry.guarded import GuardedMoves

#: How far back windows are looked at.
LATEST = timedelta(weeks=12)


class WallClock:
    """The time of this machine."""

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class HomeRegistry:
    """The registry of a home, as `fedrisk.retraining.ports.Registry` wants it."""

    moves: GuardedMoves
    now: Callable[[], datetime]

    def guard(self, fence: int) -> None:
        """Refuse moves under a lower token from now on."""
        self.moves.guard(fence)

    def standing(self) -> Standing:
        """Where the aliases point now."""
        aliases, past = self.moves.aliases()
        return Standing(aliases.get("champion"), aliases.get("challenger"), tuple(past))

    def stored(self, version: str) -> StoredVersion:
        """A version, verified."""
        found = self.moves.verified(version)
        document, reference = found.documents[MODEL], found.documents[REFERENCE]
        study = parse_study(document["study"], f"version {version}")
        ends = []
        if study.time is not None:
            ends = [block.end for block in read_reference(reference, study).blocks]
        until = max(ends, default=None)
        name, run = found.version.name, found.version.run_id
        return StoredVersion(name, version, run, study, document, reference, until)

    def challenge(self, version: str, control: TrialControl, reason: str, fence: int) -> None:
        """Make a version the challenger, and say how it is tried."""
        self.moves.challenge(version, control, reason, fence, self.now())

    def withdraw(self, version: str, reason: str, fence: int) -> None:  # noqa: ARG002 no move is noted
        """Let a version be challenger no more."""
        self.moves.withdraw(version, fence)

    def promote(self, version: str, instead_of: str, reason: str, fence: int) -> None:
        """Make a version champion."""
        self.moves.promote(version, instead_of, reason, fence, self.now())

    def give_back(self, version: str, instead_of: str, reason: str, fence: int) -> None:
        """Return to an earlier champion."""
        self.moves.give_back(version, instead_of, reason, fence, self.now())


@dataclass(frozen=True)
class SitesWatch:
    """Judges the sites' current rows, going on from the verdicts that are kept.

    Parameters
    ----------
    sites : Federating
    plan : ChangePlan
    url : str
        Of the database of verdicts.
    keep : bool
        Whether a verdict counts for later ones.
    """

    sites: Federating
    plan: ChangePlan
    url: str
    keep: bool = True

    def assess(self, champion: StoredVersion, now: datetime) -> Assessment:
        """Ask for the windows since the champion's rows, and judge them."""
        reference = read_reference(champion.reference, champion.study)
        since = max(filter(None, (champion.fitted_until, now - LATEST)))
        spans = windows_between(since, now, max(round(self.plan.window_days), 1))
        request = ProfileRequest(
            run_id=f"drift-{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
            study=champion.study,
            sites=self.sites.sites,
            as_of=now.isoformat(timespec="seconds"),
            model=dict(champion.document),
            windows=tuple((start.isoformat(), end.isoformat()) for start, end in spans),
        )
        found = self.sites.profile(request).windows if spans else []
        windows = [SiteWindow.from_document(each) for each in found]
        store = VerdictStore(self.url)
        try:
            memory = store.memory(champion.name, champion.version)
        finally:
            store.close()
        verdict = judge(
            champion.study,
            reference,
            windows,
            champion.document,
            memory,
            self.plan.verdict,
            now,
        )
        rows = sum(float(each.profile.labelled.sum()) for each in windows)
        events = sum(float(each.profile.events.sum()) for each in windows)

        def keep() -> None:
            kept = VerdictStore(self.url)
            try:
                kept.add(champion.name, champion.version, verdict)
            finally:
                kept.close()

        return Assessment(verdict, rows, events, keep if self.keep else lambda: None)


def make_world(
    sites: Federating, settings: Settings, name: str, plan: ChangePlan, server: Server | None
) -> World:
    """The world around one registered model of a home.

    Parameters
    ----------
    sites : Federating
    settings : Settings
    name : str
        The registered model.
    plan : ChangePlan
    server : Server, optional
    """
    from fedrisk.registry.guarded import GuardedMoves

    clock, home = WallClock(), Home(settings.home)
    registry = HomeRegistry(GuardedMoves(home, settings, name), clock.now)
    watch = SitesWatch(sites, plan, state_url(settings))
    return World(sites, registry, watch, server, clock)


def state_url(settings: Settings) -> str:
    """Address of the database that keeps retrainings and verdicts."""
    return settings.database(Path(settings.home) / "state.db")
