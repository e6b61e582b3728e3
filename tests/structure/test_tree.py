"""Rules of the source tree: sizes, names, docstrings, nothing of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 400
FORBIDDEN = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "manager",
    "misc",
    "core",
    "base_utils",
}
TEXT = {".py", ".toml", ".md", ".txt", ".yaml", ".yml", ".sh", ".json", ".lock", ".in", ".html", ""}
MACHINE_PATH = re.compile(r"(?<![\w.$~}/-])/(?:work|root|home|Users|mnt)/[\w.-]+")
REGISTRY = re.compile(
    r"https?://[^\s\"')>]*(?:pypi|pythonhosted|/simple\b|registry\.npmjs|/proxy/)|--(?:extra-)?index-url",
    re.I,
)


def tracked() -> list[Path]:
    """Files of the project: known to git, or new and not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    files = [ROOT / name for name in listed.decode().split("\0") if name]
    return [file for file in files if file.is_file() and not file.is_symlink()]


FILES = tracked()
SOURCES = [file for file in FILES if file.is_relative_to(ROOT / "src") and file.suffix == ".py"]
PYTHON = [file for file in FILES if file.suffix == ".py"]


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_the_tree_was_found():
    assert len(SOURCES) > 20
    assert ROOT / "pyproject.toml" in FILES


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_file_is_longer_than_one_concept(file):
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{name_of(file)} has {lines} lines: split it at its second concept"


def test_no_module_is_named_after_nothing():
    named = [name_of(file) for file in PYTHON if {file.stem, *file.parts} & FORBIDDEN]
    assert named == []


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_every_module_says_what_it_is(file):
    source = file.read_text(encoding="utf-8")
    if source.strip():
        assert ast.get_docstring(ast.parse(source)), f"{name_of(file)} has no docstring"


def test_no_path_of_one_machine_and_no_package_index_is_written_down():
    found = []
    for file in FILES:
        if file.suffix in TEXT and file != Path(__file__):
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
                if MACHINE_PATH.search(line) or REGISTRY.search(line):
                    found.append(f"{name_of(file)}:{number}: {line.strip()[:90]}")
    assert found == []


def test_tests_lie_where_their_source_lies():
    """tests/room/test_x.py tests src/fedrisk/room/x.py, or the folder x; other folders are free.

    A room may hold its documentation to the code in test_documentation.py, and test itself as a
    whole against a real server in test_server.py.
    """
    rooms = {path.name for path in (ROOT / "src" / "fedrisk").iterdir() if path.is_dir()}
    astray = []
    for file in FILES:
        place = file.relative_to(ROOT).parts
        if place[0] != "tests" or len(place) < 3 or place[1] not in rooms:
            continue
        if re.fullmatch(r"test_(?!documentation|server\.).*\.py", file.name):
            source = ROOT.joinpath("src", "fedrisk", *place[1:-1], file.stem.removeprefix("test_"))
            whole_folder = source.name == source.parent.name
            if not (source.with_suffix(".py").is_file() or source.is_dir() or whole_folder):
                astray.append(name_of(file))
    assert astray == []


def test_every_doctested_folder_has_no_package_file_in_tests():
    assert [name_of(f) for f in FILES if f.name == "__init__.py" and "tests" in f.parts] == []


def test_scripts_can_be_run():
    scripts = [file for file in FILES if file.suffix == ".sh" or file.parent.name == ".ci"]
    for script in scripts:
        lines = script.read_text(encoding="utf-8").splitlines()
        assert lines[0] == "#!/usr/bin/env bash", name_of(script)
        assert "set -euo pipefail" in lines, name_of(script)
        assert script.stat().st_mode & 0o100, f"{name_of(script)} is not executable"
