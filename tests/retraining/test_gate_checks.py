"""Each check on figures made by hand: what it holds to which margin, and how sure it must be."""

from __future__ import annotations

from dataclasses import replace
from math import exp, log

import pytest
from hypothesis import given
from hypothesis import strategies as st
from retraining.worlds import STUDY, comparison
from scipy.stats import norm

from fedrisk.models.comparison import Comparison, Difference, Estimate, GroupFigures
from fedrisk.retraining.gate_checks import Check, beyond, every_check, safeguard
from fedrisk.retraining.margins import Margins
from fedrisk.retraining.shrinkage import Measured, shrink

ALPHA = 0.025
NAMES = ("champion", "refit")
#: A log loss of .3 and a Brier score of .1 have margins of 2 % of them.
PLAIN = comparison(NAMES, loss=-0.01)


def checked(told: Comparison, alpha: float = ALPHA, **margins) -> dict[str, Check]:
    found = every_check(told, STUDY, Margins(**margins), alpha, "refit")
    return {check.name: check for check in found}


def differing(**figures) -> Comparison:
    """The plain comparison with other differences between challenger and champion."""
    changed = replace(PLAIN.differences["refit"], **figures)
    return replace(PLAIN, differences={"refit": changed})


def with_model(name: str, **figures) -> Comparison:
    """The plain comparison with other figures of one model."""
    models = dict(PLAIN.models)
    models[name] = replace(models[name], **figures)
    return replace(PLAIN, models=models)


@given(
    st.floats(-3, 3), st.floats(0.01, 3), st.floats(-2, 2), st.one_of(st.just(9e9), st.floats(2, 4))
)
def test_the_chance_to_be_beyond_is_the_normal_laws(value, se, low, high):
    expected = norm.cdf(low, value, se) + norm.sf(high, value, se)
    assert beyond(value, se, low, high) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("se", [None, 0.0])
@pytest.mark.parametrize(
    ("value", "chance"), [(-1.1, 1.0), (-1.0, 0.0), (0.0, 0.0), (1.0, 0.0), (1.1, 1.0)]
)
def test_without_an_error_a_figure_is_beyond_or_not(value, se, chance):
    assert beyond(value, se, -1.0, 1.0) == chance


def test_what_is_likely_beyond_fails_and_what_may_be_is_undecided():
    assert safeguard(True, 0.9, 0.8) == "pass"
    assert safeguard(False, 0.8, 0.8) == "fail"
    assert safeguard(False, 0.79, 0.8) == "undecided"


@pytest.mark.parametrize(
    ("name", "margin", "better"),
    [("auroc", 0.02, 1), ("brier", 0.002, -1), ("log_loss", 0.006, -1)],
)
@pytest.mark.parametrize(
    ("distance", "outcome"),
    # How many standard errors the estimate lies inside its margin.
    [(1.97, "pass"), (1.95, "undecided"), (-0.8, "undecided"), (-0.9, "fail")],
)
def test_no_worse_is_a_bound_inside_the_margin(name, margin, better, distance, outcome):
    se = margin / 4
    value = better * (distance * se - margin)
    check = checked(differing(**{name: Estimate(value, se)}), improvement="none")[name]
    assert check.outcome == outcome
    assert check.margin == pytest.approx(-better * margin)
    assert check.bound == pytest.approx(value - better * norm.isf(ALPHA) * se)


@pytest.mark.parametrize("alpha", [0.1, 0.001])
def test_a_stricter_error_rate_has_a_wider_bound(alpha):
    check = checked(differing(auroc=Estimate(0.01, 0.005)), alpha)["auroc"]
    assert check.bound == pytest.approx(0.01 - norm.isf(alpha) * 0.005)


