"""A study as the person who approves it reads it: every part that decides what can be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedrisk.study import CategoryFeature, NumberFeature, Study


def study_lines(study: Study) -> Iterator[str]:
    """Lines to read before a yes: hash, outcome, roles of columns, split, fit, features.

    Text of the study is shown so that nothing in it can pass for a line of ours.
    """
    yield f"study {study.name}: {plain(study.title) or '(no title)'}"
    yield f"hash: {study.hash}"
    yield from _outcome(study)
    yield from _roles(study)
    yield f"penalty: {study.penalty:g} (penalty/2 * |coefficients|^2 is added to the loss)"
    bands = study.bands
    yield f"risk levels: low below {bands.medium:g}, high from {bands.high:g}"
    by = ", ".join(map(plain, study.subgroups))
    yield f"reported and judged by subgroup: {by or 'none'}"
    yield f"{len(study.features)} features:"
    for feature in study.features:
        yield f"  {plain(feature.name)}: {_feature(feature)}"


def _outcome(study: Study) -> Iterator[str]:
    events = " or ".join(plain(str(value)) for value in study.positive)
    yield (
        f"outcome: column {_quoted(study.label)} is an event where it is {events}, "
        "no event where it is anything else, and not used where it is empty"
    )
    if study.time is None:
        yield "time: none; every row's outcome counts as final"
        return
    yield (
        f"time: column {_quoted(study.time)}; an outcome is final {study.horizon} (horizon) plus "
        f"{study.reporting_lag} (reporting lag) later, younger rows take no part"
    )


def _roles(study: Study) -> Iterator[str]:
    told = "rows of one person stay on one side of the split"
    yield f"id: column {_quoted(study.id)}; {told}" if study.id else "id: none; each row by itself"
    if study.treated:
        yield f"treated: column {_quoted(study.treated)} is true where the score led to care"
    else:
        yield "treated: none; no row is known to have been treated because of a score"
    if study.split:
        yield f"split: column {_quoted(study.split)} says which rows test the model"
    else:
        yield f"split: {study.test_fraction:g} of the rows test the model (test_fraction), by hash"


def _feature(feature: NumberFeature | CategoryFeature) -> str:
    absent = "may be missing" if feature.missing == "allow" else "must be there"
    if feature.kind == "category":
        return f"one of {', '.join(map(_quoted, feature.levels))}; {absent}"
    unit = plain(feature.unit) or "no unit"
    low, high = _bound(feature.minimum), _bound(feature.maximum)
    if feature.plausible is None:
        usual = "no plausible range"
    else:
        usual = f"plausible {feature.plausible[0]:g} to {feature.plausible[1]:g}"
    return f"number ({unit}), from {low} to {high}, {usual}; {absent}"


def _bound(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"


def _quoted(text: str) -> str:
    return json.dumps(plain(text), ensure_ascii=False)


def plain(text: str) -> str:
    r"""Text of others with every sign that a terminal would obey spelt out.

    >>> plain("a\x1b[2J\nhash: 0")
    'a\\x1b[2J\\nhash: 0'
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text
    )
