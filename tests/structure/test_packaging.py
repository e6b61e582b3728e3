"""The lock, the version and the environment agree with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import fedrisk

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
LOCKS = ("requirements.lock", "locks/bootstrap.txt", "locks/deploy.txt")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    found = PIN.findall((ROOT / lock).read_text(encoding="utf-8"))
    return {normal(name): version for name, version in found}


def required() -> set[str]:
    lines = [*PROJECT["dependencies"], *EXTRAS]
    names = {normal(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in lines}
    return names - {"fedrisk"}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_of_a_lock_has_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text(encoding="utf-8")
    blocks = re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(blocks) == len(PIN.findall(text)) > 0
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_the_lock_covers_every_extra():
    missing = required() - set(pins("requirements.lock"))
    assert missing == set(), "run `make lock`"


def test_exact_requirements_are_the_locks_pins():
    locked = pins("requirements.lock")
    for line in EXTRAS:
        if match := re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[\w,]+\])?==(\S+)", line):
            assert locked[normal(match[1])] == match[2]


def test_the_tool_that_installs_the_lock_is_the_locks_own():
    assert pins("locks/bootstrap.txt")["uv"] == pins("requirements.lock")["uv"]


def test_the_changelogs_newest_release_is_the_version():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[?(\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert releases[0] == PROJECT["version"] == fedrisk.__version__
    numbers = [tuple(map(int, release.split("."))) for release in releases]
    assert numbers == sorted(numbers, reverse=True)


def test_the_package_is_typed_and_licensed():
    assert (ROOT / "src" / "fedrisk" / "py.typed").is_file()
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
