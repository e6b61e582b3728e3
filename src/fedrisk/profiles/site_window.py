"""One site's counts of one window of time: what monitoring compares with the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fedrisk.errors import StudyError
from fedrisk.profiles.profile import Profile, Window
from fedrisk.profiles.seasons import Season, season_of

#: Site name of windows that the server captured.
SERVING = "serving"
_DAY = 86_400.0


@dataclass(frozen=True)
class SiteWindow:
    """Rows of one site in one window.

    Attributes
    ----------
    site : str
        `SERVING` for what the server was asked.
    start, end : datetime
        With a time zone; the end is not part of it.
    profile : Profile
    people : float
        Different persons; 0 where that is unknown.
    days : float
        Days on which there are rows; of a captured window, its length in days.
    withheld : bool
        The site's policy keeps the counts back: too few persons. The profile is then empty.
    """

    site: str
    start: datetime
    end: datetime
    profile: Profile
    people: float
    days: float
    withheld: bool = False

    @property
    def season(self) -> Season:
        """The season of the window's middle."""
        return season_of((self.start + (self.end - self.start) / 2).date())

    def document(self) -> dict[str, Any]:
        """The window as JSON values."""
        return {
            "site": self.site,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "people": self.people,
            "days": self.days,
            "withheld": self.withheld,
            "profile": self.profile.document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SiteWindow:
        """Rebuild from `document`.

        Raises
        ------
        StudyError
            When it is no such document.
        """
        try:
            start, end = (_time(document[name]) for name in ("start", "end"))
            return cls(
                site=str(document["site"]),
                start=start,
                end=end,
                profile=Profile.from_document(document["profile"]),
                people=float(document["people"]),
                days=float(document["days"]),
                withheld=bool(document.get("withheld", False)),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StudyError(f"not a site's window: {error!r}") from None


def _time(text: str) -> datetime:
    """A time with its zone; UTC where it names none."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def from_capture(windows: Sequence[Window]) -> list[SiteWindow]:
    """Windows that the server captured, as windows of the site `SERVING`, in the same order.

    Who asked is not captured, so the number of people is unknown.
    """
    return [
        SiteWindow(
            site=SERVING,
            start=window.start,
            end=window.end,
            profile=window.profile,
            people=0.0,
            days=(window.end - window.start).total_seconds() / _DAY,
        )
        for window in windows
    ]
