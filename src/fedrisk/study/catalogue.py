"""Finding a study: a file of one's own, or one that comes with the package."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from fedrisk.errors import StudyError
from fedrisk.study.contract import Study, load_study, parse_study

# By its own name: models carry this package under another one, where no fedrisk is installed.
_FOLDER = resources.files(__name__.rpartition(".")[0]).joinpath("builtin")


def builtin_names() -> tuple[str, ...]:
    """Names of the studies that come with the package.

    >>> builtin_names()
    ('air-wearables',)
    """
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def builtin_text(name: str) -> str:
    """The study file of a built-in study, as written.

    Raises
    ------
    StudyError
        When there is no built-in study of that name; lists those there are.
    """
    if name not in builtin_names():
        raise StudyError(
            f"{name}: no such study file, and no built-in study of that name",
            hint=f"built-in studies: {', '.join(builtin_names())}",
        )
    return _FOLDER.joinpath(f"{name}.toml").read_text(encoding="utf-8")


def builtin_study(name: str) -> Study:
    """A study that comes with the package.

    Raises
    ------
    StudyError
        When there is no built-in study of that name; lists those there are.

    >>> builtin_study("air-wearables").label
    'cardiorespiratory_event'
    """
    return parse_study(tomllib.loads(builtin_text(name)), f"built-in study {name}")


def find_study(name_or_path: str) -> Study:
    """Load a study by its file or by the name of a built-in one; an existing file wins.

    Raises
    ------
    StudyError
        When there is neither, or when the file breaks the contract.
    """
    path = Path(name_or_path)
    return load_study(path) if path.is_file() else builtin_study(name_or_path)
