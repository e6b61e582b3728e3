"""The label: which of its values are events, across the ways formats write one and the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fedrisk.study.columns import Column, map_distinct
from fedrisk.study.records import BoolArray
from fedrisk.study.values import number_or_text, plain

_EVENT, _NO_EVENT, _NOT_FINITE = 1, 0, 2


def label_value(value: Any) -> float | str:
    """Bring a label's value to the form in which it is compared: a number where it is one.

    >>> label_value("1") == label_value(1) == label_value(1.0) == label_value(True) == 1.0
    True
    >>> label_value("dead")
    'dead'
    """
    text = plain(value)
    if text in ("true", "false"):
        return float(text == "true")
    found = number_or_text(text)
    return text if found is None else found


def read_label(column: Column, positive: Sequence[Any]) -> tuple[BoolArray, BoolArray]:
    """Tell events.

    Parameters
    ----------
    column : Column
    positive : sequence of bool, int, float or str
        Values that count as an event; every other value is no event.

    Returns
    -------
    events : (rows,) array of bool
        False where the label is missing.
    not_finite : (rows,) array of bool
        Where it is neither missing nor a value: NaN or infinite.
    """
    wanted = {label_value(value) for value in positive}

    def judge(value: Any) -> int:
        found = label_value(value)
        if isinstance(found, float) and not math.isfinite(found):
            return _NOT_FINITE
        return _EVENT if found in wanted else _NO_EVENT

    judged = map_distinct(column, judge)
    return judged == _EVENT, judged == _NOT_FINITE
