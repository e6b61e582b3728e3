"""The caches follow the aliases of a real store, whatever happens to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from small_disk import fill, mounted

from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.follow import LONGEST_PAUSE, Follower
from fedrisk.registry.follower_status import read_status
from fedrisk.registry.promotion import promote, register_outcome
from fedrisk.registry.record import record_training
from fedrisk.settings import Settings

SETTINGS = Settings(tracking_uri=None, registry_name="")
NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def released(tmp_path_factory, make_result) -> Home:
    """A home with a champion and a challenger."""
    home = Home(tmp_path_factory.mktemp("released") / "home").prepare()
    for seed in (1, 2):
        record_training(make_result(f"run-{seed}", seed), home, SETTINGS)
        register_outcome(home, SETTINGS, f"run-{seed}", False, NOW)
    return home


@pytest.fixture
def registry(tmp_path: Path, released: Home) -> tuple[Home, Settings]:
    """A copy of it, with the same artifacts, and how others reach its registry."""
    home = Home(tmp_path / "coordinator").prepare()
    home.mlflow_database.parent.mkdir()
    shutil.copy(released.mlflow_database, home.mlflow_database)
    shutil.copytree(released.champion.parent, home.champion.parent, symlinks=True)
    uri = f"sqlite:///{home.mlflow_database.absolute()}"
    return home, Settings(tracking_uri=uri, registry_name="")


@pytest.fixture
def broken(released: Home) -> Iterator[Callable[[], None]]:
    """Damages every model in the registry; they are whole again afterwards."""
    files = list(released.mlflow_artifacts.rglob("model.json"))
    whole = {file: file.read_text() for file in files}

    def damage() -> None:
        for file, text in whole.items():
            file.write_text(json.dumps({**json.loads(text), "intercept": 99.0}))

    yield damage
    for file, text in whole.items():
        file.write_text(text)


def follower(tmp_path: Path, settings: Settings) -> tuple[Follower, list[str]]:
    said: list[str] = []
    home = Home(tmp_path / "follower").prepare()
    return Follower(home, settings, 5.0, said.append, lambda: NOW), said


def test_the_caches_follow_a_promotion(tmp_path: Path, registry) -> None:
    coordinator, settings = registry
    followed, said = follower(tmp_path, settings)
    assert followed.look().changed
    assert read_model(followed.home.champion).version == "1"
    assert read_model(followed.home.challenger).version == "2"
    assert not followed.look().changed
    promote(coordinator, SETTINGS, "2", "", NOW)
    followed.look()
    assert read_model(followed.home.champion).version == "2"
    assert not followed.home.challenger.exists()
    assert said == ["champion 1, challenger 2", "champion 2, challenger none"]
    assert read_status(followed.status_file).document() == {
        "state": "following",
        "at": "2025-03-01T12:00:00+00:00",
    }


def test_a_registry_that_is_away_is_told_once_and_waited_for(
    tmp_path: Path, registry, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    followed, said = follower(tmp_path, registry[1])
    followed.look()
    followed.settings = Settings(tracking_uri="http://127.0.0.1:1", registry_name="")
    pauses = []
    for _ in range(5):
        assert followed.look() is None
        pauses.append(followed.pause)
    assert pauses == [10, 20, 40, LONGEST_PAUSE, LONGEST_PAUSE]
    assert read_model(followed.home.champion).version == "1"
    assert read_status(followed.status_file).state == "away"
    followed.settings = registry[1]
    followed.look()
    assert followed.pause == 5
    assert [line for line in said if "stay as they are" in line] == said[1:2]
    assert said[2:] == ["the registry is followed again"]


def test_a_broken_version_is_refused_and_the_old_one_stays(
    tmp_path: Path, registry, broken
) -> None:
    coordinator, settings = registry
    followed, said = follower(tmp_path, settings)
    followed.look()
    promote(coordinator, SETTINGS, "2", "", NOW)
    broken()
    assert followed.look() is None
    assert followed.look() is None
    assert read_model(followed.home.champion).version == "1"
    assert read_status(followed.status_file).state == "refused"
    assert "changed in the registry" in read_status(followed.status_file).reason
    assert len(said) == 2
    assert followed.pause == 5


def test_an_empty_registry_is_waited_for(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    followed, said = follower(tmp_path, Settings(tracking_uri=uri, registry_name=""))
    assert followed.look() is None
    assert read_status(followed.status_file).state == "empty"
    assert len(said) == 1


def test_the_status_ends_with_the_follower(tmp_path: Path, registry) -> None:
    followed, _ = follower(tmp_path, registry[1])

    def end(seconds: float) -> None:
        assert seconds == 5
        assert followed.status_file.exists()
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        followed.run(end)
    assert not followed.status_file.exists()


def test_a_status_that_cannot_be_understood_is_none(tmp_path: Path) -> None:
    file = tmp_path / "follower.json"
    assert read_status(file) is None
    for text in ("{", "[]", '{"state": "lost", "at": "now"}', '{"other": 1}'):
        file.write_text(text)
        assert read_status(file) is None


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte."""
    with mounted(tmp_path / "disk", "1m") as place:
        yield place


