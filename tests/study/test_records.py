from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedrisk.models.descent
import fedrisk.models.metrics
import fedrisk.models.newton
import fedrisk.models.summary  # noqa: F401 declares its records
from fedrisk.errors import EgressError
from fedrisk.study.records import RECORDS, FloatArray, SumRecord, axes, total

SIZES = {"rows_axis": 3, "wide": 2}


@dataclass(frozen=True)
class Example(SumRecord):
    """Has no name, so it never enters the declared records."""

    NAME: ClassVar[str] = ""

    count: FloatArray = axes()
    table: FloatArray = axes("rows_axis", "wide")


def example(value=1.0):
    return Example(total(value), np.full((3, 2), value))


def test_only_named_records_are_declared():
    assert Example not in RECORDS.values()
    assert all(name == record.NAME for name, record in RECORDS.items())


def test_arrays_and_back():
    again = Example.from_arrays(example(2.0).arrays(), SIZES)
    np.testing.assert_array_equal(again.table, example(2.0).table)
    assert float(again.count) == 2.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table": np.zeros((2, 3))}, "has shape"),
        ({"table": np.zeros(6)}, "has shape"),
        ({"count": np.zeros(1)}, "has shape"),
        ({"table": np.full((3, 2), np.nan)}, "not finite"),
        ({"count": np.array(np.inf)}, "not finite"),
        ({"more": np.zeros(3)}, "has fields"),
    ],
)
def test_what_does_not_fit_the_declaration_is_refused(change, said):
    with pytest.raises(EgressError, match=said):
        Example.from_arrays(example().arrays() | change, SIZES)


def test_a_field_left_out_is_refused():
    with pytest.raises(EgressError, match="has fields"):
        Example.from_arrays({"count": total(1)}, SIZES)


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=9))
def test_records_add_up_field_by_field(values):
    whole = example(float(values[0]))
    for value in values[1:]:
        whole = whole + example(float(value))
    assert float(whole.count) == sum(values)
    assert (whole.table == sum(values)).all()
    assert whole.table.shape == (3, 2)


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_declared_record_names_the_axes_of_every_field(name):
    record = RECORDS[name]
    every = {axis for f in fields(record) for axis in f.metadata["axes"]}
    shapes = record.shapes(dict.fromkeys(every, 2))
    assert set(shapes) == {f.name for f in fields(record)}
