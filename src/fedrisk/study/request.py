"""What every federated run is asked for with: who, about which study, as of when, how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from fedrisk.study.contract import Study

#: Most seconds that the answers to one message are waited for: a day. Every wait has an end.
LONGEST_DEADLINE = 86_400.0


def instant(text: str) -> str:
    """A time in the one form that digests and comparisons of texts can rely on; naive is UTC.

    >>> instant("2025-03-01"), instant("2025-03-01T01:00:00+01:00")
    ('2025-03-01T00:00:00+00:00', '2025-03-01T00:00:00+00:00')
    """
    time = datetime.fromisoformat(text)
    zoned = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    return zoned.isoformat()


#: A time, ISO 8601; kept in UTC.
Instant = Annotated[str, AfterValidator(instant)]


class SiteRequest(BaseModel):
    """What a run of any kind is asked for with.

    Attributes
    ----------
    run_id : str
        Our own identifier of the run; survives restarts of Flower. It names the run's folder:
        letters, digits, dots, dashes and underscores, at most 64, the first a letter or digit.
    study : Study
        The contract.
    sites : tuple of str
        Names of the sites that must answer; empty where whoever is connected takes part.
    as_of : str
        ISO 8601 time; labels that are not yet mature then are not looked at.
    seed : int
        Seed of every random choice.
    deadline : float
        Seconds to wait for the replies to one message; a day at most.
    quorum : int or None
        How many sites must answer every message for the run to go on; None means every site. At
        least 1, at most the number of named sites.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    study: Study
    sites: tuple[str, ...] = ()
    as_of: str
    seed: int = 20_240_229
    deadline: float = Field(default=600.0, gt=0, le=LONGEST_DEADLINE)
    quorum: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> Self:
        if self.sites and self.quorum is not None and self.quorum > len(self.sites):
            raise ValueError(f"a quorum of {self.quorum} of {len(self.sites)} sites")
        return self

    @property
    def described(self) -> str:
        """What is asked, in a few words."""
        raise NotImplementedError


def check_order(since: str | None, until: str | None) -> None:
    """Raise ValueError where a window of time holds nothing because it ends before it begins."""
    if since is not None and until is not None and not since < until:
        raise ValueError(f"the window from {since} until {until} is empty")


def check_timed(study: Study, *times: Any) -> None:
    """Raise ValueError where a time is given to a study whose rows have none."""
    if study.time is None and any(times):
        raise ValueError(f"study {study.name!r} names no `time`, so its rows have no window")
