"""Covariance shift: equal to the distance of normal laws, and found where margins stay."""

from __future__ import annotations

import numpy as np
import pytest

from fedrisk.detectors.covariance_shift import SOFTENED, CovarianceShift, changed_pairs
from fedrisk.errors import StudyError
from fedrisk.models.bins import feature_edges
from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.profile import Profile
from fedrisk.study import NumberFeature, Study

NAMES = ("a", "b", "c")
STUDY = Study(
    name="s",
    label="y",
    positive=(1,),
    features=tuple(
        NumberFeature(name=name, unit="1", minimum=-8, maximum=8, missing="allow") for name in NAMES
    ),
)
DETECTOR = CovarianceShift()


def profile(rows: int, seed: int, *, mean=(0, 0, 0), correlation=0.0, scale=1.0) -> Profile:
    rng = np.random.default_rng(seed)
    covariance = np.eye(3)
    covariance[0, 1] = covariance[1, 0] = correlation
    drawn = rng.multivariate_normal(mean, covariance * scale**2, rows)
    return profile_columns(STUDY, dict(zip(NAMES, drawn.T, strict=True)))


def four_bhattacharyya(mean, covariance):
    """Of a normal law from the standard one, softened as the detector does."""
    covariance = (covariance + SOFTENED * np.eye(3)) / (1 + SOFTENED)
    mean = np.asarray(mean) / np.sqrt(1 + SOFTENED)
    middle = (covariance + np.eye(3)) / 2
    volume = np.log(np.linalg.det(middle) / np.sqrt(np.linalg.det(covariance)))
    return 4 * (mean @ np.linalg.inv(middle) @ mean / 8 + volume / 2)


@pytest.mark.parametrize(
    ("mean", "correlation", "scale"),
    [((0.5, 0, 0), 0.0, 1.0), ((0, 0, 0), 0.6, 1.0), ((0, 0, 0), 0.0, 1.4), ((0.2, -1, 0), 0.3, 1)],
)
def test_it_is_the_distance_of_normal_laws(mean, correlation, scale):
    covariance = np.eye(3) * scale**2
    covariance[0, 1] = covariance[1, 0] = correlation * scale**2
    current = profile(200_000, 2, mean=mean, correlation=correlation, scale=scale)
    found = DETECTOR.distance(profile(200_000, 1), current, "rows")
    assert found == pytest.approx(four_bhattacharyya(mean, covariance), rel=0.05)


def test_margins_that_stay_hide_nothing():
    """What no detector of one feature at a time can see."""
    reference, current = profile(20_000, 1), profile(20_000, 2, correlation=0.6)
    margins = [
        np.abs(reference.numbers[name].cumsum() - current.numbers[name].cumsum()).max() / 20_000
        for name in NAMES
    ]
    assert max(margins) < 0.02
    assert DETECTOR.distance(reference, current, "rows") > 1.8 * DETECTOR.matters


def test_no_classifier_tells_the_periods_apart_better_than_it_says():
    """The error of the best one, a quadratic discriminant with the true laws, on fresh rows."""
    mean, rows = np.array([1.0, -0.5, 0.0]), 100_000
    found = DETECTOR.distance(profile(rows, 1), profile(rows, 2, mean=mean, scale=1.5), "rows")
    rng = np.random.default_rng(9)
    old, new = rng.standard_normal((rows, 3)), mean + 1.5 * rng.standard_normal((rows, 3))

    def log_ratio(x):
        return np.sum(x**2 - ((x - mean) / 1.5) ** 2, axis=1) / 2 - 3 * np.log(1.5)

    error = (np.mean(log_ratio(old) > 0) + np.mean(log_ratio(new) <= 0)) / 2
    assert error <= np.exp(-found / 4) / 2
    assert error > 0.5 * np.exp(-found / 4) / 2


def test_which_period_is_the_reference_hardly_matters():
    one, two = profile(5000, 1), profile(5000, 2, correlation=0.5, scale=1.3)
    there, back = DETECTOR.distance(one, two, "rows"), DETECTOR.distance(two, one, "rows")
    assert there == pytest.approx(back, rel=0.1)


def test_sampling_noise_is_taken_off():
    distances = [
        DETECTOR.distance(profile(400, seed), profile(200, 1000 + seed), "rows")
        for seed in range(300)
    ]
    error = np.std(distances) / np.sqrt(len(distances))
    assert abs(np.mean(distances)) < 4 * error + 1e-3
    assert np.std(distances) < DETECTOR.matters


