"""The cohort: fits the study, is reproducible, and its labels follow the stated risk."""

from datetime import date, timedelta

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from fedrisk.errors import UsageError
from fedrisk.simulation import EFFECTS, latest_start, simulate, simulate_site
from fedrisk.study import builtin_study

START = date(2024, 1, 1)
STUDY = builtin_study("air-wearables")
REQUIRED = [f.name for f in STUDY.numbers if f.missing == "reject"]


@pytest.fixture(scope="module")
def cohorts():
    return list(simulate(4, 300, 365, 20_240_229, START))


def pooled(cohorts, name):
    return np.concatenate([cohort.columns[name] for cohort in cohorts])


def known(cohorts):
    return ~np.isnan(pooled(cohorts, "age")) & (pooled(cohorts, "sex") != "")


def test_columns_are_those_of_the_study(cohorts):
    for cohort in cohorts:
        assert set(cohort.columns) == set(STUDY.columns)
        assert {len(column) for column in cohort.columns.values()} == {cohort.rows}


@pytest.mark.parametrize("feature", STUDY.numbers, ids=lambda feature: feature.name)
def test_values_keep_the_hard_bounds_and_are_mostly_plausible(cohorts, feature):
    values = pooled(cohorts, feature.name)
    present = values[~np.isnan(values)]
    assert present.min() >= feature.minimum
    assert present.max() <= feature.maximum
    low, high = feature.plausible
    assert ((present < low) | (present > high)).mean() < 0.01


def test_only_age_and_sex_are_ever_missing_and_rarely(cohorts):
    for name in REQUIRED:
        assert not np.isnan(pooled(cohorts, name)).any()
    assert 0.005 < np.isnan(pooled(cohorts, "age")).mean() < 0.07
    assert 0.003 < (pooled(cohorts, "sex") == "").mean() < 0.06
    assert set(pooled(cohorts, "sex")) == {"female", "male", ""}


def test_particles_below_ten_include_those_below_two_and_a_half(cohorts):
    assert (pooled(cohorts, "pm10") >= pooled(cohorts, "pm25")).all()


def test_a_person_lives_at_one_site_and_has_one_row_a_day(cohorts):
    people = [set(cohort.columns["person"]) for cohort in cohorts]
    assert len(set.union(*people)) == sum(map(len, people))
    cohort = cohorts[0]
    keys = set(zip(cohort.columns["person"], cohort.columns["date"].astype(str), strict=True))
    assert len(keys) == cohort.rows


def test_a_person_keeps_age_and_sex(cohorts):
    columns = cohorts[0].columns
    _, first, person = np.unique(columns["person"], return_index=True, return_inverse=True)
    np.testing.assert_array_equal(columns["sex"][first][person], columns["sex"])
    np.testing.assert_array_equal(columns["age"][first][person], columns["age"])


def test_dates_run_from_the_start_over_the_days_asked_for(cohorts):
    for cohort in cohorts:
        dates = cohort.columns["date"]
        assert dates.min() == np.datetime64(START)
        assert dates.max() == np.datetime64(START + timedelta(days=364))
        assert (np.diff(dates) >= np.timedelta64(0)).all()


def test_everyone_in_a_city_has_the_days_weather(cohorts):
    columns = cohorts[1].columns
    _, day = np.unique(columns["date"], return_inverse=True)
    for name in ("temperature", "humidity"):
        assert len(set(zip(day, columns[name], strict=True))) == 365


def test_cities_differ(cohorts):
    assert np.ptp([cohort.columns["temperature"].mean() for cohort in cohorts]) > 2
    assert np.ptp([np.log(cohort.columns["pm25"]).mean() for cohort in cohorts]) > 0.2


def test_the_same_arguments_give_the_same_rows_and_another_seed_others():
    first, again, other = (simulate_site(0, 20, 30, seed, START) for seed in (1, 1, 2))
    for name, column in first.columns.items():
        np.testing.assert_array_equal(column, again.columns[name])
    assert not np.array_equal(first.true_risk, other.true_risk)


def test_a_further_site_changes_no_other(cohorts):
    more = simulate_site(2, 300, 365, 20_240_229, START)
    for name, column in cohorts[2].columns.items():
        np.testing.assert_array_equal(column, more.columns[name])


def test_about_three_percent_of_days_are_followed_by_an_event(cohorts):
    events = pooled(cohorts, "cardiorespiratory_event")
    assert set(events) == {0, 1}
    assert 0.02 < events.mean() < 0.045
    risk = np.concatenate([cohort.true_risk for cohort in cohorts])
    assert events.sum() == pytest.approx(risk.sum(), abs=4 * np.sqrt((risk * (1 - risk)).sum()))


