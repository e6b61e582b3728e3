"""Which windows are judged, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from watched_world import WEEK, day

from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.validity import judgeable
from fedrisk.profiles.profile import Profile

NOW = day(60 * WEEK)


@pytest.fixture
def sort_out(world):
    return lambda windows, now=NOW: judgeable(
        world.study, world.reference, windows, VerdictRules(), now
    )


@pytest.fixture(scope="module")
def windows(world):
    return world.windows(54, 58)


def test_sound_windows_are_kept_oldest_first(sort_out, windows):
    found = sort_out(windows[::-1])
    assert len(found.windows) == len(windows)
    assert [w.end for w in found.windows] == sorted(w.end for w in windows)
    assert (found.refused, found.vanished, found.unknown) == ({}, (), ())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: replace(w, profile=replace(w.profile, study="b" * 64)), "bbbbbbbbbbbb"),
        (lambda w: replace(w, end=w.start), "ends before it begins"),
        (lambda w: replace(w, end=NOW + timedelta(hours=2)), "ends in the future"),
        (lambda w: replace(w, withheld=True), "withheld"),
        (lambda w: replace(w, profile=replace(w.profile, rows=99.0)), "99 rows, fewer than 100"),
        (lambda w: replace(w, days=3.0), "rows on 3 days, where 7 are usual"),
        (lambda w: replace(w, end=w.start + timedelta(days=3)), "of 3.0 days, shorter"),
        (lambda w: replace(w, start=w.start - timedelta(days=8), days=9.0), "overlaps"),
    ],
)
def test_what_cannot_be_judged_is_told(sort_out, windows, change, told):
    place = next(i for i, w in enumerate(windows) if w.site == "site-2" and w.start == day(55 * 7))
    found = sort_out([*windows[:place], change(windows[place]), *windows[place + 1 :]])
    assert told in found.refused["site-2"][0]
    assert len(found.windows) == len(windows) - 1


def test_clocks_may_differ_and_the_least_that_is_demanded_suffices(sort_out, windows):
    last = windows[3]
    profile = replace(last.profile, rows=100.0)
    ahead = last.end - timedelta(minutes=59)
    assert sort_out([replace(last, profile=profile)], ahead).refused == {}
    assert sort_out([last], last.end - timedelta(minutes=61)).refused.keys() == {"site-1"}


@pytest.mark.parametrize(("days", "told"), [(3.0, ()), (2.0, ("rows on 2 days, where 4 are",))])
def test_days_with_rows_are_held_to_what_is_usual_at_the_site(world, windows, days, told):
    """A site that writes on four days a week."""
    blocks = tuple(replace(block, days=4.0) for block in world.reference.blocks)
    seldom = replace(world.reference, blocks=blocks)
    given = [replace(windows[0], days=days)]
    found = judgeable(world.study, seldom, given, VerdictRules(), NOW).refused.get("site-1", ())
    assert len(found) == len(told)
    assert all(words in reason for words, reason in zip(told, found, strict=True))


def test_an_empty_window_is_told(sort_out, world, windows):
    found = sort_out([replace(windows[0], profile=Profile.empty(world.study))])
    assert "is empty" in found.refused["site-1"][0]


def test_sites_that_vanished_and_sites_that_are_new(sort_out, windows):
    windows = [w for w in windows if w.site != "site-3"]
    found = sort_out([*windows, replace(windows[0], site="site-9")])
    assert found.vanished == ("site-3",)
    assert found.unknown == ("site-9",)
    late = NOW + timedelta(days=200)
    assert sort_out(windows, late).vanished == ("site-1", "site-2", "site-3")


def test_no_site_has_vanished_where_only_the_server_is_judged(sort_out, windows):
    assert sort_out([replace(windows[0], site="serving")]).vanished == ()