def test_many_blocks_at_once_give_what_each_gives():
    blocks = [profile(500, seed, correlation=0.1 * seed) for seed in range(6)]
    reference = profile(5000, 99)
    cells = np.array([block.moments.ravel() for block in blocks])
    together = DETECTOR.distances(reference.moments.ravel(), cells)
    alone = [DETECTOR.distance(reference, block, "rows") for block in blocks]
    np.testing.assert_allclose(together, alone, rtol=1e-9)
    others = np.array([(reference - block).moments.ravel() for block in blocks])
    assert DETECTOR.distances(others, cells).shape == (6,)
    raw = DETECTOR.distances(others, cells) + DETECTOR.noise(others, cells)
    assert (raw > 0).all()


def test_units_do_not_matter_and_neither_does_a_feature_that_repeats_another():
    """Also where the reference's covariance cannot be inverted."""
    rng = np.random.default_rng(3)

    def sums(rows):
        table = np.column_stack([np.ones(len(rows)), rows])
        return (table.T @ table).ravel()

    one, two = rng.standard_normal((3000, 2)), rng.standard_normal((3000, 2)) * 1.2 + 0.3
    mixing = np.array([[3.0, 0.5], [-2.0, 40.0]])
    plain = DETECTOR.distances(sums(one), sums(two))
    turned = [rows @ mixing + [7.0, -30.0] for rows in (one, two)]
    assert DETECTOR.distances(*map(sums, turned)) == pytest.approx(plain)
    measured = [rows * [1e-5, 1e5] for rows in (one, two)]
    assert DETECTOR.distances(*map(sums, measured)) == pytest.approx(plain)
    again = [np.column_stack([rows, rows.sum(axis=1)]) for rows in (one, two)]
    assert DETECTOR.distances(sums(again[0]), sums(again[1])) == pytest.approx(plain, rel=1e-3)


def test_a_feature_that_stands_still_in_the_window_does_not_drown_the_rest():
    """A week of one weather: its distance stays bounded where the true one is infinite."""
    frozen = profile(500, 1)
    columns = dict(zip(NAMES, np.random.default_rng(5).standard_normal((3, 500)), strict=True))
    still = profile_columns(STUDY, columns | {"c": np.zeros(500)})
    assert 0 < DETECTOR.distance(frozen, still, "rows") < 1.9


@pytest.mark.parametrize("rows", [0, 5, 19])
def test_too_few_complete_rows_tell_nothing(rows):
    few = profile(rows, 1) if rows else Profile.empty(STUDY)
    assert DETECTOR.distance(profile(500, 2), few, "rows") is None
    assert DETECTOR.distance(few, profile(500, 2), "rows") is None


def test_a_lost_feed_leaves_no_complete_row():
    columns = dict(zip(NAMES, np.random.default_rng(5).standard_normal((3, 500)), strict=True))
    lost = profile_columns(STUDY, columns | {"c": np.full(500, np.nan)})
    assert DETECTOR.distance(profile(500, 2), lost, "rows") is None


def test_the_pair_that_changed_is_named():
    found = changed_pairs(STUDY, profile(20_000, 1), profile(20_000, 2, correlation=-0.5))
    assert found[0].features == ("a", "b")
    assert found[0].before == pytest.approx(0.0, abs=0.03)
    assert found[0].now == pytest.approx(-0.5, abs=0.03)
    assert found[0].effect == pytest.approx(-0.55, abs=0.05)
    one = profile_columns(STUDY, dict.fromkeys(NAMES, np.linspace(-3, 3, 500)))
    assert np.isfinite([each.effect for each in changed_pairs(STUDY, profile(500, 1), one)]).all()
    assert len(changed_pairs(STUDY, profile(200, 1), profile(200, 2), most=1)) == 1
    assert changed_pairs(STUDY, Profile.empty(STUDY), profile(200, 2)) == []


def test_another_study_is_refused():
    other = Study.model_validate(STUDY.model_dump() | {"name": "other"})
    with pytest.raises(StudyError):
        DETECTOR.distance(profile(100, 1), Profile.empty(other), "rows")
    with pytest.raises(StudyError):
        changed_pairs(STUDY, profile(100, 1), Profile.empty(other))


def test_it_looks_at_rows_and_says_so():
    assert DETECTOR.subjects(STUDY) == ("rows",)
    assert "at most 48%" in DETECTOR.explain(0.2, "rows")
    assert len(feature_edges(STUDY.numbers[0])) == 257
