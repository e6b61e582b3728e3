"""Each rule of the contract, as a person meets it: through a file."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import DataError
from fedrisk.sites.cohort import load_cohort
from fedrisk.study import Study

NOW = datetime(2025, 1, 1, tzinfo=UTC)
HEADER = "age,pulse,sex,ill\n"
GOOD = "50,70,male,0\n"


def broken(study: Study, path: Path, **keys: Any) -> list[tuple[int | None, str, str, str]]:
    with pytest.raises(DataError) as caught:
        load_cohort(study, "north", path, NOW, **keys)
    assert caught.value.total >= len(caught.value.violations)
    assert all(violation.file == str(path) for violation in caught.value.violations)
    return [(v.row, v.column, v.value, v.rule) for v in caught.value.violations]


@pytest.mark.parametrize(
    ("row", "column", "value", "rule"),
    [
        ("old,70,male,0", "age", "old", "must be a number"),
        ("inf,70,male,0", "age", "inf", "must be finite"),
        ("nan,70,male,0", "age", "nan", "must be finite"),
        ("1e999,70,male,0", "age", "1e999", "must be finite"),
        ("-1,70,male,0", "age", "-1", "must be between 0 and 120 year"),
        ("120.5,70,male,0", "age", "120.5", "must be between 0 and 120 year"),
        (",70,male,0", "age", "", "must not be missing"),
        ("NA,70,male,0", "age", "NA", "must not be missing"),
        ("50,70,Male,0", "sex", "Male", "must be one of female, male"),
        ("50,70,3,0", "sex", "3", "must be one of female, male"),
        ("50,70,male,inf", "ill", "inf", "must be finite"),
        ("50,-Infinity,male,0", "pulse", "-Infinity", "must be finite"),
        ("50,1e308,male,0", "pulse", "1e308", "must not be larger than 1e+100 in size"),
        ("50,-1e101,male,0", "pulse", "-1e101", "must not be larger than 1e+100 in size"),
    ],
)
def test_a_broken_rule_is_named(
    study: Study,
    csv_file: Callable[[str], Path],
    row: str,
    column: str,
    value: str,
    rule: str,
) -> None:
    path = csv_file(HEADER + GOOD + row + "\n")
    assert broken(study, path) == [(2, column, value, rule)]


@pytest.mark.parametrize(
    "row", ["0,70,male,0", "120,70,male,0", "50,,,0", "50,NA,NA,0", "50,9999,male,"]
)
def test_what_the_contract_allows(study: Study, csv_file: Callable[[str], Path], row: str) -> None:
    assert load_cohort(study, "north", csv_file(HEADER + GOOD + row + "\n"), NOW).counts.rows == 2


def test_all_violations_come_at_once(study: Study, csv_file: Callable[[str], Path]) -> None:
    path = csv_file(HEADER + GOOD + "x,y,z,inf\n" + "999,70,male,1\n")
    assert [(row, column) for row, column, _, _ in broken(study, path)] == [
        (2, "age"),
        (3, "age"),
        (2, "pulse"),
        (2, "sex"),
        (2, "ill"),
    ]


def test_rows_that_fit_does_not_use_are_checked_too(
    make_study: Callable[..., Study], csv_file: Callable[[str], Path]
) -> None:
    study = make_study(time="day", horizon="30d")
    path = csv_file("age,pulse,sex,ill,day\n999,70,male,,2024-12-31\n50,70,male,1,2024-01-01\n")
    assert [(row, column) for row, column, _, _ in broken(study, path)] == [(1, "age")]


def test_a_missing_column_names_those_there_are_and_the_rest_is_checked(
    study: Study, csv_file: Callable[[str], Path]
) -> None:
    found = broken(study, csv_file("Age,puls,sex,ill\n50,70,x,0\n"))
    assert found == [
        (
            None,
            "age",
            "",
            "is not in the file; did you mean 'Age'? (the file has: Age, puls, sex, ill)",
        ),
        (
            None,
            "pulse",
            "",
            "is not in the file; did you mean 'puls'? (the file has: Age, puls, sex, ill)",
        ),
        (1, "sex", "x", "must be one of female, male"),
    ]


def test_a_file_with_none_of_the_columns(study: Study, csv_file: Callable[[str], Path]) -> None:
    assert [column for _, column, _, _ in broken(study, csv_file("u,v\n1,2\n"))] == [
        "age",
        "pulse",
        "sex",
        "ill",
    ]


def test_parquet_columns_of_a_wrong_type(
    roles: Study, parquet_file: Callable[[dict[str, Any]], Path]
) -> None:
    day = datetime(2024, 1, 1)  # noqa: DTZ001 as files have it
    path = parquet_file(
        {
            "age": [day],
            "pulse": [True],
            "sex": [[1]],
            "ill": [day],
            "who": [[1]],
            "day": [7],
            "acted": [day],
            "fold": [day],
        }
    )
    assert [(row, column, rule) for row, column, _, rule in broken(roles, path)] == [
        (None, "age", "must be a number; the file has it as timestamp[us]"),
        (None, "pulse", "must be a number; the file has it as bool"),
        (None, "sex", "must be one of female, male; the file has it as list<element: int64>"),
        (None, "ill", "must be a value of the label; the file has it as timestamp[us]"),
        (None, "who", "must be text or a number; the file has it as list<element: int64>"),
        (None, "day", "must be a date or time; the file has it as int64"),
        (None, "acted", "must be a truth value; the file has it as timestamp[us]"),
        (None, "fold", "must be train or test; the file has it as timestamp[us]"),
    ]


def test_parquet_values_are_judged_like_text(
    study: Study, parquet_file: Callable[[dict[str, Any]], Path]
) -> None:
    nan, inf = float("nan"), float("inf")
    path = parquet_file(
        {
            "age": [nan, inf, 130.0, 50.0],
            "pulse": [nan, None, inf, 70.0],
            "sex": ["", "x", None, "male"],
            "ill": [0, 1, None, 0],
        }
    )
    assert broken(study, path) == [
        (1, "age", "nan", "must not be missing"),
        (2, "age", "inf", "must be finite"),
        (3, "age", "130.0", "must be between 0 and 120 year"),
        (3, "pulse", "inf", "must be finite"),
        (2, "sex", "x", "must be one of female, male"),
    ]


@pytest.mark.parametrize(
    ("row", "column", "rule"),
    [
        (",2024-01-01,no,train", "who", "must not be missing"),
        ("a,,no,train", "day", "must not be missing"),
        ("a,01/02/2024,no,train", "day", "must be a date or time as in 2024-05-31"),
        ("a,2024-02-30,no,train", "day", "must be a date or time as in 2024-05-31"),
        ("a,2024-01-01,,train", "acted", "must not be missing"),
        ("a,2024-01-01,perhaps,train", "acted", "must be true or false"),
        ("a,2024-01-01,no,", "fold", "must be train or test"),
        ("a,2024-01-01,no,dev", "fold", "must be train or test"),
    ],
)
def test_rules_of_the_other_columns(
    roles: Study, csv_file: Callable[[str], Path], row: str, column: str, rule: str
) -> None:
    header = HEADER.strip() + ",who,day,acted,fold\n"
    good = "50,70,male,0,b,2024-01-01,yes,test\n"
    found = broken(roles, csv_file(header + good + "50,70,male,0," + row + "\n"))
    assert [(at, name) for at, name, _, _ in found] == [(2, column)]
    assert found[0][3].startswith(rule)


def test_a_declared_split_must_not_divide_a_person(
    roles: Study, csv_file: Callable[[str], Path]
) -> None:
    header = HEADER.strip() + ",who,day,acted,fold\n"
    rows = [("a", "train"), ("b", "test"), ("a", "test"), ("b", "test")]
    text = "".join(f"50,70,male,0,{who},2024-01-01,no,{fold}\n" for who, fold in rows)
    assert [
        (row, column, rule) for row, column, _, rule in broken(roles, csv_file(header + text))
    ] == [
        (1, "fold", "must be the same in all rows of one 'who'"),
        (3, "fold", "must be the same in all rows of one 'who'"),
    ]


def test_the_number_recorded_is_capped_and_the_count_is_not(
    study: Study, csv_file: Callable[[str], Path]
) -> None:
    path = csv_file(HEADER + "x,70,male,0\n" * 1500)
    with pytest.raises(DataError) as caught:
        load_cohort(study, "north", path, NOW)
    assert (caught.value.total, len(caught.value.violations)) == (1500, 1000)
    assert len(broken(study, path, limit=None)) == 1500
