from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import StudyError
from fedrisk.study import Study, load_study, parse_duration, parse_study

AGE = {"name": "age", "kind": "number", "unit": "year", "minimum": 0, "maximum": 120}
SEX = {"name": "sex", "kind": "category", "levels": ["female", "male"]}


def document(**changes):
    base = {"name": "s", "label": "y", "positive": [1], "features": [AGE, SEX]}
    return {key: value for key, value in (base | changes).items() if value is not ...}


def test_defaults_are_those_of_the_documentation():
    study = parse_study(document())
    assert study.test_fraction == 0.2
    assert study.penalty == 1.0
    assert (study.bands.medium, study.bands.high) == (0.3, 0.7)
    assert study.maturity == timedelta(0)
    assert study.subgroups == ()
    assert [feature.missing for feature in study.features] == ["reject", "reject"]


def test_columns_are_every_column_the_study_names_once():
    study = parse_study(
        document(id="patient", time="at", treated="acted", split="fold", horizon="30d")
    )
    assert study.columns == ("age", "sex", "y", "patient", "at", "acted", "fold")
    assert study.feature_names == ("age", "sex")
    assert [f.name for f in study.numbers] == ["age"]
    assert study.category_names == ("sex",)


def test_time_may_be_a_feature_too():
    study = parse_study(document(time="age"))
    assert study.columns == ("age", "sex", "y")


def test_maturity_is_horizon_plus_reporting_lag():
    study = parse_study(document(time="at", horizon="30d", reporting_lag="2w"))
    assert study.maturity == timedelta(days=44)


def test_one_positive_value_is_a_list():
    assert parse_study(document(positive="yes")).positive == ("yes",)


WRONG = {
    "no features": ({"features": []}, "features"),
    "no label": ({"label": ...}, "label"),
    "no positive": ({"positive": []}, "positive"),
    "unknown key": ({"colour": "red"}, "colour: is not a key"),
    "name of a path": ({"name": "../x"}, "name"),
    "same feature twice": ({"features": [AGE, AGE]}, "named twice: age"),
    "label is a feature": ({"label": "age"}, "cannot be a feature and have a role: age"),
    "two roles, one column": ({"id": "y"}, "different columns"),
    "subgroup unknown": ({"subgroups": ["town"]}, "subgroups must be category features: town"),
    "subgroup a number": ({"subgroups": ["age"]}, "subgroups must be category features: age"),
    "horizon without time": ({"horizon": "30d"}, "need a time column"),
    "horizon in words": ({"time": "at", "horizon": "a month"}, "horizon"),
    "negative penalty": ({"penalty": -1}, "penalty"),
    "penalty not a number": ({"penalty": float("nan")}, "penalty"),
    "all rows for the test": ({"test_fraction": 1.0}, "test_fraction"),
    "bands swapped": ({"bands": {"medium": 0.7, "high": 0.3}}, "medium must be below high"),
    "bands outside": ({"bands": {"medium": 0.3, "high": 1.0}}, "bands.high"),
    "kind unknown": ({"features": [{"name": "x", "kind": "text"}]}, "features.0"),
    "key in feature": ({"features": [AGE | {"max": 3}]}, "is not a key"),
    "bounds swapped": ({"features": [AGE | {"minimum": 130}]}, "minimum must be below maximum"),
    "bounds infinite": ({"features": [AGE | {"maximum": float("inf")}]}, "maximum"),
    "plausible outside": ({"features": [AGE | {"plausible": [0, 130]}]}, "plausible must be"),
    "plausible swapped": ({"features": [AGE | {"plausible": [90, 10]}]}, "plausible must be"),
    "one level": ({"features": [SEX | {"levels": ["x"]}]}, "levels"),
    "level twice": ({"features": [SEX | {"levels": ["x", "x"]}]}, "distinct"),
    "empty level": ({"features": [SEX | {"levels": ["x", ""]}]}, "empty level"),
    "missing in between": ({"features": [AGE | {"missing": "perhaps"}]}, "missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_breaks_the_contract_is_named(case):
    changes, said = WRONG[case]
    with pytest.raises(StudyError) as caught:
        parse_study(document(**changes), "my.toml")
    assert said in caught.value.message
    assert caught.value.message.startswith("my.toml: ")
    assert caught.value.hint


def test_every_fault_is_reported_at_once():
    with pytest.raises(StudyError) as caught:
        parse_study(document(label="", penalty=-1, colour="red"))
    assert all(word in caught.value.message for word in ("label", "penalty", "colour"))


def test_a_study_cannot_be_changed():
    study = parse_study(document())
    with pytest.raises(ValueError, match="frozen"):
        study.penalty = 2.0


def test_the_canonical_form_rebuilds_the_study_and_its_hash():
    study = parse_study(document(subgroups=["sex"], positive=[1, "yes", True], time="at"))
    again = parse_study(study.canonical)
    assert again == study
    assert again.hash == study.hash
    assert parse_study(json.loads(study.canonical)).hash == study.hash


def test_the_hash_ignores_the_order_of_keys_and_sees_every_default():
    study = parse_study(document())
    turned = parse_study(dict(reversed(document().items())))
    spelled = parse_study(document(penalty=1.0, test_fraction=0.2))
    assert study.hash == turned.hash == spelled.hash
    assert len(study.hash) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"penalty": 2.0},
        {"positive": [2]},
        {"title": "other"},
        {"features": [SEX, AGE]},
        {"features": [AGE | {"maximum": 121}, SEX]},
        {"features": [AGE, SEX | {"levels": ["male", "female"]}]},
    ],
)
def test_the_hash_changes_with_the_contract(changes):
    assert parse_study(document(**changes)).hash != parse_study(document()).hash


def test_a_study_file(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(
        'name = "s"\nlabel = "y"\npositive = [1]\n'
        '[[features]]\nname = "größe"\nkind = "number"\nunit = "cm"\n',
        encoding="utf-8",
    )
    study = load_study(file)
    assert study.feature_names == ("größe",)
    assert study.hash == Study.model_validate_json(study.canonical).hash


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such study file"),
        (b"name = ", "not valid TOML"),
        (b"\xff\xfe", "cannot be read"),
        (b'name = "s"', "features"),
    ],
)
def test_a_file_that_is_no_study(tmp_path, content, said):
    file = tmp_path / "study.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(StudyError, match=said) as caught:
        load_study(file)
    assert str(file) in caught.value.message


def test_a_folder_is_no_study_file(tmp_path):
    with pytest.raises(StudyError, match="cannot be read"):
        load_study(tmp_path)


def test_canonical_json_that_is_damaged():
    with pytest.raises(StudyError):
        parse_study("{")


@given(st.integers(0, 10_000), st.sampled_from("smhdw"))
def test_durations(number, unit):
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[unit]
    assert parse_duration(f"{number}{unit}").total_seconds() == number * seconds
