"""What a federated run was asked for, and what it brought: handed between rooms as JSON."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedrisk.study.request import Instant, SiteRequest, check_order, check_timed


class TrainingRequest(SiteRequest):
    """One training run as asked for.

    Attributes
    ----------
    model, strategy : str
        Names as on the command line.
    rounds : int
        Most messages of one kind to each site.
    options : dict
        Strategy options, by name.
    since, until : str or None
        ISO 8601; only rows with time in ``[since, until)`` are fitted on and evaluated. None
        leaves that end open.
    base : dict or None
        Document of the model that the strategy starts from, for one that does.
    """

    task: Literal["training"] = "training"
    model: str = "logistic"
    strategy: str = "exact"
    rounds: int = Field(default=30, ge=1)
    options: dict[str, float] = Field(default={})
    since: Instant | None = None
    until: Instant | None = None
    base: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        check_timed(self.study, self.since, self.until)
        check_order(self.since, self.until)
        return self

    @property
    def described(self) -> str:
        """What is asked, in a few words."""
        return f"{self.model} by {self.strategy}"


class RoundRecord(BaseModel):
    """One message to every site and what its replies said.

    ``metrics`` are of the whole federation (loss per row, step size), ``per_site`` of each site.
    ``sites`` took part; ``dropped`` tells why a site takes no part from this message on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    kind: str
    seconds: float
    bytes_out: int = 0
    bytes_in: int = 0
    sites: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    per_site: dict[str, dict[str, float]] = {}
    dropped: dict[str, str] = {}


class Dropout(BaseModel):
    """A site that was dropped from a run: at which round, in answer to what, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str
    round: int
    kind: str
    reason: str


class TrainingResult(BaseModel):
    """What a run brought: a model document, its evaluation at the sites, and how it came about.

    ``model`` is the readable document that `fedrisk.models` writes (model.json), ``reference`` the
    bins and counts of the training rows, ``checks`` rows with answers for self-tests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: TrainingRequest
    model: dict[str, Any]
    reference: dict[str, Any]
    checks: list[dict[str, Any]]
    rounds: tuple[RoundRecord, ...]
    seconds: float
    rows: dict[str, dict[str, int]]
    metrics: dict[str, float | None]
    per_site: dict[str, dict[str, float | None]]
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = {}

    @property
    def dropouts(self) -> tuple[Dropout, ...]:
        """Sites that were dropped, in order of time."""
        return tuple(
            Dropout(site=site, round=each.number, kind=each.kind, reason=reason)
            for each in self.rounds
            for site, reason in each.dropped.items()
        )
