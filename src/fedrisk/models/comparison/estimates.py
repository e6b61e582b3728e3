"""Figures with their standard errors, from sums: each is a form of sums, linear or linearised."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedrisk.models.comparison.clusters import form_covariance, form_variance
from fedrisk.models.comparison.concordance import Placement
from fedrisk.models.comparison.counts import ComparisonCounts, figure_place
from fedrisk.models.comparison.figures import Estimate
from fedrisk.models.comparison.placement import PLACEMENT_FIGURES, PlacementSums, PooledScores
from fedrisk.models.logistic import expit
from fedrisk.study.records import FloatArray


def estimate(value: float, variance: float) -> Estimate:
    """A figure with the root of its variance; without one where that is not known."""
    return Estimate(value, float(np.sqrt(max(variance, 0.0))) if np.isfinite(variance) else None)


@dataclass(frozen=True)
class GroupEstimates:
    """Figures of one group of `ComparisonCounts`."""

    counts: ComparisonCounts
    group: int

    @property
    def rows(self) -> float:
        """Rows that are judged."""
        return float(self.counts.rows[self.group])

    @property
    def events(self) -> float:
        """Events among them."""
        return float(self.counts.events[self.group])

    @property
    def people(self) -> float:
        """Of different people; of one at two sites twice."""
        return float(self.counts.clusters[self.group, 0])

    @property
    def effective_rows(self) -> float:
        """(sum of w)^2 / sum of w^2 (Kish, Survey Sampling, 1965)."""
        return _effective(self._total("rows"), float(self.counts.squared_weights[self.group]))

    @property
    def effective_events(self) -> float:
        """As `effective_rows`, of events."""
        squares = float(self.counts.squared_event_weights[self.group])
        return _effective(self._total("events"), squares)

    @cached_property
    def _models(self) -> int:
        return int(self.counts.concordance.shape[1])

    def _total(self, figure: str, model: int = 0) -> float:
        return float(self.counts.totals[self.group, figure_place(figure, self._models, model)])

    def _variance(self, form: FloatArray) -> float:
        moments, clusters = self.counts.moments[self.group], self.counts.clusters[self.group]
        return form_variance(form, moments, clusters)

    def _mean_form(self, figure: str, model: int) -> tuple[float, FloatArray]:
        """A mean over rows, and the form of the totals whose variance is the mean's."""
        rows = self._total("rows")
        value = self._total(figure, model) / rows
        form = np.zeros(self.counts.totals.shape[1])
        form[figure_place(figure, self._models, model)] = 1 / rows
        form[figure_place("rows", self._models)] = -value / rows
        return value, form

    def mean(self, figure: str, model: int) -> Estimate | None:
        """Mean over rows of a figure of `MODEL_FIGURES`; None of no rows."""
        if not self.rows:
            return None
        value, form = self._mean_form(figure, model)
        return estimate(value, self._variance(form))

    def mean_difference(self, figure: str, model: int) -> Estimate | None:
        """As `mean`, less that of the champion, on the same rows."""
        if not self.rows:
            return None
        value, form = self._mean_form(figure, model)
        champion, other = self._mean_form(figure, 0)
        return estimate(value - champion, self._variance(form - other))

    def covariance(self, figure: str) -> FloatArray:
        """Covariance of the models' means of a figure, ``(models, models)``."""
        if not self.rows:
            return np.full((self._models, self._models), np.nan)
        forms = np.stack([self._mean_form(figure, model)[1] for model in range(self._models)])
        moments, clusters = self.counts.moments[self.group], self.counts.clusters[self.group]
        return form_covariance(forms, moments, clusters)

    def observed_expected(self, model: int) -> Estimate | None:
        """Events over expected events; the error is of the logarithm, by the delta method."""
        events, expected = self._total("events"), self._total("expected", model)
        if events <= 0 or expected <= 0:
            return None
        form = np.zeros(self.counts.totals.shape[1])
        form[figure_place("events", self._models)] = 1 / events
        form[figure_place("expected", self._models, model)] = -1 / expected
        return estimate(events / expected, self._variance(form))

    def net_benefit(self, model: int) -> dict[str, Estimate]:
        """At the lower limits of the bands ``medium`` and ``high``; empty of no rows."""
        told = {band: self.mean(f"benefit_{band}", model) for band in ("medium", "high")}
        return {band: each for band, each in told.items() if each is not None}

    def benefit_difference(self, model: int) -> dict[str, Estimate]:
        """As `net_benefit`, less that of the champion."""
        told = {band: self.mean_difference(f"benefit_{band}", model) for band in ("medium", "high")}
        return {band: each for band, each in told.items() if each is not None}

    def auroc(self, model: int) -> Estimate | None:
        """AUROC within sites, pooled over them; None where no site has both outcomes."""
        return self._concordance(_unit(self._models, model))

    def auroc_difference(self, model: int) -> Estimate | None:
        """As `auroc`, less that of the champion."""
        return self._concordance(_unit(self._models, model) - _unit(self._models, 0))

    def _concordance(self, form: FloatArray) -> Estimate | None:
        pairs = float(self.counts.pairs[self.group])
        if not pairs:
            return None
        moments = self.counts.concordance_moments[self.group]
        value = float(form @ self.counts.concordance[self.group]) / pairs
        return estimate(value, float(form @ moments @ form) / pairs**2)


