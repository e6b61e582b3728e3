"""What a verdict is held to: error rates, least rows, least effects, set before anybody looks."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class VerdictRules(BaseModel):
    """Rules of `fedrisk.monitoring.verdict.judge`; unknown keys are errors.

    Parameters
    ----------
    false_discoveries : float
        Share of false ones among the findings over features, sites and windows that is tolerated.
    persistent, among : int
        Drift is what ``persistent`` of the last ``among`` windows of a site have a finding of.
    least_rows : float
        A window with fewer rows is not judged.
    least_importance : float
        Share of the model's spread of log-odds, 0 to 1, below which a feature's drift is noted
        and counts for nothing more.
    missing_rise, outside_rise : float
        Rise of the share of missing values, of values beyond hard bounds, that is a data fault.
    feed_lost : float
        Share of missing values at which a feature counts as a lost feed.
    sites_in_line : float
        Share of sites, 0 to 1, up to which drift is laid to those sites and not to the world.
    oldest_window : float
        Days; nothing can be said of today by windows that ended longer ago.
    future_tolerance : float
        Hours by which a window may end after now: clocks differ.
    labelled_share : float
        A matured window counts as evidence from this share of rows with a label on, 0 to 1.
    harm_alpha : float
        Error rate of the sequential test of calibration, over all time.
    tolerance : float
        Log odds ratio by which events may be off what scores say and no evidence gathers.
    least_events : float
        Events, observed or expected, below which measured harm is not judged.
    observed_expected, slope, auroc_loss : float
        Least departure of observed/expected from 1 (as a factor), of the calibration slope from
        1, and of the AUROC from what the scores promise, that counts as harm.
    estimated_auroc_loss : float
        Least fall of an AUROC that is estimated without labels.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    false_discoveries: float = Field(default=0.05, gt=0, lt=1)
    persistent: int = Field(default=2, ge=1)
    among: int = Field(default=3, ge=1)
    least_rows: float = Field(default=100.0, ge=1)
    least_importance: float = Field(default=0.03, ge=0, le=1)
    missing_rise: float = Field(default=0.2, gt=0, le=1)
    outside_rise: float = Field(default=0.05, gt=0, le=1)
    feed_lost: float = Field(default=0.9, gt=0, le=1)
    sites_in_line: float = Field(default=0.5, ge=0, le=1)
    oldest_window: float = Field(default=120.0, gt=0)
    future_tolerance: float = Field(default=1.0, ge=0)
    labelled_share: float = Field(default=0.8, gt=0, le=1)
    harm_alpha: float = Field(default=0.01, gt=0, lt=1)
    tolerance: float = Field(default=0.05, ge=0)
    least_events: float = Field(default=30.0, ge=1)
    observed_expected: float = Field(default=1.15, gt=1)
    slope: float = Field(default=0.2, gt=0)
    auroc_loss: float = Field(default=0.03, gt=0)
    estimated_auroc_loss: float = Field(default=0.05, gt=0)

    @model_validator(mode="after")
    def _persistence_can_be_met(self) -> Self:
        if self.persistent > self.among:
            raise ValueError(f"{self.persistent} of {self.among} windows cannot be met")
        return self
