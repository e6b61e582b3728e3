"""Which code made a model, told without ever failing."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import fedrisk
from fedrisk.registry import code_version as module
from fedrisk.registry.code_version import _built_from, _commit, code_version


def _git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_version_is_always_there():
    assert code_version()["version"] == fedrisk.__version__


def test_a_tracked_file_has_a_commit_and_a_changed_one_says_so(tmp_path):
    file = tmp_path / "a.py"
    file.write_text("")
    _git(tmp_path, "init")
    _git(tmp_path, "add", "a.py")
    _git(tmp_path, "commit", "-m", "first")
    assert re.fullmatch(r"[0-9a-f]{40}", _commit(file))
    file.write_text("changed")
    assert re.fullmatch(r"[0-9a-f]{40}-dirty", _commit(file))


def test_somebody_else_s_repository_does_not_count(tmp_path):
    _git(tmp_path, "init")
    _git(tmp_path, "commit", "--allow-empty", "-m", "theirs")
    installed = tmp_path / "site-packages" / "a.py"
    installed.parent.mkdir()
    installed.write_text("")
    assert _commit(installed) == ""


def test_an_image_says_what_it_was_built_from(tmp_path, monkeypatch):
    package = tmp_path / "fedrisk" / "__init__.py"
    package.parent.mkdir()
    package.touch()
    monkeypatch.setattr(module.fedrisk, "__file__", str(package))
    assert "commit" not in code_version()
    (package.parent / "COMMIT").write_text("0a1b\n")
    assert code_version()["commit"] == "0a1b"
    assert _built_from(tmp_path / "none") == ""


def test_no_git_no_commit(monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", missing)
    assert _commit(Path(fedrisk.__file__)) == ""
