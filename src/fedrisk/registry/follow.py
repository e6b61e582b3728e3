"""Lets a home's caches follow the registry's aliases for ever.

The process that does it imports MLflow, so that serving processes need not. It may be killed at any
point: a cache is replaced in one step, and the next look begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fedrisk.errors import (
    FedriskError,
    HomeError,
    ModelFileError,
    ModelNotFoundError,
    RegistryError,
)
from fedrisk.home import Home
from fedrisk.registry.follower_status import FollowerStatus, State, write_status
from fedrisk.registry.promotion import Refreshed, refresh_cache
from fedrisk.settings import Settings

#: Longest pause, in seconds, while the registry is away, where looks are more frequent than that.
LONGEST_PAUSE = 60.0


@dataclass
class Follower:
    """Looks at the aliases champion and challenger, and renews the caches.

    Parameters
    ----------
    home : Home
    settings : Settings
    every : float
        Seconds between two looks.
    say : callable
        Told what changed, and what is wrong when it begins to be.
    clock : callable
        The time, with its zone.
    """

    home: Home
    settings: Settings
    every: float
    say: Callable[[str], None]
    clock: Callable[[], datetime]
    _failures: int = field(default=0, repr=False)
    _told: str = field(default="", repr=False)

    @property
    def status_file(self) -> Path:
        return self.home.follower_status

    def run(self, sleep: Callable[[float], None]) -> None:
        """Follow until the process ends; the status file ends with it."""
        try:
            while True:
                self.look()
                sleep(self.pause)
        finally:
            self.status_file.unlink(missing_ok=True)

    def look(self) -> Refreshed | None:
        """Look once; None when the caches stay as they are because something is wrong."""
        try:
            refreshed = refresh_cache(self.home, self.settings)
        except ModelFileError as error:
            self._report("refused", error)
        except ModelNotFoundError as error:
            self._report("empty", error)
        except HomeError as error:
            self._report("unwritable", error)
        except RegistryError as error:
            self._failures += 1
            self._report("away", error)
        else:
            self._followed(refreshed)
            return refreshed
        return None

    @property
    def pause(self) -> float:
        """Seconds until the next look: twice as long after each failure to reach the registry."""
        doubled = self.every * 2.0 ** min(self._failures, 16)
        return min(doubled, max(self.every, LONGEST_PAUSE))

    def _followed(self, refreshed: Refreshed) -> None:
        if self._told:
            self.say("the registry is followed again")
        if refreshed.changed:
            self.say(
                f"champion {refreshed.champion or 'none'}, "
                f"challenger {refreshed.challenger or 'none'}"
            )
        self._failures, self._told = 0, ""
        self._write(FollowerStatus("following", self._now()))

    def _report(self, state: State, error: FedriskError) -> None:
        """Say what is wrong when it is new, and write it down each time."""
        if state != "away":
            self._failures = 0
        # What is said of a registry that is away differs from try to try.
        news = state if state == "away" else error.message
        if news != self._told:
            self.say(f"{error.message}; the caches stay as they are")
        self._told = news
        status = FollowerStatus(state, self._now(), error.message, error.hint)
        self._write(status)

    def _write(self, status: FollowerStatus) -> None:
        """On a disk that takes nothing the last status stays, and grows old for all to see."""
        with suppress(OSError):
            write_status(self.status_file, status)

    def _now(self) -> str:
        return self.clock().isoformat(timespec="seconds")
