"""Every detector, found by its name, is a distance: zero on the same, larger on a larger shift."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from detectors import world

from fedrisk.detectors import DETECTORS
from fedrisk.detectors.calibration import Calibration
from fedrisk.errors import StudyError
from fedrisk.profiles import Profile
from fedrisk.profiles.counting import profile_columns
from fedrisk.study import parse_study

NUMBERS = {"heat": {"minimum": -50, "maximum": 60}, "marker": {}}
STUDY = parse_study(
    {
        "name": "conformance",
        "label": "ill",
        "positive": [1],
        "features": [
            *(
                {"name": name, "kind": "number", "missing": "allow", **bounds}
                for name, bounds in NUMBERS.items()
            ),
            {"name": "town", "kind": "category", "levels": ["a", "b", "c"], "missing": "allow"},
        ],
    }
)


def profile(shift: float, rows: int = 4000, seed: int = 0) -> Profile:
    """Rows of a world that everything in has moved by a shift between 0 and 1."""
    rng = np.random.default_rng(seed)
    town = np.searchsorted([0.5 - 0.4 * shift, 0.8 - 0.3 * shift], rng.random(rows))
    gone = rng.random((3, rows)) < 0.02 + 0.5 * shift
    columns = {
        "heat": np.where(gone[0], np.nan, rng.normal(20 + 15 * shift, 8, rows)),
        "marker": np.where(gone[1], np.nan, rng.lognormal(shift, 0.5, rows)),
        "town": np.where(gone[2], -1, town).astype(np.int32),
    }
    risks = 1 / (1 + np.exp(-rng.normal(-3 + shift, 1, rows)))
    found = profile_columns(STUDY, columns, risks)
    ill = rng.random(rows) < risks
    events = profile_columns(STUDY, columns, np.where(ill, risks, 0.0)).scores
    events[0] = 0.0  # those of no event, at a risk of zero
    beyond = {name: round(rows * 0.3 * shift) for name in columns}
    return replace(found, labelled=found.scores, events=events, outside=beyond)


CASES = [
    pytest.param(detector, subject, id=f"{name}-{subject}")
    for name, detector in DETECTORS.items()
    for subject in detector.subjects(STUDY)
]


def test_a_detector_is_known_by_its_own_name():
    assert [name for name, detector in DETECTORS.items() if detector.name != name] == []


@pytest.mark.parametrize(("detector", "subject"), CASES)
def test_the_same_rows_are_no_distance_apart(detector, subject):
    same = profile(0.0)
    assert detector.distance(same, same, subject) <= 1e-12


@pytest.mark.parametrize(("detector", "subject"), CASES)
def test_a_larger_shift_is_a_larger_distance(detector, subject):
    reference = profile(0.0)
    found = [detector.distance(reference, profile(s, seed=1), subject) for s in (0, 0.2, 0.5, 1)]
    assert found == sorted(found)
    assert np.isfinite(found).all()
    assert found[0] < detector.matters < found[-1]


@pytest.mark.parametrize(("detector", "subject"), CASES)
def test_no_rows_are_no_distance(detector, subject):
    empty, full = Profile.empty(STUDY), profile(0.0)
    assert detector.distance(full, empty, subject) is None
    assert detector.distance(empty, full, subject) is None


@pytest.mark.parametrize(("detector", "subject"), CASES)
def test_a_reference_of_another_study_is_refused(detector, subject):
    other = Profile.empty(STUDY.model_copy(update={"name": "other"}))
    with pytest.raises(StudyError, match="does not compare"):
        detector.distance(other, profile(0.0), subject)


@pytest.mark.parametrize(("detector", "subject"), CASES)
def test_a_distance_is_explained(detector, subject):
    assert subject in detector.explain(0.5, subject)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_stationary_world_is_rarely_found_changed(name):
    detector, p_values = DETECTORS[name], []
    for seed in range(4):
        calibration = Calibration(world.reference(seed))
        for window in world.site_windows(seed, 10, site="site-0", first=52):
            p_values += [
                calibration.finding(detector, window, subject).p_value
                for subject in detector.subjects(world.STUDY)
            ]
    told = np.array([p for p in p_values if p is not None])
    assert np.mean(told <= 0.001) <= 0.02 if len(told) else detector.about in ("score", "labels")