@pytest.mark.parametrize(
    ("demanded", "loss", "se", "outcome"),
    [
        ("estimate", -0.001, 0.01, "pass"),
        ("estimate", 0.001, 0.01, "undecided"),
        ("estimate", 0.01, 0.01, "fail"),
        ("estimate", 0.0, 0.0, "fail"),
        ("confidence", -0.001, 0.01, "undecided"),
        ("confidence", -0.0197, 0.01, "pass"),
        ("confidence", 0.01, 0.01, "fail"),
    ],
)
def test_an_improvement_is_shown_as_surely_as_is_demanded(demanded, loss, se, outcome):
    told = differing(log_loss=Estimate(loss, se))
    check = checked(told, improvement=demanded)["improvement"]
    assert check.outcome == outcome
    assert check.bound == pytest.approx(loss + norm.isf(ALPHA) * se)
    assert "improvement" not in checked(told, improvement="none")


@pytest.mark.parametrize(
    ("ratio", "champions", "outcome"),
    [
        (1.249, 1.0, "pass"),
        (0.801, 1.0, "pass"),
        (1.251, 1.0, "undecided"),
        (1.4, 1.0, "fail"),
        (0.7, 1.0, "fail"),
        (1.4, 1.5, "pass"),
        (1.4, 1 / 1.5, "pass"),
        (1.4, 1 / 1.3, "fail"),
    ],
)
def test_events_are_as_expected_or_no_further_off_than_the_champions(ratio, champions, outcome):
    told = with_model("refit", observed_expected=Estimate(ratio, 0.05))
    models = dict(told.models)
    models["champion"] = replace(models["champion"], observed_expected=Estimate(champions, 0.05))
    check = checked(replace(told, models=models))["observed_expected"]
    assert check.outcome == outcome
    assert check.value == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("slope", "champions", "outcome"),
    [
        (0.7, 1.0, "pass"),
        (1.4, 1.0, "pass"),
        (0.69, 1.0, "undecided"),
        (0.6, 1.0, "fail"),
        (1.5, 1.0, "fail"),
        (0.6, 0.6, "pass"),
        (0.6, 1.5, "pass"),
        (0.6, 1.39, "fail"),
    ],
)
def test_the_slope_is_in_range_or_no_further_off_than_the_champions(slope, champions, outcome):
    told = with_model("refit", calibration_slope=Estimate(slope, 0.05))
    models = dict(told.models)
    models["champion"] = replace(models["champion"], calibration_slope=Estimate(champions, 0.05))
    check = checked(replace(told, models=models))["calibration_slope"]
    assert check.outcome == outcome
    assert check.margin == (0.7 if slope < 1 else 1.4)


def test_what_is_not_known_is_undecided():
    unknown = with_model("refit", calibration_slope=None, observed_expected=None)
    found = checked(unknown)
    assert found["calibration_slope"].outcome == "undecided"
    assert found["observed_expected"].outcome == "undecided"
    found = checked(differing(auroc=None, brier=Estimate(0.0, None), log_loss=None))
    assert [found[n].outcome for n in ("auroc", "brier", "log_loss")] == ["undecided"] * 3
    assert "improvement" not in found


def grouped(**changes) -> Comparison:
    """Two sites, both sexes and a winter; a change is of the challenger in one of them."""
    calm = GroupFigures(
        rows=1000.0,
        events=100.0,
        people=200.0,
        auroc=None,
        brier=None,
        log_loss=None,
        observed_expected=Estimate(1.0, 0.05),
        difference=Difference(Estimate(0.0, 0.005), None, Estimate(0.0, 0.002), {}),
    )
    names = ("season:DJF", "sex:female", "sex:male", "site:a", "site:b")
    groups = {name: dict.fromkeys(NAMES, calm) for name in names}
    for name, change in changes.items():
        group = name.replace("_", ":")
        groups[group] = {**groups[group], "refit": replace(calm, **change)}
    return replace(PLAIN, groups=groups)


def moved(auroc=0.0, loss=0.0):
    return {"difference": Difference(Estimate(auroc, 0.005), None, Estimate(loss, 0.002), {})}


