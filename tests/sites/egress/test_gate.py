"""The gate lets out declared records of declared shapes, and nothing else; reasons tell no row."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fedrisk.errors import (
    DataError,
    DisclosureError,
    EgressError,
    FedriskError,
    HomeError,
    SiteFolderError,
    Violation,
)
from fedrisk.models import metrics, newton, summary  # noqa: F401 what is declared registers itself
from fedrisk.models.descent import LocalUpdate
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.egress.gate import Errand, refuse, release, told
from fedrisk.sites.egress.log import EgressLog
from fedrisk.study import Study
from fedrisk.study.records import RECORDS, FloatArray, Record, axes

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CANARY = "63.271828"
DECLARED = sorted((kind for kind in RECORDS.values()), key=lambda kind: kind.NAME)


@dataclass(frozen=True)
class Undeclared(Record):
    rows: FloatArray = axes("rows")


@pytest.fixture
def errand(tmp_path: Path) -> Errand:
    log = EgressLog(tmp_path / "egress", "north", Ed25519PrivateKey.generate())
    return Errand(log, NOW, "r1", "a" * 64, "newton", {"rows": 900.0})


def test_declared_record_passes() -> None:
    released = release([LocalUpdate(np.zeros(3))], {"parameters": 3})
    assert released.arrays["local_update/parameters"].tolist() == [0, 0, 0]
    assert released.size == 24


def test_undeclared_record_is_held_back() -> None:
    with pytest.raises(EgressError, match="Undeclared is not a declared record"):
        release([Undeclared(np.zeros(3))], {"rows": 3})


def test_impostor_under_a_declared_name_is_held_back() -> None:
    impostor = type("Impostor", (Undeclared,), {"__doc__": "x"})
    impostor.NAME = "local_update"
    with pytest.raises(EgressError, match="not a declared record"):
        release([impostor(np.zeros(3))], {"rows": 3})


def test_heir_of_a_declared_record_is_held_back() -> None:
    """It could add fields of its own."""
    heir = dataclass(frozen=True)(type("Heir", (LocalUpdate,), {"__doc__": "x"}))
    RECORDS["local_update"] = LocalUpdate
    with pytest.raises(EgressError, match="Heir is not a declared record"):
        release([heir(np.zeros(3))], {"parameters": 3})


@pytest.mark.parametrize(
    "thing", [np.zeros(3), {"parameters": np.zeros(3)}, "rows", None, object()]
)
def test_what_is_no_record_is_held_back(thing: Any) -> None:
    with pytest.raises(EgressError, match="not a declared record"):
        release([thing], {"parameters": 3})


def test_the_same_record_twice_is_held_back() -> None:
    with pytest.raises(EgressError, match="is there twice"):
        release([LocalUpdate(np.zeros(3)), LocalUpdate(np.ones(3))], {"parameters": 3})


def test_an_axis_that_the_question_does_not_have_is_held_back() -> None:
    with pytest.raises(EgressError, match="no axis 'parameters'"):
        release([LocalUpdate(np.zeros(3))], {"rows": 3})


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros((3, 1))])
def test_other_shape_is_held_back_and_not_told(values: FloatArray) -> None:
    """A shape that was not declared may be a number of rows."""
    with pytest.raises(EgressError, match=r"another shape, declared is \(3,\)") as caught:
        release([LocalUpdate(values)], {"parameters": 3})
    assert "4" not in caught.value.message


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_held_back(bad: float) -> None:
    with pytest.raises(EgressError, match="not finite"):
        release([LocalUpdate(np.array([0.0, bad]))], {"parameters": 2})


@pytest.mark.parametrize(
    "values",
    [
        np.array([CANARY]),
        np.array([CANARY], object),
        np.array([CANARY.encode()]),
        np.array([1 + 2j]),
        np.array(["2026-01-01"], "datetime64[s]"),
        np.array([(1.0, 2.0)], [("age", float), ("sex", float)]),
        [[1.0], [2.0, 3.0]],
    ],
    ids=["text", "object", "bytes", "complex", "time", "structured", "ragged"],
)
def test_what_holds_no_numbers_is_held_back_without_its_value(values: Any) -> None:
    with pytest.raises(EgressError, match=r"real numbers|another shape") as caught:
        release([LocalUpdate(values)], {"parameters": 1})
    assert CANARY not in caught.value.message


def any_array(shape: tuple[int, ...]) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """The declared shape or another, numbers or what only looks like some."""
    shapes = st.one_of(st.just(shape), npst.array_shapes(min_dims=0, max_dims=3, max_side=3))
    kinds = st.sampled_from(["f8", "f4", "i4", "u2", "?", "c16", "U3", "O", "M8[s]"])
    return st.tuples(shapes, kinds).flatmap(lambda drawn: npst.arrays(drawn[1], drawn[0]))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_passes_is_declared_finite_and_of_its_shape(data: st.DataObject) -> None:
    """And all that is declared, finite and of its shape passes, unchanged."""
    kind = data.draw(st.sampled_from([*DECLARED, Undeclared]))
    names = {axis for f in fields(kind) for axis in f.metadata["axes"]}
    dimensions = {name: data.draw(st.integers(0, 3)) for name in sorted(names)}
    shapes = kind.shapes(dimensions)
    well = data.draw(st.booleans())
    given = {
        name: data.draw(npst.arrays("f8", shape) if well else any_array(shape))
        for name, shape in shapes.items()
    }
    real = {n: a for n, a in given.items() if a.dtype.kind in "fiub" and a.shape == shapes[n]}
    right = kind is not Undeclared and len(real) == len(given)
    right = right and all(np.isfinite(array.astype(float)).all() for array in real.values())
    if not right:
        with pytest.raises(EgressError):
            release([kind(**given)], dimensions)
        return
    released = release([kind(**given)], dimensions).arrays
    assert set(released) == {f"{kind.NAME}/{name}" for name in given}
    for name, array in given.items():
        assert np.array_equal(released[f"{kind.NAME}/{name}"], array.astype(float))
        assert released[f"{kind.NAME}/{name}"].dtype == np.float64


def test_what_leaves_is_a_copy() -> None:
    """Whoever holds the record cannot change it after it was logged."""
    values = np.zeros(3)
    released = release([LocalUpdate(values)], {"parameters": 3})
    before = released.digest
    values[0] = 1.0
    assert released.digest == before


# The log's entry.


def test_what_left_is_logged_before_it_leaves(errand: Errand) -> None:
    released = release([LocalUpdate(np.arange(3.0))], {"parameters": 3}, errand)
    (entry,) = errand.log.verify([released.head])
    assert (entry["run"], entry["study"], entry["kind"]) == ("r1", "a" * 64, "newton")
    assert entry["outcome"] == "released"
    assert entry["records"] == {"local_update/parameters": [3]}
    assert entry["groups"] == {"rows": 900.0}
    assert entry["bytes"] == 24
    assert entry["payload"] == released.digest
    assert entry["time"] == "2026-01-02T03:04:05.000000+00:00"
    other = release([LocalUpdate(np.array([0.0, 1.0, 3.0]))], {"parameters": 3})
    assert other.digest != released.digest


def test_what_is_held_back_is_not_logged_as_released(errand: Errand) -> None:
    with pytest.raises(EgressError):
        release([LocalUpdate(np.full(3, np.nan))], {"parameters": 3}, errand)
    assert errand.log.entries() == []


def test_no_value_is_in_the_log(errand: Errand) -> None:
    release([LocalUpdate(np.array([float(CANARY)]))], {"parameters": 1}, errand)
    assert CANARY not in (errand.log.folder / "log.jsonl").read_text()


def test_a_refusal_is_logged_with_its_reason(errand: Errand) -> None:
    head = refuse(DisclosureError("a coefficient is beyond 5 (rule: bounded parameters)"), errand)
    (entry,) = errand.log.verify([head])
    assert (entry["outcome"], entry["error"]) == ("refused", "DisclosureError")
    assert entry["reason"] == "a coefficient is beyond 5 (rule: bounded parameters)"


def test_a_question_cannot_fill_the_disk_with_its_refusal(errand: Errand) -> None:
    refuse(EgressError("x" * 1_000_000), errand)
    assert (errand.log.folder / "log.jsonl").stat().st_size < 2000


# What a refusal tells.


def write_csv(folder: Path, text: str) -> Path:
    path = folder / "secret-place.csv"
    path.write_text(text, encoding="utf-8")
    return path


def rows_of(*rows: str) -> Callable[[Path], Path]:
    return lambda folder: write_csv(folder, "\n".join(["age,pulse,sex,ill", *rows]) + "\n")


def parquet_of(**columns: list[Any]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / "secret-place.parquet"
        pq.write_table(pa.table(columns), path)
        return path

    return write


def raw(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


BROKEN = {
    "out of bounds": rows_of(f"9{CANARY},70,male,1"),
    "no number": rows_of(f"CANARY{CANARY},70,male,1", "40,60,female,0"),
    "unknown level": rows_of(f"40,60,CANARY{CANARY},1"),
    "missing value": rows_of(f",{CANARY},male,1"),
    "infinite": rows_of(f"inf,{CANARY},male,1"),
    "too many fields": rows_of(f"40,{CANARY},male,1,CANARY"),
    "too few fields": rows_of("40,70,male,1", f"{CANARY}"),
    "open quotation": rows_of(f'40,"{CANARY},male,1', "40,70,male,1"),
    "strange label": rows_of(f"40,{CANARY},male,inf"),
    "no header": raw("secret-place.csv", f"CANARY{CANARY},70,male,1\n".encode()),
    "other separator": raw("secret-place.csv", f"CANARY{CANARY};70;male;1\n".encode()),
    "other encoding": raw("secret-place.csv", b"age,pulse,sex,ill\n63.271828,70,m\xe4,1\n"),
    "no rows": raw("secret-place.csv", b"age,pulse,sex,ill\n"),
    "empty": raw("secret-place.csv", b""),
    "twice named": raw("secret-place.csv", b"age,age,pulse,sex,ill\n63.271828,1,70,male,1\n"),
    "damaged gzip": raw("secret-place.csv.gz", b"63.271828 CANARY"),
    "damaged parquet": raw("secret-place.parquet", b"PAR1 63.271828 CANARY PAR1"),
    "unknown format": raw("secret-place.xls", b"63.271828"),
    "not there": lambda folder: folder / "secret-place.csv",
    "other types": parquet_of(age=[f"CANARY{CANARY}"], pulse=[1.0], sex=["male"], ill=[1]),
    "nested": parquet_of(age=[[63.271828]], pulse=[1.0], sex=["male"], ill=[1]),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_a_refusal_tells_no_value_path_or_count(
    broken: str, tmp_path: Path, study: Study, errand: Errand
) -> None:
    path = BROKEN[broken](tmp_path)
    with pytest.raises(FedriskError) as caught:
        load_cohort(study, "north", path, NOW)
    reason = told(caught.value)
    refuse(caught.value, errand)
    spoken = reason.message + reason.hint + repr(vars(reason))
    for text in (spoken, (errand.log.folder / "log.jsonl").read_text().replace(str(NOW), "")):
        assert "CANARY" not in text
        assert CANARY not in text
        assert "secret-place" not in text
        assert str(tmp_path) not in text
    assert not re.search(r"\d", reason.message)
    assert type(reason) is type(caught.value)


def test_a_refusal_names_the_columns_that_break_the_study(tmp_path: Path, study: Study) -> None:
    path = rows_of(f"9{CANARY},70,male,1")(tmp_path)
    with pytest.raises(DataError) as caught:
        load_cohort(study, "north", path, NOW)
    assert told(caught.value).message == "the site's rows break the study in column(s) 'age'"
    assert told(caught.value).violations == ()


def test_a_rule_is_told_in_its_own_words() -> None:
    error = told(DisclosureError("the intercept is beyond 15", "policy.toml sets it"))
    assert (error.message, error.hint) == ("the intercept is beyond 15", "policy.toml sets it")
    assert isinstance(error, DisclosureError)


@pytest.mark.parametrize(
    "error",
    [
        SiteFolderError("/secret-place/policy.toml: age: 63.271828", hint="/secret-place"),
        HomeError("/secret-place: 63.271828"),
        ValueError("could not convert string to float: 'CANARY 63.271828'"),
        KeyError("CANARY 63.271828"),
        MemoryError(),
    ],
)
def test_of_any_other_error_its_kind_alone_is_told(error: Exception) -> None:
    reason = told(error)
    assert "CANARY" not in reason.message + reason.hint
    assert CANARY not in reason.message + reason.hint
    assert "secret-place" not in reason.message + reason.hint


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["age", "pulse"]), st.text()), min_size=1, max_size=5))
def test_a_reason_follows_from_the_columns_alone(found: list[tuple[str, str]]) -> None:
    """Not from values, rows, their number, or the file: these errors read the same."""
    violations = [Violation(f"{n}.csv", n, c, value, "rule") for n, (c, value) in enumerate(found)]
    others = [Violation("", None, column, "", "") for column, _ in found]
    one = told(DataError("one", violations, 7, "one"))
    other = told(DataError("other", [*others, *others], 99, "other"))
    assert (one.message, one.hint) == (other.message, other.hint)


def test_one_question_cannot_fill_the_log(errand: Errand) -> None:
    long = "x" * 10**6
    refuse(EgressError(long), replace(errand, run=long, study=long, kind=long))
    (entry,) = errand.log.entries()
    assert len(str(entry)) < 3000


def test_a_reason_is_logged_as_it_is_told() -> None:
    with tempfile.TemporaryDirectory() as place:
        log = EgressLog(Path(place), "north", Ed25519PrivateKey.generate())
        refuse(SiteFolderError(f"{place}: no space left"), Errand(log, NOW))
        (entry,) = log.entries()
    assert entry["reason"] == told(SiteFolderError("")).message
