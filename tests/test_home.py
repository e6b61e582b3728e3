from __future__ import annotations

import json
import threading

import pytest

from fedrisk import home as module
from fedrisk.errors import HomeError, RegistryError
from fedrisk.home import FORMAT, Home, locked


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "deep" / "home")


def test_a_new_home_is_marked_with_its_format(home):
    assert home.prepare() is home
    assert json.loads((home.root / "home.json").read_text()) == {"format": FORMAT}


def test_preparing_twice_changes_nothing(home):
    home.prepare()
    (home.root / "kept").touch()
    home.prepare()
    assert (home.root / "kept").exists()
    assert home.existing() is home


def test_an_empty_folder_becomes_a_home(home):
    home.root.mkdir(parents=True)
    home.prepare()
    assert home.existing() is home


def test_a_fresh_volume_becomes_one_whoever_comes_first(home):
    home.root.mkdir(parents=True)
    (home.root / "lost+found").mkdir()
    failed = []

    def make():
        try:
            Home(home.root).prepare()
            (home.root / "serving").mkdir(exist_ok=True)
        except HomeError as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    names = {entry.name for entry in home.root.iterdir()}
    assert names == {"home.json", "lost+found", "serving"}


def test_somebody_elses_folder_is_left_alone(home):
    home.root.mkdir(parents=True)
    (home.root / "thesis.tex").write_text("mine")
    with pytest.raises(HomeError, match="not a fedrisk home") as caught:
        home.prepare()
    assert "--home" in caught.value.hint
    assert [entry.name for entry in home.root.iterdir()] == ["thesis.tex"]


def test_a_file_is_no_home(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match="not a fedrisk home"):
        Home(tmp_path / "file").prepare()


def test_a_home_below_a_file_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HomeError, match="cannot be made"):
        Home(tmp_path / "file" / "home").prepare()


def test_a_home_that_is_not_there(home):
    with pytest.raises(HomeError, match="not a fedrisk home"):
        home.existing()
    assert not home.root.exists()


@pytest.mark.parametrize("found", [FORMAT + 1, "2", None])
def test_a_newer_home_is_refused(home, found):
    home.prepare()
    (home.root / "home.json").write_text(json.dumps({"format": found}))
    for use in (home.prepare, home.existing):
        with pytest.raises(HomeError, match="home format"):
            use()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '"format"'])
def test_a_damaged_marker_is_refused(home, content):
    home.prepare()
    (home.root / "home.json").write_text(content)
    with pytest.raises(HomeError, match="damaged"):
        home.existing()


def test_every_path_lies_below_the_root(home):
    paths = [home.mlflow_database, home.mlflow_artifacts, home.champion, home.challenger]
    for path in [*paths, home.federation, home.run("r1")]:
        assert path.is_relative_to(home.root)


def test_a_lock_that_another_holds_is_named_and_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.2)
    path = tmp_path / "some.lock"
    with locked(path):
        for error in (HomeError, RegistryError):
            told = pytest.raises(error, match=r"some\.lock: another process has held this lock")
            with told, locked(path, error):
                raise AssertionError("two hold it")
    with locked(path):
        pass


def test_a_lock_is_waited_for(tmp_path):
    path, order = tmp_path / "some.lock", []

    def second():
        with locked(path):
            order.append("second")

    with locked(path):
        other = threading.Thread(target=second)
        other.start()
        other.join(3 * module.LOOK_SECONDS)
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