@pytest.mark.parametrize(
    ("group", "change", "check", "outcome"),
    [
        ("site_a", moved(auroc=-0.04), "auroc site:a", "pass"),
        ("site_a", moved(auroc=-0.07), "auroc site:a", "fail"),
        ("sex_male", moved(auroc=-0.025), "auroc sex:male", "pass"),
        ("sex_male", moved(auroc=-0.045), "auroc sex:male", "fail"),
        ("site_b", moved(loss=0.012), "log_loss site:b", "pass"),
        ("site_b", moved(loss=0.02), "log_loss site:b", "fail"),
        ("sex_female", moved(loss=0.02), "log_loss sex:female", "fail"),
        ("season_DJF", {"observed_expected": Estimate(1.2, 0.05)}, "season:DJF", "pass"),
        ("season_DJF", {"observed_expected": Estimate(1.4, 0.05)}, "season:DJF", "fail"),
        ("site_a", {"observed_expected": Estimate(1.4, 0.05)}, "site:a", "pass"),
        ("site_a", {"observed_expected": Estimate(1.9, 0.05)}, "site:a", "fail"),
        ("sex_male", {"observed_expected": Estimate(1 / 1.9, 0.05)}, "sex:male", "fail"),
    ],
)
def test_groups_are_held_to_the_margins_of_their_kind(group, change, check, outcome):
    name = check if " " in check else f"observed_expected {check}"
    assert checked(grouped())[name].outcome == "pass"
    assert checked(grouped(**{group: change}))[name].outcome == outcome


def test_groups_of_a_kind_are_shrunken_together():
    found = checked(grouped(site_a=moved(auroc=-0.04)))
    told = [Measured(each, 0.005, 100.0) for each in (-0.04, 0.0)]
    shrunken = shrink(dict(zip("ab", told, strict=True)), 0.05)
    for site in "ab":
        assert found[f"auroc site:{site}"].value == pytest.approx(shrunken[site].value)
    ratios = checked(grouped(site_a={"observed_expected": Estimate(1.4, 0.05)}))
    told = [Measured(log(each), 0.05, 100.0) for each in (1.4, 1.0)]
    shrunken = shrink(dict(zip("ab", told, strict=True)), log(1.5))
    assert ratios["observed_expected site:b"].value == pytest.approx(exp(shrunken["b"].value))


@pytest.mark.parametrize(("events", "outcome"), [(1.0, "pass"), (0.9, "not judged")])
def test_a_group_without_an_event_is_not_judged(events, outcome):
    found = checked(grouped(sex_male={"events": events}))
    for name in ("observed_expected", "auroc", "log_loss"):
        assert found[f"{name} sex:male"].outcome == outcome
        assert found[f"{name} sex:female"].outcome == "pass"


def test_seasons_without_rows_are_told_and_not_judged():
    check = checked(grouped())["seasons"]
    assert check.outcome == "not judged"
    assert check.sentence.endswith("season:MAM, season:JJA, season:SON")


@pytest.mark.parametrize(
    ("loss", "outcome"), [(0.0049, "pass"), (0.0051, "undecided"), (0.007, "fail")]
)
def test_net_benefit_may_fall_by_a_share_of_the_prevalence(loss, outcome):
    """Of 10 %, 5 % are half a true positive in a hundred rows."""
    told = differing(net_benefit={"medium": Estimate(-loss, 0.002)})
    check = checked(told)["net_benefit medium"]
    assert (check.outcome, check.margin) == (outcome, pytest.approx(-0.005))


@pytest.mark.parametrize(
    ("cells", "churn", "leap"),
    [
        (((50.0, 10.0, 5.0), (10.0, 10.0, 5.0), (0.0, 5.0, 5.0)), 0.35, 0.05),
        (((10.0, 20.0, 0.0), (20.0, 20.0, 10.0), (6.0, 4.0, 10.0)), 0.6, 0.06),
    ],
)
def test_churn_is_the_share_off_the_diagonal_and_leaps_that_of_its_corners(cells, churn, leap):
    found = checked(replace(PLAIN, churn={"refit": cells}))
    assert found["churn"].value == pytest.approx(churn)
    assert found["leap"].value == pytest.approx(leap)
    assert found["churn"].outcome == ("pass" if churn <= 0.5 else "fail")
    assert found["leap"].outcome == ("pass" if leap <= 0.05 else "fail")


def test_without_rows_churn_is_not_judged():
    found = checked(replace(PLAIN, churn={"refit": ((0.0,) * 3,) * 3}))
    assert found["churn"].outcome == "not judged"
    assert "leap" not in found
