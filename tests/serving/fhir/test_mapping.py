"""fhir.toml: defaults, what replaces them, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.errors import HomeError
from fedrisk.serving.fhir.mapping import LOCAL, read_mapping
from fedrisk.study import CategoryFeature, NumberFeature
from fedrisk.study.catalogue import builtin_study


def test_the_defaults_map_the_clinical_features_of_the_built_in_study(tmp_path: Path) -> None:
    mapping = read_mapping(tmp_path / "none.toml")
    sources = {f.name: mapping.source(f) for f in builtin_study("air-wearables").features}
    assert "8867-4" in sources["heart_rate"].code
    assert "9279-1" in sources["respiratory_rate"].code
    assert "8310-5" in sources["body_temp"].code
    assert "55423-8" in sources["steps"].code
    assert sources["age"].patient == "birthDate"
    assert sources["sex"].patient == "gender"
    assert (sources["pm25"].system, sources["pm25"].code) == (LOCAL, ("pm25",))
    assert sources["temperature"].unit == "Cel"


def test_fahrenheit_becomes_celsius(tmp_path: Path) -> None:
    feature = NumberFeature(name="body_temp", unit="degC")
    conversion = read_mapping(tmp_path / "none").source(feature).factors()["[degF]"]
    assert 98.6 * conversion.factor + conversion.offset == pytest.approx(37.0)


def test_a_default_does_not_hold_for_another_unit(tmp_path: Path) -> None:
    source = read_mapping(tmp_path / "none").source(NumberFeature(name="body_temp", unit="degF"))
    assert (source.system, source.unit) == (LOCAL, "degF")


def test_a_file_replaces_an_entry_and_leaves_the_others(tmp_path: Path) -> None:
    file = tmp_path / "fhir.toml"
    file.write_text('[features.sex]\nsystem = "urn:x"\ncode = "s"\n[features.sex.levels]\nf=["1"]')
    mapping = read_mapping(file)
    sex = CategoryFeature(name="sex", kind="category", levels=("f", "m"))
    assert mapping.source(sex).code == ("s",)
    assert mapping.source(NumberFeature(name="age", unit="year")).patient == "birthDate"


@pytest.mark.parametrize(
    "text",
    [
        "features = 3",
        "nonsense = 1",
        "[features.age]\nunit = 'a'",
        "[features.age]\npatient = 'name'",
        "[features.age]\npatient = 'gender'\ncode = 'x'",
        "[features.age]\ncode = 'x'\nconversions = {b = {factor = inf}}",
        "link = 'javascript:alert(1)'",
        "[",
    ],
)
def test_a_wrong_file_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = tmp_path / "fhir.toml"
    file.write_text(text)
    with pytest.raises(HomeError, match=r"fhir\.toml"):
        read_mapping(file)
