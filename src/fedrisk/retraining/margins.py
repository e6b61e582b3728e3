"""What a challenger is held to, set before anybody looks: margins, least evidence, error rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Margins(BaseModel):
    """Margins of `fedrisk.retraining.gate.judge_gate`; unknown keys are errors.

    docs/gate.md gives the reason of each number.

    Parameters
    ----------
    least_rows, least_events : float
        Effective rows and events without which nothing is judged; events stand for whichever
        outcome is rarer.
    auroc : float
        Largest loss of AUROC that counts as no worse.
    brier, log_loss : float
        The same of Brier score and log loss, as a share of the champion's.
    improvement : {"none", "estimate", "confidence"}
        What the log loss has to show beyond no worse: nothing, a lower estimate, or an upper bound
        below the champion's.
    doubt : float
        With a chance below this, that a figure is beyond its margin, nothing is refused for it:
        more events may tell.
    observed_expected : float
        Largest factor, above or below 1, of observed to expected events, over all and in each
        season.
    slope_low, slope_high : float
        Range of the calibration slope.
    site_auroc, subgroup_auroc : float
        Largest shrunken loss of AUROC at a site, in a subgroup.
    group_log_loss : float
        Largest shrunken rise of the log loss at a site or in a subgroup, as a share of the
        champion's over all rows.
    group_observed_expected : float
        As ``observed_expected``, shrunken, of a site or a subgroup.
    net_benefit : float
        Largest loss of net benefit at a band's lower limit, as a share of the prevalence.
    churn, leap : float
        Largest share of rows that change their band, and that go from low to high or back.
    treated_share : float
        Largest share of events, observed or expected by the champion, among rows whose score led
        to care; beyond it outcomes are altered and untreated rows are asked for.
    untreated_share : float
        Least untreated share of the rows of each of the champion's bands that has events, for
        untreated rows to stand for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    least_rows: float = Field(default=500.0, ge=1)
    least_events: float = Field(default=100.0, ge=2)
    auroc: float = Field(default=0.02, gt=0, lt=0.5)
    brier: float = Field(default=0.02, gt=0)
    log_loss: float = Field(default=0.02, gt=0)
    improvement: Literal["none", "estimate", "confidence"] = "estimate"
    doubt: float = Field(default=0.8, ge=0.5, lt=1)
    observed_expected: float = Field(default=1.25, gt=1)
    slope_low: float = Field(default=0.7, gt=0, lt=1)
    slope_high: float = Field(default=1.4, gt=1)
    site_auroc: float = Field(default=0.05, gt=0, lt=0.5)
    subgroup_auroc: float = Field(default=0.03, gt=0, lt=0.5)
    group_log_loss: float = Field(default=0.05, gt=0)
    group_observed_expected: float = Field(default=1.5, gt=1)
    net_benefit: float = Field(default=0.05, gt=0)
    churn: float = Field(default=0.5, gt=0, le=1)
    leap: float = Field(default=0.05, gt=0, le=1)
    treated_share: float = Field(default=0.05, ge=0, le=1)
    untreated_share: float = Field(default=0.05, gt=0, le=1)


class SpendingRules(BaseModel):
    """How much error all gates together may make; unknown keys are errors.

    Parameters
    ----------
    total : float
        Chance, 0 to 1, that within ``days`` any gate passes a model that is worse than a margin.
    days : float
    share : float
        Share of what is left that the next gate may spend.
    least : float
        With less than this left for a gate none is held.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    total: float = Field(default=0.1, gt=0, lt=1)
    days: float = Field(default=365.0, gt=0)
    share: float = Field(default=0.25, gt=0, le=1)
    least: float = Field(default=0.0005, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_gate_can_be_held(self) -> Self:
        if self.total * self.share < self.least:
            raise ValueError("the first gate's share of the total is below the least")
        return self


@dataclass(frozen=True)
class Spending:
    """What earlier gates spent; the next one's error rate follows.

    A union bound over gates: whatever they depend on, the chance that any of those within ``days``
    passes a model worse than a margin is at most ``total``. So it also holds where a gate that
    found too little evidence is followed by one on the same rows and some more.

    Attributes
    ----------
    rules : SpendingRules
    spent : tuple of (datetime, float)
        When a gate judged, and its error rate.

    >>> from datetime import UTC
    >>> first, second = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 8, tzinfo=UTC)
    >>> Spending().alpha(first)
    0.025
    >>> round(Spending().after(first, 0.025).alpha(second), 5)
    0.01875
    """

    rules: SpendingRules = field(default_factory=SpendingRules)
    spent: tuple[tuple[datetime, float], ...] = ()

    def alpha(self, now: datetime) -> float:
        """Error rate of a gate that is held now; 0 where too little is left."""
        since = now - timedelta(days=self.rules.days)
        left = self.rules.total - sum(alpha for when, alpha in self.spent if when > since)
        alpha = left * self.rules.share
        return alpha if alpha >= self.rules.least else 0.0

    def after(self, now: datetime, alpha: float) -> Spending:
        """The spending once a gate has spent this; unchanged by nothing."""
        return Spending(self.rules, (*self.spent, (now, alpha))) if alpha > 0 else self

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "rules": self.rules.model_dump(),
            "spent": [[when.isoformat(), alpha] for when, alpha in self.spent],
        }

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Spending:
        """Rebuild from `document`."""
        spent = tuple((datetime.fromisoformat(w), float(alpha)) for w, alpha in document["spent"])
        return cls(SpendingRules.model_validate(document["rules"]), spent)