@dataclass(frozen=True)
class PlacementEstimates:
    """Figures of all rows that need the second message: AUROCs, calibration lines."""

    counts: ComparisonCounts
    sums: PlacementSums

    @cached_property
    def _pooled(self) -> PooledScores:
        return PooledScores.of(self.counts)

    @cached_property
    def _aurocs(self) -> list[float] | None:
        placed = [
            Placement.of(cases, controls)
            for cases, controls in zip(self._pooled.cases, self._pooled.controls, strict=True)
        ]
        known = [each.auroc for each in placed if each is not None]
        return known if len(known) == len(placed) else None

    def _variance(self, form: FloatArray) -> float:
        return form_variance(form, self.sums.moments, self.counts.clusters[0])

    def _place(self, figure: str, model: int) -> int:
        return len(PLACEMENT_FIGURES) * model + PLACEMENT_FIGURES.index(figure)

    def _auroc_form(self, model: int) -> FloatArray:
        return _unit(len(self.sums.totals), self._place("auroc", model))

    def auroc(self, model: int) -> Estimate | None:
        """AUROC of all sites' rows together; None without events or without others."""
        if self._aurocs is None:
            return None
        return estimate(self._aurocs[model], self._variance(self._auroc_form(model)))

    def auroc_difference(self, model: int) -> Estimate | None:
        """As `auroc`, less that of the champion."""
        if self._aurocs is None:
            return None
        form = self._auroc_form(model) - self._auroc_form(0)
        return estimate(self._aurocs[model] - self._aurocs[0], self._variance(form))

    def line(self, model: int) -> tuple[Estimate | None, Estimate | None]:
        """Intercept and slope of the calibration line, with errors by the sandwich (Huber 1967)."""
        information = self._information(model)
        if information is None:
            return None, None
        scores = [self._place(name, model) for name in PLACEMENT_FIGURES[1:]]
        forms = np.zeros((2, len(self.sums.totals)))
        forms[:, scores] = np.linalg.inv(information)
        values = self._pooled.lines[model]
        intercept, slope = (
            estimate(float(value), self._variance(form))
            for value, form in zip(values, forms, strict=True)
        )
        return intercept, slope

    def _information(self, model: int) -> FloatArray | None:
        """Fisher information of intercept and slope, (2, 2); None where they are not determined."""
        rows = self.counts.bin_weights[model]
        used = rows > 0
        if self._aurocs is None or used.sum() < 2:
            return None
        score = self.counts.bin_logits[model][used] / rows[used]
        intercept, slope = self._pooled.lines[model]
        risk = expit(intercept + slope * score)
        matrix = np.stack([np.ones_like(score), score])
        information: FloatArray = (matrix * (rows[used] * risk * (1 - risk))) @ matrix.T
        return information if np.linalg.cond(information) < 1e12 else None


def _unit(size: int, place: int) -> FloatArray:
    form = np.zeros(size)
    form[place] = 1.0
    return form


def _effective(whole: float, squares: float) -> float:
    return whole**2 / squares if squares > 0 else 0.0
