"""Folders of coordinator and site: strict settings, and one process at a time."""

from __future__ import annotations

import fcntl
import json
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from fedrisk.errors import HomeError
from fedrisk.federation.provisioning.documents import check_format

Model = TypeVar("Model", bound=BaseModel)


#: What a fresh volume may hold that nobody put there.
_OF_A_VOLUME = frozenset({"lost+found"})


def begin_again(folder: Path, settings: str, made: frozenset[str]) -> bool:
    """Whether a folder is whole; what a process left that was killed while it made one is removed.

    Parameters
    ----------
    folder : Path
    settings : str
        The file that is written last: with it the folder is whole.
    made : frozenset of str
        All else that making it writes. Where anything besides is there, or a folder that holds
        something, nothing is removed.
    """
    if (folder / settings).exists():
        return True
    found = [each for each in folder.glob("*") if each.name not in _OF_A_VOLUME]
    known = all(each.name.removesuffix(".part") in made for each in found)
    if known and not any(each.is_dir() and any(each.iterdir()) for each in found):
        for each in found:
            each.rmdir() if each.is_dir() else each.unlink()
    return False


def make_folder(folder: Path) -> None:
    """Make a folder that only its owner enters, or take an empty one.

    Raises
    ------
    HomeError
        When it holds something already, or cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        empty = not {each.name for each in folder.iterdir()} - _OF_A_VOLUME
        if empty:
            folder.chmod(0o700)
    except OSError as error:
        raise HomeError(f"{folder} cannot be made: {error.strerror}") from None
    if not empty:
        raise HomeError(f"{folder} exists and is not empty", hint="choose another folder")


@contextmanager
def hold_folder(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder's lock.

    Raises
    ------
    HomeError
        When another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeError(
                f"another process runs {what} ({folder})", hint="stop it first, or wait for it"
            ) from None
        yield


def is_held(folder: Path) -> bool:
    """Whether a process runs what is in this folder."""
    try:
        with hold_folder(folder, ""):
            return False
    except HomeError:
        return True


def read_settings_file(path: Path, model: type[Model]) -> Model:
    """Read a settings file strictly.

    Raises
    ------
    HomeError
        When it is missing, damaged, has an unknown key, or is of a newer format.
    """
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise HomeError(
            f"{path} cannot be read: {error.strerror}",
            hint="`fedrisk federation init` makes a coordinator's folder, `site init` a site's",
        ) from None
    except ValueError as error:
        raise HomeError(f"{path} is not TOML: {error}") from None
    check_format(path, found)
    try:
        return model.model_validate(found)
    except ValidationError as error:
        raise HomeError(f"{path}: {wrong_keys(error)}") from None


def wrong_keys(error: ValidationError) -> str:
    """Every key that is wrong, and why, in one line."""
    return "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors())


def to_toml(values: dict[str, Any]) -> str:
    """Flat settings as TOML: strings, numbers and lists are written as in JSON."""
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()
    )
