import numpy as np
import pyarrow as pa
import pytest

from fedrisk.errors import DataError
from fedrisk.sites.violations import Violations
from fedrisk.study import Study
from fedrisk.study.columns import Column

COLUMN = Column(pa.chunked_array([["a", "b"], ["c"]]))


def test_nothing_found_is_no_error(study: Study) -> None:
    found = Violations("f.csv")
    found.add("age", COLUMN, np.zeros(3, bool), "rule")
    found.raise_if_any(study, "north")


def test_rows_count_from_one_and_values_are_the_files_own(study: Study) -> None:
    found = Violations("f.csv")
    found.add("pulse", COLUMN, np.array([True, False, True]), "must be x")
    found.add("age", COLUMN, np.array([False, True, False]), "must be y")
    found.add_column("sex", "is not in the file")
    with pytest.raises(DataError) as caught:
        found.raise_if_any(study, "north")
    assert [str(violation) for violation in caught.value.violations] == [
        "f.csv, row 2, column 'age': 'b' must be y",
        "f.csv, row 1, column 'pulse': 'a' must be x",
        "f.csv, row 3, column 'pulse': 'c' must be x",
        "f.csv, column 'sex' is not in the file",
    ]


def test_the_message_holds_no_value_of_a_row(study: Study) -> None:
    found = Violations("f.csv")
    secret = Column(pa.chunked_array([["Mrs Doe"]]))
    found.add("age", secret, np.array([True]), "must be a number")
    with pytest.raises(DataError) as caught:
        found.raise_if_any(study, "north")
    assert "Doe" not in caught.value.message + caught.value.hint
    assert "'age'" in caught.value.message


def test_all_are_counted_when_few_are_recorded(study: Study) -> None:
    found = Violations("f.csv", limit=1)
    found.add("age", COLUMN, np.ones(3, bool), "one rule")
    found.add("age", COLUMN, np.ones(3, bool), "another rule")
    with pytest.raises(DataError) as caught:
        found.raise_if_any(study, "north")
    assert caught.value.total == 6
    assert [(v.row, v.rule) for v in caught.value.violations] == [
        (1, "one rule"),
        (1, "another rule"),
    ]
