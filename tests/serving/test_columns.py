from __future__ import annotations

import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import DataError
from fedrisk.serving.columns import RECORDED, Block, BlockReader
from fedrisk.sites.validation import Validation
from fedrisk.sites.violations import Violations
from fedrisk.study import CategoryFeature, NumberFeature, Study

AGE = NumberFeature(name="age", unit="year", minimum=0, maximum=120)
DOSE = NumberFeature(name="dose", missing="allow")
CLASS = CategoryFeature(name="class", kind="category", levels=("1", "true", "x"))
STUDY = Study(name="s", label="y", positive=(1,), features=(AGE, DOSE, CLASS))

TEXTS = ["", "NA", " NA ", "na", "1", "1.0", "-1", "+5", ".5", "5.", "1e2", "1e999", "inf", "nan"]
TEXTS += ["-Infinity", "NaN", "0x1", "1_0", "1,5", " 7 ", "true", "True", "x", " x", "X", "121"]
TEXTS += ["--1", "\uff11", "\u00a07", "\t7"]
texts = st.sampled_from(TEXTS)


def read(study: Study = STUDY, **columns: pa.Array) -> Block:
    return BlockReader(study, "f.csv").read(columns, 1)


def told(block: Block) -> list[tuple[int | None, str, str, str]]:
    return [(v.row, v.column, v.value, v.rule) for v in block.violations]


@given(st.lists(st.tuples(texts, texts, texts), min_size=1, max_size=20))
def test_scoring_takes_what_training_takes(rows: list[tuple[str, str, str]]) -> None:
    columns = zip(STUDY.feature_names, zip(*rows, strict=True), strict=True)
    table = pa.table({name: pa.array(texts, pa.large_string()) for name, texts in columns})
    found = Violations("f.csv")
    trained = Validation(STUDY, table, found).features()
    block = read(**{name: table[name].combine_chunks() for name in table.column_names})
    wrong = {v.row - 1 for v in found.found if v.row is not None}
    assert set(np.flatnonzero(block.wrong).tolist()) == wrong
    assert sorted((v.row, v.column) for v in block.violations) == sorted(
        (v.row, v.column) for v in found.found
    )
    right = ~block.wrong
    for name in STUDY.feature_names:
        np.testing.assert_array_equal(block.columns[name][right], trained[name][right])


def test_every_rule_names_row_column_and_value() -> None:
    block = BlockReader(STUDY, "f.csv").read(
        {
            "age": pa.array(["50", "", "old", "inf", "130"]),
            "dose": pa.array(["", "NA", "1", "nan", "x"]),
            "class": pa.array(["x", "1.0", "y", "", "TRUE"]),
        },
        first_row=101,
    )
    assert told(block) == [
        (102, "age", "", "must not be missing"),
        (103, "age", "old", "must be a number"),
        (103, "class", "y", "must be one of 1, true, x"),
        (104, "age", "inf", "must be finite"),
        (104, "dose", "nan", "must be finite"),
        (104, "class", "", "must not be missing"),
        (105, "age", "130", "must be between 0 and 120 year"),
        (105, "dose", "x", "must be a number"),
    ]
    assert block.total == 8
    assert block.wrong.tolist() == [False, True, True, True, True]


def test_wrong_values_are_neutral_so_that_the_block_can_be_scored() -> None:
    block = read(age=pa.array(["1e9"]), dose=pa.array(["inf"]), **{"class": pa.array(["y"])})
    assert np.isnan(block.columns["age"][0])
    assert np.isnan(block.columns["dose"][0])
    assert block.columns["class"].tolist() == [-1]


@pytest.mark.parametrize(
    "ages",
    [
        pa.array([50, 60], pa.int8()),
        pa.array([50, 60], pa.float32()),
        pa.array([decimal.Decimal("50.0"), decimal.Decimal("60.0")]),
        pa.array(["50", "60"]).dictionary_encode(),
        pa.array([50.0, 60.0]).dictionary_encode(),
        pa.array(["50", " 60"], pa.large_string()),
    ],
)
def test_typed_columns_read_alike(ages: pa.Array) -> None:
    block = read(age=ages, dose=pa.nulls(2), **{"class": pa.array([1.0, 1.0])})
    assert block.columns["age"].tolist() == [50, 60]
    assert np.isnan(block.columns["dose"]).all()
    assert block.columns["class"].tolist() == [0, 0]
    assert not block.wrong.any()


def test_truth_values_are_levels() -> None:
    block = read(age=pa.array([1]), dose=pa.array([1]), **{"class": pa.array([True])})
    assert block.columns["class"].tolist() == [1]


@pytest.mark.parametrize(
    ("name", "array"),
    [("age", pa.array([True])), ("age", pa.array([[1]])), ("class", pa.array([[1]]))],
)
def test_columns_of_another_type_are_refused(name: str, array: pa.Array) -> None:
    columns = {"age": pa.array([1]), "dose": pa.array([1]), "class": pa.array(["x"]), name: array}
    with pytest.raises(DataError, match="type") as caught:
        read(**columns)
    assert caught.value.violations[0].column == name


def test_violations_are_all_counted_though_not_all_kept() -> None:
    study = Study(name="s", label="y", positive=(1,), features=(AGE,))
    block = read(study, age=pa.array([500.0] * (RECORDED + 5)))
    assert (len(block.violations), block.total) == (RECORDED, RECORDED + 5)


def test_missing_and_double_columns_are_told_together() -> None:
    with pytest.raises(DataError) as caught:
        BlockReader(STUDY, "f.csv").check_names(["age", "age", "risk_score", "class"])
    assert [(v.column, v.rule.split(":")[0]) for v in caught.value.violations] == [
        ("age", "is there twice"),
        ("dose", "is not in the file"),
        ("risk_score", "is there already"),
    ]
