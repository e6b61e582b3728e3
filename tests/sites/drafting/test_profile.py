from typing import Any

import pyarrow as pa
import pytest

from fedrisk.sites.drafting.profile import ColumnProfile, profile
from fedrisk.study.columns import Column


def of(*sites: list[Any]) -> ColumnProfile:
    return profile("x", [Column(pa.chunked_array([pa.array(values)])) for values in sites])


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2", "3"], "number"),
        ([1.5, 2.5, None, 7], "number"),
        (["0", "1", "1"], "category"),
        ([1, 2, 2], "category"),
        ([True, False], "category"),
        ([True, False] * 4, "category"),
        (["a", "b"] * 3, "category"),
        (["a", "b", "c"], "text"),
        ([f"v{i}" for i in range(31)] * 5, "text"),
        (["2024-01-01", "2024-01-02T10:00"], "time"),
        (["1", "x"] * 3, "category"),
        (["a", "a"], "constant"),
        (["1", "1.0"], "constant"),
        (["", "NA"], "empty"),
        ([1.0, float("inf"), 2.0], "not finite"),
        ([1.0, -1e150, 2.0], "too large"),
        ([[1], [2]], "text"),
    ],
)
def test_kinds(values: list[Any], kind: str) -> None:
    assert of(values).kind == kind


def test_sites_are_seen_together() -> None:
    found = of([1.0, 2.0, None], [3.0, 9.0])
    assert (found.kind, found.low, found.high, found.missing, found.distinct) == (
        "number",
        1.0,
        9.0,
        1,
        4,
    )


def test_a_column_with_one_value_at_each_site_names_the_site() -> None:
    assert of([1, 1], [2, 2]).kind == "site"
    assert of(["x"], ["x"]).kind == "constant"


def test_levels_come_by_frequency_and_codes_in_order() -> None:
    assert of(["b", "a", "b", "b", "a", "b"]).values == (("b", 4), ("a", 2))
    assert of([1, 1, 0]).values == (("0", 1), ("1", 2))