def test_a_full_disk_is_told_and_the_old_one_stays_until_there_is_room(
    small_disk: Path, registry
) -> None:
    coordinator, settings = registry
    followed, said = follower(small_disk, settings)
    followed.look()
    promote(coordinator, SETTINGS, "2", "", NOW)
    filler = fill(small_disk)
    before = sorted(each.name for each in followed.home.champion.parent.iterdir())
    for _ in range(3):
        assert followed.look() is None
    assert read_model(followed.home.champion).version == "1"
    assert sorted(each.name for each in followed.home.champion.parent.iterdir()) == before
    assert "cannot be written: No space left on device" in said[-1]
    assert len(said) == 2
    filler.write_bytes(b"")  # room for a status, none is taken by what failed
    filler.unlink()
    followed.look()
    assert read_model(followed.home.champion).version == "2"
    assert read_status(followed.status_file).state == "following"


def test_a_cache_that_cannot_be_written_is_a_state(tmp_path: Path, registry) -> None:
    followed, _ = follower(tmp_path, registry[1])
    followed.home.champion.parent.write_text("in the way")
    assert followed.look() is None
    assert read_status(followed.status_file).state == "unwritable"
    assert followed.pause == 5


def test_an_alias_that_moves_back_and_a_version_that_is_gone(tmp_path: Path, registry) -> None:
    from mlflow import MlflowClient

    _, settings = registry
    followed, said = follower(tmp_path, settings)
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    for version in ("1", "2", "1"):
        client.set_registered_model_alias("heart", "champion", version)
        followed.look()
        assert read_model(followed.home.champion).version == version
    client.delete_model_version("heart", "1")  # its alias goes with it: the model is withdrawn
    followed.look()
    assert not followed.home.champion.exists()  # running servers keep what they have loaded
    assert said[-1].startswith("champion none")
    client.set_registered_model_alias("heart", "champion", "2")
    followed.look()
    assert read_model(followed.home.champion).version == "2"


def test_a_registry_that_is_away_at_the_start_is_followed_once_it_is_back(
    tmp_path: Path, registry, monkeypatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = Settings(tracking_uri="http://127.0.0.1:1", registry_name="")
    followed, said = follower(tmp_path, away)
    assert followed.look() is None
    assert read_status(followed.status_file).state == "away"
    assert not followed.home.champion.exists()
    followed.settings = registry[1]
    assert followed.look().changed
    assert read_model(followed.home.champion).version == "1"
    assert read_status(followed.status_file).state == "following"
    assert said[1:] == ["the registry is followed again", "champion 1, challenger 2"]


def test_aliases_that_are_not_known_move_nothing(tmp_path: Path, registry) -> None:
    from mlflow import MlflowClient

    _, settings = registry
    followed, _ = follower(tmp_path, settings)
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    client.set_registered_model_alias("heart", "staging", "2")
    followed.look()
    assert read_model(followed.home.champion).version == "1"
    for alias in ("champion", "challenger"):
        client.delete_registered_model_alias("heart", alias)
    followed.look()
    assert not followed.home.champion.exists()
    assert not followed.home.challenger.exists()