def test_events_are_as_frequent_as_the_true_risk_says_at_every_level(cohorts):
    risk = np.concatenate([cohort.true_risk for cohort in cohorts])
    events = pooled(cohorts, "cardiorespiratory_event")
    order = np.argsort(risk)
    for rows in np.array_split(order, 10):
        spread = np.sqrt((risk[rows] * (1 - risk[rows])).sum())
        assert events[rows].sum() == pytest.approx(risk[rows].sum(), abs=4 * spread)


def test_a_logistic_regression_recovers_the_effects(cohorts):
    rows = known(cohorts)
    columns = {name: pooled(cohorts, name) for name in cohorts[0].columns}
    columns["male"] = (columns["sex"] == "male").astype(float)
    exposures = np.column_stack([effect.exposure(columns) for effect in EFFECTS])[rows]
    scale = exposures.std(axis=0)
    standardised = (exposures - exposures.mean(axis=0)) / scale
    events = columns["cardiorespiratory_event"][rows]
    model = LogisticRegression(C=np.inf, solver="newton-cholesky").fit(standardised, events)
    truth = np.array([effect.coefficient() for effect in EFFECTS]) * scale
    risk = model.predict_proba(standardised)[:, 1]
    design = np.column_stack([np.ones(len(events)), standardised])
    information = design.T @ (design * (risk * (1 - risk))[:, None])
    error = np.sqrt(np.diag(np.linalg.inv(information)))[1:]
    assert (np.abs(model.coef_[0] - truth) < 4 * error).all()
    strong = np.abs(truth) > 4 * error
    assert strong.sum() >= len(EFFECTS) - 3
    assert (np.sign(model.coef_[0]) == np.sign(truth))[strong].all()


def test_a_plain_model_on_the_studys_features_finds_most_of_what_there_is_to_find(cohorts):
    rows = known(cohorts)
    features = [pooled(cohorts, name) for name in (*REQUIRED, "age")]
    table = np.column_stack([*features, pooled(cohorts, "sex") == "male"])[rows]
    events = pooled(cohorts, "cardiorespiratory_event")[rows]
    risk = np.concatenate([cohort.true_risk for cohort in cohorts])[rows]
    _, person = np.unique(pooled(cohorts, "person")[rows], return_inverse=True)
    held_out = person % 5 == 0
    centre, scale = table.mean(axis=0), table.std(axis=0)
    model = LogisticRegression(solver="newton-cholesky")
    model.fit((table[~held_out] - centre) / scale, events[~held_out])
    score = model.decision_function((table[held_out] - centre) / scale)
    reached = roc_auc_score(events[held_out], score)
    ceiling = roc_auc_score(events[held_out], risk[held_out])
    assert ceiling > 0.74
    assert reached > 0.7
    assert reached > ceiling - 0.05


def test_without_amplification_the_days_matter_less(cohorts):
    plain = simulate_site(0, 300, 365, 20_240_229, START, amplification=1.0)
    np.testing.assert_array_equal(plain.columns["pm25"], cohorts[0].columns["pm25"])
    assert np.log(plain.true_risk).std() < np.log(cohorts[0].true_risk).std()


def test_by_default_every_outcome_is_mature():
    as_of = date(2026, 3, 1)
    last = latest_start(as_of, 90) + timedelta(days=89)
    assert last + STUDY.maturity < as_of
    assert last + STUDY.maturity >= as_of - timedelta(days=1)


def test_one_person_on_one_day_is_a_cohort():
    cohort = simulate_site(0, 1, 1, 0, START)
    assert cohort.rows in (0, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sites": 0}, "sites"),
        ({"people": 0}, "people"),
        ({"days": 0}, "days"),
        ({"days": 10**9}, "days"),
        ({"seed": -1}, "seed"),
        ({"amplification": -1.0}, "amplification"),
        ({"amplification": float("nan")}, "amplification"),
        ({"scenario": "heat-dome"}, "heat-dome"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_simulated(change, named):
    given = {"sites": 1, "people": 1, "days": 1, "seed": 0, "start": START} | change
    with pytest.raises(UsageError, match=named):
        simulate(**given)


def test_a_length_out_of_range_has_no_start():
    with pytest.raises(UsageError, match="days"):
        latest_start(START, 10**9)
