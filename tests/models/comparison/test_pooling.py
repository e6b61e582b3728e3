"""Two messages of several sites say what one look at all rows says."""

from __future__ import annotations

import numpy as np
import pytest
from compared_rows import STUDY, site_rows, together
from scipy.stats import rankdata
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fedrisk.errors import FederationError
from fedrisk.models.comparison import (
    Comparison,
    PooledScores,
    compare_rows,
    comparison_counts,
    placement_sums,
    pool_comparison,
)
from fedrisk.models.logistic import expit
from fedrisk.study.records import FloatArray

MODELS = ("champion", "challenger", "other")


@pytest.fixture(scope="module")
def sites():
    rng = np.random.default_rng(7)
    return {
        name: site_rows(rng, rows, noise=(0.9, 0.5, 0.7), people=rows // 4)
        for name, rows in (("north", 1500), ("south", 700), ("west", 400))
    }


@pytest.fixture(scope="module")
def comparison(sites):
    return compare_rows(STUDY, MODELS, sites)


def delong_covariance(logits: FloatArray, events: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """AUROCs and their covariance as DeLong et al. wrote them, every pair compared."""
    over_controls, over_cases = [], []
    for logit in logits:
        cases, controls = logit[events], logit[~events]
        wins = (cases[:, None] > controls) + 0.5 * (cases[:, None] == controls)
        over_controls.append(wins.mean(axis=1))
        over_cases.append(wins.mean(axis=0))
    first, second = np.array(over_controls), np.array(over_cases)
    covariance = np.cov(first) / first.shape[1] + np.cov(second) / second.shape[1]
    return first.mean(axis=1), covariance


def test_independent_rows_give_delongs_paired_covariance():
    rng = np.random.default_rng(3)
    parts = {name: site_rows(rng, 900, noise=(0.8, 0.4)) for name in ("a", "b")}
    whole = together(*parts.values())
    aurocs, covariance = delong_covariance(whole.logits, whole.events)
    told = compare_rows(STUDY, MODELS[:2], parts)
    difference = told.differences["challenger"].auroc
    assert told.models["champion"].auroc.value == pytest.approx(aurocs[0], abs=1e-4)
    assert told.models["champion"].auroc.se == pytest.approx(covariance[0, 0] ** 0.5, rel=0.005)
    assert difference.value == pytest.approx(aurocs[1] - aurocs[0], abs=1e-4)
    expected = (covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]) ** 0.5
    assert difference.se == pytest.approx(expected, rel=0.005)
    losses = np.logaddexp(0, whole.logits) - whole.events * whole.logits
    error = np.std(losses[1] - losses[0], ddof=1) / len(whole.events) ** 0.5
    assert told.differences["challenger"].log_loss.se == pytest.approx(error, rel=1e-9)


def test_figures_are_those_of_the_pooled_rows(sites, comparison):
    whole = together(*sites.values())
    for name, logit in zip(MODELS, whole.logits, strict=True):
        told, risk = comparison.models[name], expit(logit)
        assert told.auroc.value == pytest.approx(roc_auc_score(whole.events, logit), abs=1e-4)
        assert told.brier.value == pytest.approx(brier_score_loss(whole.events, risk), rel=1e-12)
        assert told.log_loss.value == pytest.approx(log_loss(whole.events, risk), rel=1e-12)
        ratio = whole.events.sum() / risk.sum()
        assert told.observed_expected.value == pytest.approx(ratio, rel=1e-12)
        line = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], whole.events)
        assert told.calibration_slope.value == pytest.approx(line.coef_[0, 0], abs=1e-3)
        assert told.calibration_intercept.value == pytest.approx(line.intercept_[0], abs=1e-3)


def test_sizes_are_those_of_all_sites_rows(sites, comparison):
    whole = together(*sites.values())
    assert (comparison.rows, comparison.effective_rows) == (2600.0, pytest.approx(2600))
    assert comparison.events == whole.events.sum()
    assert comparison.effective_events == pytest.approx(comparison.events)
    assert comparison.people == sum(len(set(rows.people)) for rows in sites.values())
    assert comparison.days == 2600
    assert comparison.champion == MODELS[0]
    assert comparison.challengers == MODELS[1:]


def test_weighted_rows_are_worth_fewer():
    """Kish: the squared sum of weights over the sum of squared ones; of events likewise."""
    treated = np.random.default_rng(1).random(3000) < 0.6
    rows = site_rows(np.random.default_rng(2), 3000, treated=treated, untreated=True)
    told = compare_rows(STUDY, MODELS[:2], {"a": rows})
    of_events = rows.weights[rows.events]
    worth = [each.sum() ** 2 / (each**2).sum() for each in (rows.weights, of_events)]
    assert (told.effective_rows, told.effective_events) == pytest.approx(worth)
    assert told.effective_rows < told.rows


def test_losses_of_independent_rows_have_their_sample_covariance():
    rows = site_rows(np.random.default_rng(4), 1200, noise=(0.9, 0.2, 0.5))
    told = compare_rows(STUDY, MODELS, {"a": rows}).log_loss_covariance
    expected = np.cov(np.logaddexp(0, rows.logits) - rows.events * rows.logits) / 1200
    table = [[told[one][other] for other in MODELS] for one in MODELS]
    assert np.allclose(table, expected, rtol=1e-9)


