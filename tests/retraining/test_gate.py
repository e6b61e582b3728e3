"""The gate passes who is better, refuses who harms, and says when it does not know."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from compared_rows import STUDY, site_rows
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import FederationError
from fedrisk.models.comparison import ComparedRows, Comparison, Estimate, compare_rows
from fedrisk.retraining.gate import choose, judge_all, judge_gate
from fedrisk.retraining.margins import Margins, Spending
from fedrisk.study import parse_study

NOW = datetime(2024, 6, 1, tzinfo=UTC)
NAMES = ("champion", "challenger")


def rows_of(rng, rows, *noise, **changed) -> ComparedRows:
    """Rows that models see through noise, each shrunken as a fit would shrink it: calibrated."""
    own = site_rows(rng, rows, noise=noise, **changed)
    shrunk = []
    for logit, each in zip(own.logits, noise, strict=True):
        share = 1 / (1 + each**2)
        shrunk.append((-2 + share * (logit + 2)) / np.sqrt(1 + np.pi / 8 * (1 - share)))
    return own.scored(np.stack(shrunk))


def compared(seed, rows, *noise, names=NAMES, sites=3) -> Comparison:
    rng = np.random.default_rng(seed)
    return compare_rows(
        STUDY, names, {f"site-{k}": rows_of(rng, rows // sites, *noise) for k in range(sites)}
    )


def judged(comparison, margins=None, spent=None, **named):
    return judge_gate(comparison, STUDY, margins or Margins(), spent or Spending(), NOW, **named)


def outcome(verdict, name):
    return next(check.outcome for check in verdict.checks if check.name == name)


@pytest.fixture(scope="module")
def better():
    return compared(1, 9000, 0.9, 0.4)


def test_a_better_model_passes_and_says_why(better):
    verdict = judged(better)
    assert verdict.verdict == "pass"
    assert verdict.passed
    assert verdict.alpha == 0.025
    assert outcome(verdict, "auroc") == outcome(verdict, "improvement") == "pass"
    assert any(sentence.startswith("auroc: no worse") for sentence in verdict.sentences)


def test_the_other_way_round_it_is_refused():
    verdict = judged(compared(1, 9000, 0.4, 0.9))
    assert verdict.verdict == "refuse"
    assert outcome(verdict, "auroc") == "fail"
    assert "worse than the margin" in verdict.sentences[0]


def test_the_same_model_is_refused_as_no_improvement_only():
    rng = np.random.default_rng(2)
    own = rows_of(rng, 4000, 0.5)
    twice = own.scored(np.vstack([own.logits, own.logits]))
    comparison = compare_rows(STUDY, NAMES, {"a": twice})
    verdict = judged(comparison)
    assert verdict.verdict == "refuse"
    assert [check.name for check in verdict.checks if check.outcome == "fail"] == ["improvement"]
    assert judged(comparison, Margins(improvement="none")).verdict == "pass"


def shares(repeats, rows, *noise, **margins):
    """Shares of gates that pass and that refuse."""
    told = [
        judged(compared(seed, rows, *noise, sites=1), Margins(**margins)).verdict
        for seed in range(repeats)
    ]
    return told.count("pass") / repeats, told.count("refuse") / repeats


def test_of_equal_models_fewer_than_half_pass_by_default():
    passed, _ = shares(40, 4000, 0.6, 0.6)
    assert 0.15 <= passed <= 0.65


def test_an_equal_model_is_rarely_refused_as_worse():
    passed, refused = shares(40, 4000, 0.6, 0.6, improvement="none")
    assert refused <= 0.1
    assert passed >= 0.4


def test_a_model_worse_by_the_margin_hardly_ever_passes():
    """The AUROC falls by .02; at most 2.5 % may pass by it, and fewer by all checks together."""
    assert shares(80, 4000, 0.6, 0.825, improvement="none")[0] <= 0.05


def test_power_grows_with_events():
    few, many = (shares(30, rows, 0.8, 0.6)[0] for rows in (1200, 6000))
    assert few < many
    assert many >= 0.8


@pytest.mark.parametrize(
    ("least", "said"), [({"least_rows": 1e5}, "rows are fewer"), ({"least_events": 1e5}, "rarer")]
)
def test_too_little_is_not_judged_and_spends_nothing(better, least, said):
    verdict = judged(better, Margins(**least))
    assert verdict.verdict == "insufficient evidence"
    assert verdict.checks == ()
    assert verdict.alpha == 0
    assert verdict.wants == "more events"
    assert said in verdict.sentences[0]


def test_others_may_be_the_rarer_outcome(better):
    many = replace(better, effective_events=better.effective_rows - 50)
    assert judged(many).verdict == "insufficient evidence"


def test_without_error_rate_left_no_gate_is_held(better):
    spent = Spending().after(NOW - timedelta(days=30), 0.0999)
    verdict = judged(better, spent=spent)
    assert verdict.verdict == "insufficient evidence"
    assert "error rate" in verdict.sentences[0]
    assert judge_gate(better, STUDY, Margins(), spent, NOW + timedelta(days=340)).passed


def test_earlier_gates_make_the_bounds_wider(better):
    fresh, late = judged(better), judged(better, spent=Spending().after(NOW, 0.09))
    bounds = [next(c.bound for c in v.checks if c.name == "auroc") for v in (fresh, late)]
    assert bounds[1] < bounds[0]


def test_several_challengers_share_the_error_rate():
    alone = compared(3, 3000, 0.9, 0.4)
    both = compared(3, 3000, 0.9, 0.4, 0.4, names=(*NAMES, "other"))
    bounds = []
    for comparison in (alone, both):
        told = comparison.differences["challenger"].auroc
        verdict = judged(comparison, challenger="challenger")
        bound = next(check.bound for check in verdict.checks if check.name == "auroc")
        bounds.append((told.value - bound) / told.se)
    assert bounds[0] == pytest.approx(1.96, abs=0.01)
    assert bounds[1] == pytest.approx(2.2414, abs=0.01)


def calibrated_at(seed=4, rows=9000, *, shift=0.0, slope=1.0, where=None, noise=0.4):
    """A better challenger whose log-odds are moved, everywhere or in a group of rows alone."""
    rng = np.random.default_rng(seed)
    sites = {}
    for k in range(3):
        own = rows_of(rng, rows // 3, 0.9, noise)
        logits = own.logits.copy()
        moved = np.ones(rows // 3, bool) if where is None else own.groups[where]
        logits[1, moved] = -2 + slope * (logits[1, moved] + 2) + shift
        sites[f"site-{k}"] = own.scored(logits)
    return compare_rows(STUDY, NAMES, sites)


@pytest.mark.parametrize(
    ("spoilt", "check"),
    [
        ({"shift": 0.6}, "observed_expected"),
        ({"shift": -0.6}, "observed_expected"),
        ({"slope": 1.8}, "calibration_slope"),
        ({"slope": 0.5}, "calibration_slope"),
        ({"shift": 0.9, "where": 3}, "observed_expected season:JJA"),
        ({"shift": 1.2, "where": 5}, "observed_expected sex:f"),
        ({"slope": -0.2, "where": 6}, "auroc sex:m"),
    ],
)
def test_harm_is_refused_wherever_it_lies(spoilt, check):
    margins = Margins(improvement="none", auroc=0.4, brier=5, log_loss=5, churn=1, leap=1)
    verdict = judged(calibrated_at(**spoilt), margins)
    assert verdict.verdict == "refuse"
    assert outcome(verdict, check) == "fail"
    assert outcome(judged(calibrated_at(), margins), check) == "pass"


def test_one_sites_harm_is_refused_although_all_sites_gain():
    rng = np.random.default_rng(5)
    sites = {f"site-{k}": rows_of(rng, 2500, 0.9, 0.2 if k else 4.0) for k in range(5)}
    comparison = compare_rows(STUDY, NAMES, sites)
    assert comparison.differences["challenger"].auroc.value > 0
    verdict = judged(comparison)
    assert verdict.verdict == "refuse"
    assert outcome(verdict, "auroc site:site-0") == "fail"
    assert outcome(verdict, "auroc site:site-1") == "pass"


def test_a_site_with_few_events_neither_stops_nor_breaks_the_gate():
    rng = np.random.default_rng(6)
    sites = {f"site-{k}": rows_of(rng, 3000, 0.9, 0.4) for k in range(3)}
    sites["tiny"] = rows_of(rng, 25, 0.9, 3.0)
    none = rows_of(rng, 30, 0.9, 0.4)
    sites["without"] = replace(none, events=np.zeros(30, bool))
    verdict = judged(compare_rows(STUDY, NAMES, sites))
    assert verdict.verdict == "pass"
    assert outcome(verdict, "auroc site:without") == "not judged"


def test_a_champion_further_off_does_not_bar_a_better_one():
    """Prevalence has doubled: the challenger's 1.4 is beyond 1.25, the champion's 2 further."""
    rng = np.random.default_rng(7)
    own = rows_of(rng, 9000, 0.5, 0.5)
    logits = own.logits - np.array([[0.9], [0.42]])
    comparison = compare_rows(STUDY, NAMES, {"a": own.scored(logits)})
    ratios = [comparison.models[name].observed_expected.value for name in NAMES]
    assert ratios[0] > ratios[1] > 1.25
    verdict = judged(comparison, Margins(improvement="none", auroc=0.1))
    assert outcome(verdict, "observed_expected") == "pass"
    assert outcome(verdict, "observed_expected season:JJA") == "pass"
    assert any("the champion's" in each for each in verdict.sentences)


def test_churn_beyond_its_margin_is_refused(better):
    verdict = judged(better, Margins(churn=0.1))
    assert outcome(verdict, "churn") == "fail"
    cells = np.array(better.churn["challenger"])
    changed = next(check.value for check in verdict.checks if check.name == "churn")
    assert changed == pytest.approx(1 - np.trace(cells) / cells.sum())


def test_leaps_over_a_band_are_refused_although_few_rows_change(better):
    cells = ((90.0, 0.0, 10.0), (0.0, 100.0, 0.0), (10.0, 0.0, 90.0))
    verdict = judged(replace(better, churn={"challenger": cells}))
    assert outcome(verdict, "churn") == "pass"
    assert outcome(verdict, "leap") == "fail"


def test_loss_of_net_benefit_is_refused(better):
    told = better.differences["challenger"]
    worse = replace(told, net_benefit={"high": Estimate(-0.05, 0.001)})
    verdict = judged(replace(better, differences={"challenger": worse}))
    assert outcome(verdict, "net_benefit high") == "fail"
    unsure = replace(told, net_benefit={"high": Estimate(-0.05, 0.2)})
    verdict = judged(replace(better, differences={"challenger": unsure}))
    assert outcome(verdict, "net_benefit high") == "undecided"
    assert verdict.verdict == "insufficient evidence"


def test_seasons_without_rows_are_named():
    rng = np.random.default_rng(8)
    own = rows_of(rng, 4000, 0.9, 0.4)
    winter = own.groups.copy()
    winter[1], winter[2:5] = True, False
    comparison = compare_rows(STUDY, NAMES, {"a": replace(own, groups=winter)})
    verdict = judged(comparison)
    assert any("season:JJA" in sentence for sentence in verdict.sentences)


def test_unknown_figures_are_no_pass(better):
    told = replace(better.differences["challenger"], auroc=Estimate(0.1, None))
    verdict = judged(replace(better, differences={"challenger": told}))
    assert verdict.verdict == "insufficient evidence"
    assert outcome(verdict, "auroc") == "undecided"


def test_another_study_and_another_name_are_errors(better):
    other = parse_study({**STUDY.model_dump(mode="json"), "name": "other"})
    with pytest.raises(FederationError, match="of study"):
        judge_gate(better, other, Margins(), Spending(), NOW)
    with pytest.raises(FederationError, match="no challenger 'x'"):
        judged(better, challenger="x")


def test_the_document_holds_numbers_and_sentences(better):
    document = judged(better).document()
    assert document["verdict"] == "pass"
    assert {"name", "outcome", "value", "bound", "margin", "sentence"} == set(document["checks"][0])
    assert Comparison.from_document(better.document()) == better


THREE = ("champion", "recalibrated", "refit", "worse")


@pytest.fixture(scope="module")
def several():
    return compared(9, 9000, 0.9, 0.45, 0.4, 1.5, names=THREE)


def test_the_simplest_within_noise_of_the_best_is_chosen(several):
    verdicts = judge_all(several, STUDY, Margins(), Spending(), NOW)
    assert [verdicts[name].passed for name in THREE[1:]] == [True, True, False]
    losses = {name: several.models[name].log_loss.value for name in THREE}
    assert losses["refit"] < losses["recalibrated"]
    assert choose(several, verdicts) == choose(several, verdicts, ("refit",)) == "refit"


def test_where_differences_are_noise_simplicity_decides(several):
    verdicts = judge_all(several, STUDY, Margins(), Spending(), NOW)
    wide = {one: dict.fromkeys(THREE, 0.0) | {one: 1.0} for one in THREE}
    unsure = replace(several, log_loss_covariance=wide)
    assert choose(unsure, verdicts, ("recalibrated", "refit")) == "recalibrated"
    assert choose(unsure, verdicts, ("refit", "recalibrated")) == "refit"


@pytest.mark.parametrize(("worse", "chosen"), [(0.009, "recalibrated"), (0.011, "refit")])
def test_as_good_is_within_one_standard_error_of_the_paired_difference(several, worse, chosen):
    """Variances of .0004 and a covariance of .00035 leave an error of .01."""
    verdicts = judge_all(several, STUDY, Margins(), Spending(), NOW)
    models = dict(several.models)
    for name, loss in (("refit", 0.3), ("recalibrated", 0.3 + worse)):
        models[name] = replace(models[name], log_loss=Estimate(loss, 0.02))
    table = {one: {other: 4e-4 if one == other else 3.5e-4 for other in THREE} for one in THREE}
    told = replace(several, models=models, log_loss_covariance=table)
    assert choose(told, verdicts, ("recalibrated",)) == chosen
    unknown = replace(told, log_loss_covariance={})
    assert choose(unknown, verdicts, ("recalibrated",)) == "refit"


def test_nobody_is_chosen_where_nobody_passes(several):
    verdicts = judge_all(several, STUDY, Margins(churn=0.001), Spending(), NOW)
    assert choose(several, verdicts) is None
    assert choose(several, {}) is None


@given(
    auroc=st.floats(-0.3, 0.3),
    error=st.floats(1e-4, 0.2),
    loss=st.floats(-0.2, 0.2),
)
def test_only_a_bound_inside_every_margin_passes(better, auroc, error, loss):
    told = better.differences["challenger"]
    changed = replace(
        told, auroc=Estimate(auroc, error), log_loss=Estimate(loss, error), net_benefit={}
    )
    verdict = judged(replace(better, differences={"challenger": changed}))
    inside = auroc - 1.96 * error > -0.0199 and loss < 0
    assert verdict.passed <= inside or loss + 1.96 * error <= 0.02
    if verdict.passed:
        assert auroc - 1.959 * error >= -0.02
        assert loss < 0
