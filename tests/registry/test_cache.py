"""The cache: whole, verified, and replaced in one step."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from fedrisk import home
from fedrisk.errors import ModelFileError, ModelNotFoundError, RegistryError
from fedrisk.models.checks import columns_from_rows
from fedrisk.registry.cache import FILES, clear_model, generation, read_model, sha256, write_model


def _write(folder, result, version="1"):
    return write_model(
        folder,
        result.model,
        result.reference,
        result.checks,
        name="heart",
        version=version,
        run_id=result.request.run_id,
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models" / "champion"


def test_what_is_read_is_what_was_written(folder, result):
    written, read = _write(folder, result), read_model(folder)
    assert (read.name, read.version, read.run_id) == ("heart", "1", "run-1")
    assert read.digest == written.digest == sha256((folder / "model.json").read_bytes())
    assert read.reference == result.reference
    assert read.checks == result.checks
    rows = columns_from_rows(read.model.study, [check["row"] for check in read.checks])
    assert read.model.risk(rows).tolist() == [check["risk"] for check in result.checks]
    assert read.model.about["version"] == "1"
    assert read.model.about["strategy"] == "exact"


def test_model_json_has_one_line_for_a_list_of_numbers(folder, result):
    _write(folder, result)
    text = (folder / "model.json").read_text()
    assert len(text.splitlines()) < 150
    assert json.loads(text)["covariance"] == result.model["covariance"]


def test_an_empty_cache_is_said_to_be_empty(folder):
    with pytest.raises(ModelNotFoundError, match="no model in"):
        read_model(folder)
    assert generation(folder) is None


def test_clearing_leaves_no_model(folder, result):
    clear_model(folder)
    _write(folder, result)
    clear_model(folder)
    with pytest.raises(ModelNotFoundError):
        read_model(folder)


@pytest.mark.parametrize("file", FILES)
def test_a_changed_byte_is_found(folder, result, file):
    _write(folder, result)
    content = (folder / file).read_text()
    before, digit, after = content.rpartition("1")
    (folder / file).write_text(f"{before}{int(digit) + 1}{after}")
    with pytest.raises(ModelFileError, match="damaged") as caught:
        read_model(folder)
    assert "fedrisk promote" in caught.value.hint


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(folder, result, file):
    _write(folder, result)
    (folder / file).unlink()
    with pytest.raises(ModelFileError, match=f"lacks {file}"):
        read_model(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"format": 1, "files": {}}'])
def test_hashes_that_say_nothing_are_refused(folder, result, text):
    _write(folder, result)
    (folder / "hashes.json").write_text(text)
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(folder)


def test_a_newer_cache_is_refused(folder, result):
    _write(folder, result)
    head = json.loads((folder / "hashes.json").read_text())
    (folder / "hashes.json").write_text(json.dumps(head | {"format": 2}))
    with pytest.raises(ModelFileError, match="format 2") as caught:
        read_model(folder)
    assert "newer fedrisk" in caught.value.hint


def test_the_version_in_hashes_must_be_the_model_s(folder, result):
    _write(folder, result)
    head = json.loads((folder / "hashes.json").read_text())
    (folder / "hashes.json").write_text(json.dumps(head | {"version": "9"}))
    with pytest.raises(ModelFileError, match="disagree about version"):
        read_model(folder)


def _broken(result, how):
    checks = [dict(check) for check in result.checks]
    model = dict(result.model)
    if how == "risk":
        checks[0]["risk"] += 1e-6
    elif how == "level":
        checks[0]["row"] = {**checks[0]["row"], "sex": "other"}
    elif how == "no checks":
        checks = []
    elif how == "not finite":
        model["intercept"] = float("nan")
    elif how == "shape":
        model["columns"] = model["columns"][1:]
    else:
        del model["study"]
    return result.model_copy(update={"checks": checks, "model": model})


@pytest.mark.parametrize("how", ["risk", "level", "no checks", "not finite", "shape", "no study"])
def test_a_model_that_fails_never_replaces_a_good_one(folder, result, how):
    _write(folder, result)
    with pytest.raises(ModelFileError):
        _write(folder, _broken(result, how), version="2")
    assert read_model(folder).version == "1"


def test_old_generations_are_removed(folder, result):
    for version in range(1, 6):
        _write(folder, result, str(version))
    left = [path for path in folder.parent.iterdir() if path.is_dir() and not path.is_symlink()]
    assert len(left) == 2
    assert read_model(folder).version == "5"


def test_each_write_shows_in_the_generation(folder, result):
    _write(folder, result)
    before = generation(folder)
    _write(folder, result)
    assert generation(folder) != before


def test_a_home_can_be_moved_or_copied_without_links(folder, result, tmp_path):
    _write(folder, result)
    folder.parent.rename(tmp_path / "moved")
    assert read_model(tmp_path / "moved" / "champion").version == "1"
    shutil.copytree(tmp_path / "moved", tmp_path / "copy", symlinks=False)
    copy = tmp_path / "copy" / "champion"
    assert not copy.is_symlink()
    assert read_model(copy).version == "1"
    _write(copy, result, "2")
    _write(copy, result, "3")
    assert copy.is_symlink()
    assert read_model(copy).version == "3"


def test_relative_folders_work(folder, result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    relative = folder.relative_to(tmp_path)
    for version in ("1", "2", "3"):
        _write(relative, result, version)
    assert read_model(relative).version == "3"
    assert len(list(relative.parent.glob(".champion-*"))) == 2


def test_readers_never_see_a_mixture(folder, make_result):
    pair = [make_result(f"run-{seed}", seed) for seed in (1, 2)]
    _write(folder, pair[0], "run-1")
    failures: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                stored = read_model(folder)
            except (ModelFileError, ModelNotFoundError) as error:
                failures.append(str(error))
            else:
                if stored.version != stored.run_id:
                    failures.append(f"{stored.version} with {stored.run_id}")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(40):
        _write(folder, pair[turn % 2], f"run-{turn % 2 + 1}")
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []


WRITER = """
import json, sys
from pathlib import Path
from fedrisk.registry.cache import write_model
folder, source = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
print("ready", flush=True)
for turn in range(10_000):
    write_model(folder, *source, name="heart", version=str(turn), run_id="r")
"""


def test_a_killed_writer_leaves_a_whole_model(folder, result, tmp_path):
    source = tmp_path / "source.json"
    source.write_text(json.dumps([result.model, result.reference, result.checks]))
    _write(folder, result)
    for wait in (0.0, 0.011, 0.023, 0.037):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(source)], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        threading.Event().wait(wait)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert read_model(folder).name == "heart"
        _write(folder, result, "after")
        assert read_model(folder).version == "after"


def test_a_writer_that_does_not_go_on_is_not_waited_for_without_end(folder, result, monkeypatch):
    _write(folder, result)
    monkeypatch.setattr(home, "LOCK_SECONDS", 0.1)
    with home.locked(folder.with_name(".champion.lock")):
        with pytest.raises(RegistryError, match=r"\.champion\.lock"):
            _write(folder, result, "2")
        assert read_model(folder).version == "1"