def test_a_calibration_line_has_the_robust_error():
    """White's sandwich, at risks from nearly 0 to nearly 1."""
    rng = np.random.default_rng(6)
    score = rng.normal(0.4, 2.0, 4000)
    events = rng.random(4000) < expit(0.3 + 0.8 * score)
    rows = site_rows(rng, 4000, logits=score[None, :], events=events)
    told = compare_rows(STUDY, ("champion",), {"a": rows}).models["champion"]
    line = LogisticRegression(C=np.inf, tol=1e-10).fit(score[:, None], events)
    design = np.stack([np.ones(4000), score])
    risk = expit(line.intercept_[0] + line.coef_[0, 0] * score)
    bread = np.linalg.inv((design * risk * (1 - risk)) @ design.T)
    meat = (design * (events - risk) ** 2) @ design.T
    intercept, slope = np.sqrt(np.diag(bread @ meat @ bread))
    assert told.calibration_intercept.se == pytest.approx(intercept, rel=0.01)
    assert told.calibration_slope.se == pytest.approx(slope, rel=0.01)


def test_sites_together_equal_their_rows_at_one_site(sites, comparison):
    at_one = compare_rows(STUDY, MODELS, {"all": together(*sites.values())})
    assert (at_one.rows, at_one.events, at_one.people) == (
        comparison.rows,
        comparison.events,
        comparison.people,
    )
    for name in MODELS:
        for figure in ("auroc", "brier", "log_loss", "observed_expected", "calibration_slope"):
            one, other = (getattr(each.models[name], figure) for each in (at_one, comparison))
            assert one.value == pytest.approx(other.value, rel=1e-9)
            assert one.se == pytest.approx(other.se, rel=1e-9)
    assert at_one.net_benefit["other"]["high"].value == pytest.approx(
        comparison.net_benefit["other"]["high"].value
    )
    assert at_one.churn == comparison.churn


def area(scores: FloatArray, events: np.ndarray) -> float:
    cases = events.sum()
    ranks = rankdata(scores)[events].sum()
    return float((ranks - cases * (cases + 1) / 2) / (cases * (len(events) - cases)))


def test_errors_by_person_are_those_of_a_bootstrap_of_people(sites, comparison):
    whole = together(*sites.values())
    rng = np.random.default_rng(11)
    _, person = np.unique(whole.people, return_inverse=True)
    order = np.argsort(person, kind="stable")
    starts = np.searchsorted(person[order], np.arange(person.max() + 2))
    draws = []
    for _ in range(250):
        drawn = rng.integers(0, person.max() + 1, person.max() + 1)
        rows = np.concatenate([order[starts[p] : starts[p + 1]] for p in drawn])
        y, champion, challenger = whole.events[rows], whole.logits[0, rows], whole.logits[1, rows]
        losses = [np.logaddexp(0, logit) - y * logit for logit in (champion, challenger)]
        draws.append(
            [
                area(challenger, y) - area(champion, y),
                np.mean(losses[1]) - np.mean(losses[0]),
                np.log(y.sum() / expit(challenger).sum()),
            ]
        )
    spread = np.std(draws, axis=0)
    told = comparison.differences["challenger"]
    assert told.auroc.se == pytest.approx(spread[0], rel=0.15)
    assert told.log_loss.se == pytest.approx(spread[1], rel=0.15)
    assert comparison.models["challenger"].observed_expected.se == pytest.approx(
        spread[2], rel=0.15
    )


def test_groups_are_told_by_season_subgroup_and_site(sites, comparison):
    whole = together(*sites.values())
    women = whole.groups[5]
    told = comparison.groups["sex:f"]["other"]
    assert told.rows == women.sum()
    assert told.difference.net_benefit == {}
    assert set(comparison.differences["other"].net_benefit) == {"medium", "high"}
    expected = whole.events[women].sum() / expit(whole.logits[2, women]).sum()
    assert told.observed_expected.value == pytest.approx(expected)
    south = sites["south"]
    own = comparison.groups["site:south"]["challenger"]
    assert own.auroc.value == pytest.approx(roc_auc_score(south.events, south.logits[1]))
    assert own.difference.auroc.value == pytest.approx(
        own.auroc.value - roc_auc_score(south.events, south.logits[0])
    )
    assert set(comparison.groups) == {
        *(f"season:{season}" for season in ("DJF", "MAM", "JJA", "SON")),
        *("sex:f", "sex:m"),
        *(f"site:{name}" for name in sites),
    }


def test_the_document_brings_the_comparison_back(comparison):
    assert Comparison.from_document(comparison.document()) == comparison


def test_a_document_of_something_else_is_refused():
    with pytest.raises(FederationError, match="not a comparison"):
        Comparison.from_document({"study": "x"})


def test_what_is_wrong_in_a_document_is_named(comparison):
    with pytest.raises(FederationError, match="not a comparison: rows"):
        Comparison.from_document(comparison.document() | {"rows": "many"})


def test_messages_of_different_sites_are_refused(sites):
    counts = {name: comparison_counts(rows) for name, rows in sites.items()}
    pooled = PooledScores.of(counts["north"])
    placements = {"north": placement_sums(sites["north"], pooled)}
    with pytest.raises(FederationError, match=r"\['north', 'south', 'west'\]"):
        pool_comparison(STUDY, MODELS, counts, placements)
    with pytest.raises(FederationError, match="no site"):
        pool_comparison(STUDY, MODELS, {}, {})


def test_without_events_figures_are_unknown_and_nothing_fails():
    rng = np.random.default_rng(5)
    rows = site_rows(rng, 50, events=np.zeros(50, bool))
    told = compare_rows(STUDY, MODELS[:2], {"a": rows}).models["champion"]
    assert told.auroc is None
    assert told.observed_expected is None
    assert told.calibration_slope is None
    assert told.brier is not None


def test_one_model_is_evaluated_alone(sites):
    one = {name: rows.scored(rows.logits[:1]) for name, rows in sites.items()}
    told = compare_rows(STUDY, ("champion",), one)
    assert told.challengers == ()
    assert told.models["champion"].auroc is not None
