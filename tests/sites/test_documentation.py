"""docs/study.md against the code it describes."""

import doctest
import re
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.sites.cohort import load_cohort
from fedrisk.study import CategoryFeature, NumberFeature, Study, parse_study

PAGE = Path(__file__).parents[2] / "docs" / "study.md"


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_key_has_its_row_and_no_other(page: str) -> None:
    rows = {name for line in re.findall(r"^\| (`.*?) \|", page, re.M) for name in line.split(", ")}
    keys = {*Study.model_fields, *NumberFeature.model_fields, *CategoryFeature.model_fields}
    assert {row.strip("`[]") for row in rows} == keys


def test_defaults_are_the_codes(page: str) -> None:
    for key in ("horizon", "reporting_lag", "test_fraction", "penalty", "title"):
        row = re.search(rf"^\| `{key}` \| \w+ \| `(.*?)` \|", page, re.M)
        assert row is not None, key
        assert tomllib.loads(f"x = {row[1]}")["x"] == Study.model_fields[key].default


def test_the_example_is_a_study_that_its_rows_keep(
    page: str, csv_file: Callable[[str], Path]
) -> None:
    study = parse_study(tomllib.loads(block(page, "toml")))
    path = csv_file(block(page, "csv"))
    counts = load_cohort(study, "north", path, datetime(2024, 6, 15, tzinfo=UTC)).counts
    assert (counts.rows, counts.usable, counts.immature, counts.unlabelled) == (4, 3, 1, 0)


def test_the_python_example(page: str) -> None:
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0
