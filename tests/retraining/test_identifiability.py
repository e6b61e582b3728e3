"""Where care follows the score, a gate that trusts outcomes passes the wrong model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from compared_rows import STUDY, site_rows

from fedrisk.models.comparison import ComparedRows, compare_rows
from fedrisk.models.logistic import expit
from fedrisk.retraining.gate import judge_gate
from fedrisk.retraining.identifiability import identifiability, treated_share
from fedrisk.retraining.margins import Margins, Spending

NOW = datetime(2024, 6, 1, tzinfo=UTC)
NAMES = ("champion", "challenger")
#: A gate that takes outcomes for what they seem to be.
NAIVE = Margins(treated_share=1.0)


def treated_world(seed: int, *, acted: float = 0.85, averted: float = 0.8) -> ComparedRows:
    """High scores lead to care, care averts events; the challenger was fitted on what was left."""
    rng = np.random.default_rng(seed)
    rows = site_rows(rng, 12_000, noise=(0.0, 0.0))
    truth = rows.logits[0]
    high = rows.champion_bands == 2
    treated = high & (rng.random(len(truth)) < acted)
    events = rows.events & ~(treated & (rng.random(len(truth)) < averted))
    risk = expit(truth) * np.where(high, 1 - acted * averted, 1.0)
    challenger = np.log(risk) - np.log1p(-risk)
    return replace(
        rows, logits=np.stack([truth, challenger]), events=events, treated=treated, untreated=False
    )


def asked(rows: ComparedRows, margins: Margins, *, untreated: bool = False):
    own = replace(rows, untreated=untreated)
    comparison = compare_rows(STUDY, NAMES, {"a": own})
    return judge_gate(comparison, STUDY, margins, Spending(), NOW)


@pytest.fixture(scope="module")
def world():
    return treated_world(1)


def test_a_gate_that_trusts_altered_outcomes_passes_the_model_that_learnt_them(world):
    assert asked(world, NAIVE).verdict == "pass"


def test_ours_says_that_it_cannot_know_and_asks_for_untreated_rows(world):
    judged = asked(world, Margins())
    assert judged.verdict == "not identifiable"
    assert judged.wants == "untreated rows"
    assert judged.alpha == 0
    assert "care" in judged.sentences[0]


def test_untreated_rows_refuse_it(world):
    judged = asked(world, Margins(), untreated=True)
    assert judged.verdict == "refuse"
    assert any("chance alone decided" in sentence for sentence in judged.sentences)


def test_untreated_rows_pass_a_model_that_is_better():
    rng = np.random.default_rng(2)
    rows = site_rows(rng, 30_000, noise=(0.9, 0.2))
    shrunk = np.stack(
        [-2 + (each + 2) / (1 + n**2) for each, n in zip(rows.logits, (0.9, 0.2), strict=True)]
    )
    rows = rows.scored(shrunk)
    treated = (rows.champion_bands == 2) & (rng.random(30_000) < 0.7)
    events = rows.events & ~(treated & (rng.random(30_000) < 0.8))
    rows = replace(rows, events=events, treated=treated)
    assert asked(rows, Margins()).verdict == "not identifiable"
    assert asked(rows, Margins(churn=0.9), untreated=True).verdict == "pass"


def test_where_nobody_was_left_untreated_no_gate_can_tell():
    world = treated_world(3, acted=1.0)
    judged = asked(world, Margins())
    assert judged.verdict == "not identifiable"
    assert judged.wants == ""
    assert "hold a random share back" in judged.sentences[1]
    assert asked(world, Margins(), untreated=True).verdict == "not identifiable"


def test_averted_events_count_by_what_was_expected():
    all_averted = treated_world(4, averted=1.0)
    comparison = compare_rows(STUDY, NAMES, {"a": all_averted})
    assert comparison.treated_events == 0
    assert treated_share(comparison) > 0.2
    assert not identifiability(comparison, Margins()).identifiable


def _with_share(observed: float, expected: float, events: float = 100.0):
    """A comparison of so many events, of which so many are of treated rows."""
    comparison = compare_rows(STUDY, NAMES, {"a": site_rows(np.random.default_rng(7), 500)})
    bands = {"high": {"rows": 500.0, "treated": 100.0, "events": events}}
    return replace(
        comparison,
        bands=bands,
        treated=100.0,
        treated_events=observed,
        treated_expected=expected,
    )


@pytest.mark.parametrize(
    ("observed", "expected", "share"),
    [(30.0, 10.0, 0.3), (10.0, 30.0, 30 / 120), (0.0, 0.0, 0.0), (100.0, 50.0, 1.0)],
)
def test_the_treated_share_is_the_larger_of_observed_and_expected(observed, expected, share):
    """Expected among what there would be without care: averted events come on top."""
    assert treated_share(_with_share(observed, expected)) == pytest.approx(share)


def test_without_events_no_share_is_altered():
    comparison = _with_share(0.0, 0.0, events=0.0)
    assert treated_share(comparison) == 0
    assert identifiability(comparison, Margins()).identifiable


def test_a_share_at_its_margin_is_borne():
    comparison = _with_share(5.0, 5.0)
    assert identifiability(comparison, Margins(treated_share=0.05)).identifiable
    assert not identifiability(comparison, Margins(treated_share=0.049)).identifiable
    untreated = replace(comparison, untreated=True)
    assert identifiability(untreated, Margins(untreated_share=0.8)).identifiable
    assert not identifiability(untreated, Margins(untreated_share=0.81)).identifiable


def test_few_treated_rows_are_told_about_and_judged():
    rows = site_rows(np.random.default_rng(5), 5000)
    treated = np.random.default_rng(6).random(5000) < 0.02
    comparison = compare_rows(STUDY, NAMES, {"a": replace(rows, treated=treated)})
    known = identifiability(comparison, Margins())
    assert known.identifiable
    assert "are of treated rows" in known.sentences[0]
