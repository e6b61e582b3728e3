"""Which series and labels a PromQL expression names."""

from __future__ import annotations

import re

_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "by", "without", "on", "ignoring"}
_WORDS |= {"group_left", "group_right"}
_MATCHERS = re.compile(r"\{([^{}]*)\}")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")


def series(expression: str) -> set[str]:
    """Names of the series that are read.

    >>> sorted(series('sum by (le) (rate(a_bucket{x="b(c)"}[5m])) / on (i) fed:b:rate5m > 1e3'))
    ['a_bucket', 'fed:b:rate5m']
    """
    text = re.sub(r"\"[^\"]*\"", '""', expression)
    text = _GROUPING.sub(" ", _MATCHERS.sub(" ", re.sub(r"\[[^\]]*\]", " ", text)))
    text = re.sub(r"\b\d[\w.]*", " ", text)
    names = re.findall(r"[a-zA-Z_:][\w:]*(?!\w)(?!\s*\()", text)
    return {name for name in names if name.lower() not in _WORDS}


def labels(expression: str) -> set[str]:
    """Names of the labels that are matched or grouped by.

    >>> sorted(labels('sum by (le, kind) (rate(a_bucket{job=~"x,y=", le!="1"}[5m]))'))
    ['job', 'kind', 'le']
    """
    text = re.sub(r"\"[^\"]*\"", '""', expression)
    found = [re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", inside) for inside in _MATCHERS.findall(text)]
    found += [re.findall(r"\w+", inside) for inside in _GROUPING.findall(text)]
    return {name for names in found for name in names}
