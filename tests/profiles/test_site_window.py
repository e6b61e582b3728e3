"""A site's window: its season, its document, and what the server captured."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from fedrisk.errors import StudyError
from fedrisk.profiles import Window
from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.seasons import season_of
from fedrisk.profiles.site_window import SiteWindow, from_capture
from fedrisk.study import NumberFeature, Study

STUDY = Study(
    name="s", label="y", positive=(1,), features=(NumberFeature(name="age", minimum=0, maximum=99),)
)
PROFILE = profile_columns(STUDY, {"age": np.array([1.0, 50.0])}, np.array([0.2, 0.4]))
START = datetime(2025, 11, 29, tzinfo=UTC)


@pytest.mark.parametrize("month", range(1, 13))
def test_a_season_has_three_months(month):
    expected = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
    assert month in expected[season_of(date(2024, month, 15))]


def test_a_window_is_of_the_season_of_its_middle():
    days = SiteWindow("a", START, START + timedelta(days=3), PROFILE, 2.0, 3.0)
    assert days.season == "SON"
    assert replace(days, end=START + timedelta(days=30)).season == "DJF"


def test_the_document_brings_the_window_back():
    labelled = replace(PROFILE, labelled=PROFILE.scores, outside={"age": 3.0})
    window = SiteWindow("a", START, START + timedelta(days=3), labelled, 2.0, 3.0, withheld=True)
    back = SiteWindow.from_document(json.loads(json.dumps(window.document())))
    assert replace(back, profile=PROFILE) == replace(window, profile=PROFILE)
    assert np.array_equal(back.profile.labelled, PROFILE.scores)
    assert back.profile.outside == {"age": 3.0}


def test_what_is_no_window_is_refused():
    with pytest.raises(StudyError, match="not a site's window"):
        SiteWindow.from_document({"site": "a"})


def test_a_captured_window_is_of_the_server_and_of_unknown_people():
    captured = Window("id", "m", "3", "replica", START, START + timedelta(hours=6), PROFILE)
    (window,) = from_capture([captured])
    assert (window.site, window.people, window.days) == ("serving", 0.0, 0.25)
    assert window.profile is PROFILE
