"""The reference: sums of its blocks, and the same after a way through its document."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from fedrisk.errors import StudyError
from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.reference import Reference, merge, read_reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import CategoryFeature, NumberFeature, Study

STUDY = Study(
    name="s",
    label="y",
    positive=(1,),
    features=(
        CategoryFeature(name="sex", kind="category", levels=("f", "m"), missing="allow"),
        NumberFeature(name="age", unit="year", minimum=0, maximum=120, missing="allow"),
    ),
)
FIRST = datetime(2025, 1, 6, tzinfo=UTC)


def block(site: str, week: int, seed: int) -> SiteWindow:
    rng = np.random.default_rng(seed)
    age = rng.uniform(0, 120, 40)
    age[rng.random(40) < 0.1] = np.nan
    sex = rng.integers(-1, 2, 40).astype(np.int32)
    profile = profile_columns(STUDY, {"age": age, "sex": sex}, rng.random(40))
    start = FIRST + timedelta(weeks=week)
    return SiteWindow(site, start, start + timedelta(weeks=1), profile, 30.0, 7.0)


@pytest.fixture(scope="module")
def reference() -> Reference:
    weeks = [(site, week) for site in ("north", "south") for week in range(0, 52, 4)]
    blocks = [block(site, week, at) for at, (site, week) in enumerate(weeks)]
    return Reference(STUDY.hash, tuple(reversed(blocks)))


def same(one, other):
    assert one.rows == other.rows
    assert one.missing == other.missing
    assert one.outside == other.outside
    for name in ("age", "sex"):
        part = "numbers" if name == "age" else "categories"
        assert np.array_equal(getattr(one, part)[name], getattr(other, part)[name])
    for name in ("scores", "labelled", "events"):
        assert np.array_equal(getattr(one, name), getattr(other, name))


def test_a_choice_of_site_and_season_is_the_sum_of_its_blocks(reference):
    chosen = reference.blocks_of("south", "JJA")
    assert {b.site for b in chosen} == {"south"}
    assert {b.season for b in chosen} == {"JJA"}
    same(reference.of("south", "JJA"), merge(b.profile for b in chosen))
    assert [b.start for b in chosen] == sorted(b.start for b in chosen)


def test_seasons_tile_the_reference(reference):
    seasons = [reference.of(season=s) for s in ("DJF", "MAM", "JJA", "SON")]
    same(merge(seasons), reference.overall())
    assert reference.sites == ("north", "south")


def test_leaving_a_block_out_is_the_sum_of_the_others(reference):
    left_out = reference.blocks_of("north", "MAM")[1]
    others = [b.profile for b in reference.blocks_of("north", "MAM") if b is not left_out]
    same(reference.of("north", "MAM", without=left_out), merge(others))
    same(reference.of("south", "MAM", without=left_out), reference.of("south", "MAM"))


def test_a_season_without_a_block_has_no_rows(reference):
    short = Reference(STUDY.hash, reference.blocks_of("north", "DJF"))
    assert short.of("north", "JJA").rows == 0
    assert short.of("west").rows == 0


def test_a_reference_without_any_block_says_so():
    with pytest.raises(StudyError, match="no block"):
        Reference(STUDY.hash, ()).overall()


def test_the_document_brings_every_block_back(reference):
    document = json.loads(json.dumps({"blocks": reference.document()}))
    back = read_reference(document, STUDY)
    assert len(back.blocks) == len(reference.blocks)
    for one, other in zip(back.blocks, reference.blocks_of(), strict=True):
        assert (one.site, one.start, one.end, one.people) == (
            other.site,
            other.start,
            other.end,
            other.people,
        )
        same(one.profile, other.profile)
    assert Reference.from_document(Reference(STUDY.hash, ()).document()).blocks == ()


def test_another_study_an_older_model_and_damage_are_refused(reference):
    document = {"blocks": reference.document()}
    other = STUDY.model_copy(update={"penalty": 2.0})
    with pytest.raises(StudyError, match="is of study"):
        read_reference(document, other)
    with pytest.raises(StudyError, match="earlier fedrisk"):
        read_reference({"rows": 3.0}, STUDY)
    cut = {**document["blocks"], "cells": document["blocks"]["cells"][:-8]}
    with pytest.raises(StudyError, match="not a reference"):
        read_reference({"blocks": cut}, STUDY)


def test_profiles_of_two_studies_do_not_merge():
    other = STUDY.model_copy(update={"penalty": 2.0})
    nothing = {"age": np.zeros(0), "sex": np.zeros(0, np.int32)}
    with pytest.raises(StudyError, match="do not add up"):
        merge([profile_columns(STUDY, nothing), profile_columns(other, nothing)])
    with pytest.raises(StudyError, match="no profile"):
        merge([])
