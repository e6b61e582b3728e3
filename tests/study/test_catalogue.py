"""Built-in studies and finding a study by file or name."""

import tomllib
import zipfile
from pathlib import Path

import pytest

from fedrisk.errors import StudyError
from fedrisk.study import NumberFeature, builtin_study, find_study
from fedrisk.study.catalogue import builtin_names, builtin_text

ROOT = Path(__file__).parents[2]
REQUIRED = [
    "heart_rate",
    "steps",
    "sleep_hours",
    "respiratory_rate",
    "body_temp",
    "pm25",
    "pm10",
    "o3",
    "no2",
    "temperature",
    "humidity",
]


def minimal(path: Path, name: str) -> Path:
    feature = '[[features]]\nname = "x"\nkind = "number"\n'
    head = f'name = "{name}"\nlabel = "y"\npositive = [1]\n'
    path.write_text(head + feature, encoding="utf-8")
    return path


def test_every_builtin_study_is_named_like_its_file_and_keeps_the_contract():
    assert builtin_names()
    for name in builtin_names():
        assert builtin_study(name).name == name


def test_air_wearables_has_the_features_of_the_design():
    study = builtin_study("air-wearables")
    assert list(study.feature_names) == [*REQUIRED, "age", "sex"]
    missing = {feature.name: feature.missing for feature in study.features}
    assert {name for name, rule in missing.items() if rule == "allow"} == {"age", "sex"}
    assert study.subgroups == ("sex",)
    assert study.maturity.days == 8


def test_every_number_of_air_wearables_has_unit_bounds_and_a_plausible_range():
    for feature in builtin_study("air-wearables").numbers:
        assert feature.unit
        assert feature.minimum is not None
        assert feature.maximum is not None
        assert feature.plausible is not None


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("temperature", 56.7),  # Furnace Creek, 1913
        ("temperature", -89.2),  # Vostok, 1983
        ("pm25", 1_500.0),  # Delhi, November 2024
        ("pm10", 9_000.0),  # Beijing dust storm, March 2021
    ],
)
def test_records_of_weather_and_air_are_within_the_hard_bounds(name, record):
    features = {feature.name: feature for feature in builtin_study("air-wearables").features}
    feature = features[name]
    assert isinstance(feature, NumberFeature)
    assert feature.minimum <= record <= feature.maximum


def test_a_file_wins_over_a_builtin_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_study("air-wearables").label == "cardiorespiratory_event"
    minimal(tmp_path / "air-wearables", "mine")
    assert find_study("air-wearables").name == "mine"


def test_a_folder_of_that_name_does_not_hide_the_builtin_study(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "air-wearables").mkdir()
    assert find_study("air-wearables").name == "air-wearables"


def test_an_unknown_name_lists_the_builtin_studies():
    with pytest.raises(StudyError, match=r"nowhere\.toml") as caught:
        find_study("nowhere.toml")
    assert "air-wearables" in caught.value.hint


def test_a_name_cannot_reach_outside_the_folder():
    with pytest.raises(StudyError):
        builtin_study("../builtin/air-wearables")


def test_the_text_is_the_file_that_people_can_edit():
    assert tomllib.loads(builtin_text("air-wearables"))["name"] == "air-wearables"


def test_the_wheel_holds_the_study_files(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    built = next(
        iter(wheel.WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    )
    with zipfile.ZipFile(built) as archive:
        names = archive.namelist()
    for name in builtin_names():
        assert f"fedrisk/study/builtin/{name}.toml" in names
