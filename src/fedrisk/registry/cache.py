"""The model cache: what serving reads, and nothing else.

A cache folder such as ``models/champion`` is a symbolic link to a *generation*, a folder beside it
(``.champion-7``) that holds four files and never changes once the link points to it::

    model.json      the readable document of `fedrisk.models`, with name, version and run
    reference.json  bins and counts of the training rows
    checks.json     stored rows and answers
    hashes.json     name, version, run, and the SHA-256 of the other three

Replacing a link is one atomic step of the file system, so a reader, or a machine that comes back
after a crash, finds the old model or the new one and never a mixture.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedrisk.errors import HomeError, ModelFileError, ModelNotFoundError, RegistryError
from fedrisk.home import locked
from fedrisk.models.checks import self_test
from fedrisk.models.logistic import LogisticModel

FORMAT = 1
MODEL, REFERENCE, CHECKS, HASHES = "model.json", "reference.json", "checks.json", "hashes.json"
FILES = (MODEL, REFERENCE, CHECKS, HASHES)
#: A generation may be taken away while it is read, once it is two behind: then read the new one.
READ_ATTEMPTS = 5


@dataclass(frozen=True)
class StoredModel:
    """A model that was read from the cache, verified and self-tested.

    Attributes
    ----------
    name, version : str
        Registered model and its version.
    run_id : str
        The training run that made it.
    model : LogisticModel
    reference : dict
        Bins and counts of the training rows.
    checks : list of dict
        Rows and risks that the model has just reproduced.
    digest : str
        SHA-256 of model.json, in hexadecimal.
    """

    name: str
    version: str
    run_id: str
    model: LogisticModel
    reference: dict[str, Any]
    checks: list[dict[str, Any]]
    digest: str


def readable_json(document: object) -> str:
    """JSON for people: indented, with each list of numbers on one line.

    >>> print(readable_json({"a": [1, 2.5], "b": {"c": "d"}}), end="")
    {
      "a": [1, 2.5],
      "b": {
        "c": "d"
      }
    }

    Raises
    ------
    ValueError
        When a number is not finite: JSON has no such number.
    """
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    # No raw line break occurs inside a JSON string, so only real lists can match.
    joined = re.sub(r"\[\n\s+((?:[-+\d.eE]+,?\s+)+)\]", _one_line, text)
    return joined + "\n"


def _one_line(found: re.Match[str]) -> str:
    return "[" + " ".join(found.group(1).split()) + "]"


def sha256(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_model(
    folder: Path,
    document: Mapping[str, Any],
    reference: Mapping[str, Any],
    checks: Sequence[Mapping[str, Any]],
    *,
    name: str,
    version: str,
    run_id: str,
) -> StoredModel:
    """Verify a model and put it in place of the one in the cache, in one step.

    Parameters
    ----------
    folder : Path
        The cache folder, ``Home.champion`` or ``Home.challenger``.
    document, reference, checks
        As `TrainingResult` carries them; name, version and run are added to the document's
        ``about``.
    name, version, run_id : str

    Returns
    -------
    StoredModel
        What a reader now finds.

    Raises
    ------
    ModelFileError
        When the document is damaged or its self-test fails; the cache stays as it was.
    RegistryError
        When another process has been writing for too long.
    HomeError
        When the cache cannot be written, as on a full disk; it stays as it was.
    """
    identity = {"name": name, "version": version, "run_id": run_id}
    document = {**document, "about": {**document.get("about", {}), **identity}}
    try:
        parts = {MODEL: document, REFERENCE: reference, CHECKS: checks}
        contents = {file: readable_json(part).encode() for file, part in parts.items()}
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"model version {version} cannot be stored: {error}") from None
    hashes = {file: sha256(content) for file, content in contents.items()}
    head = {"format": FORMAT, **identity, "files": hashes}
    contents[HASHES] = readable_json(head).encode()
    stored = _verified(contents, folder)
    try:
        with _writing(folder):
            _point(folder, _write_generation(folder, contents))
    except OSError as error:
        raise HomeError(
            f"{folder} cannot be written: {error.strerror or error}; it stays as it was",
            hint="the home must be writable and have room",
        ) from None
    return stored


def read_model(folder: Path) -> StoredModel:
    """Read, verify and self-test the model in a cache folder.

    Raises
    ------
    ModelNotFoundError
        When the cache holds no model.
    ModelFileError
        When a file is missing or damaged, or the self-test fails.
    """
    for _ in range(READ_ATTEMPTS):
        place = generation(folder)
        if place is None:
            break
        found = _contents(place)
        if len(found) == len(FILES) or place == generation(folder):
            return _verified(found, folder)
    if generation(folder) is not None:
        raise ModelFileError(f"{folder} changed {READ_ATTEMPTS} times while it was read")
    raise ModelNotFoundError(
        f"no model in {folder}", hint="`fedrisk train` makes the first champion"
    )


def generation(folder: Path) -> Path | None:
    """The folder that the cache points to now, or None where there is none: cheap enough to poll.

    It changes whenever a model is written.
    """
    place = folder.resolve()
    return place if place.is_dir() else None


def clear_model(folder: Path) -> None:
    """Take the model out of the cache, if there is one; generations stay until the next write."""
    if folder.is_symlink():
        folder.unlink(missing_ok=True)
        _sync(folder.parent)


def _contents(place: Path) -> dict[str, bytes]:
    """The bytes of those of the four files that are there."""
    try:
        return {f: (place / f).read_bytes() for f in FILES if (place / f).exists()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelFileError(f"{place} cannot be read: {error}") from None


def _verified(contents: Mapping[str, bytes], folder: Path) -> StoredModel:
    """Check hashes, documents and self-test, in this order."""
    missing = [file for file in FILES if file not in contents]
    if missing:
        raise ModelFileError(f"{folder} lacks {', '.join(missing)}", _repair(folder))
    try:
        head = json.loads(contents[HASHES])
        if head["format"] > FORMAT:
            raise ModelFileError(
                f"{folder} has cache format {head['format']}; this version knows up to {FORMAT}",
                hint="use the newer fedrisk that wrote it",
            )
        wrong = [file for file, digest in head["files"].items() if sha256(contents[file]) != digest]
        if wrong or set(head["files"]) != {MODEL, REFERENCE, CHECKS}:
            raise ModelFileError(f"{folder} is damaged: {', '.join(wrong) or HASHES}")
        parts = [json.loads(contents[file]) for file in (MODEL, REFERENCE, CHECKS)]
        return _stored(head, *parts)
    except ModelFileError as error:
        raise ModelFileError(error.message, error.hint or _repair(folder)) from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ModelFileError(f"{folder} is damaged: {error!r}", _repair(folder)) from None


def _stored(
    head: Mapping[str, Any],
    document: dict[str, Any],
    reference: dict[str, Any],
    checks: list[dict[str, Any]],
) -> StoredModel:
    model = LogisticModel.from_document(document)
    for key in ("name", "version", "run_id"):
        if model.about.get(key) != head[key]:
            raise ModelFileError(f"{HASHES} and {MODEL} disagree about {key}")
    self_test(model, checks)
    identity = {key: str(head[key]) for key in ("name", "version", "run_id")}
    return StoredModel(
        **identity,
        model=model,
        reference=reference,
        checks=checks,
        digest=str(head["files"][MODEL]),
    )


def _repair(folder: Path) -> str:
    return f"`fedrisk promote VERSION` writes {folder.name} anew from the registry"


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """One writer at a time."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{folder.name}.lock", RegistryError):
        yield


def _generations(folder: Path) -> dict[int, Path]:
    pattern = re.compile(rf"\.{re.escape(folder.name)}-(\d+)")
    found = ((pattern.fullmatch(path.name), path) for path in folder.parent.iterdir())
    return {int(match.group(1)): path for match, path in found if match is not None}


def _write_generation(folder: Path, contents: Mapping[str, bytes]) -> Path:
    number = max(_generations(folder), default=0) + 1
    place = folder.parent / f".{folder.name}-{number}"
    place.mkdir()
    try:
        for file, content in contents.items():
            with (place / file).open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
        _sync(place)
    except OSError:
        shutil.rmtree(place, ignore_errors=True)  # each attempt would fill the disk further
        raise
    return place


def _point(folder: Path, place: Path) -> None:
    """Let the link name ``place``, then remove all but it and the one before."""
    before = generation(folder)
    fresh = folder.parent / f".{folder.name}.link"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(place.name)
    if folder.is_dir() and not folder.is_symlink():
        # A home copied by a tool that follows links: the copy becomes a generation.
        before = folder.rename(place.with_name(f"{place.name}0"))
    fresh.replace(folder)
    _sync(folder.parent)
    kept = {place.name, before.name if before is not None else ""}
    for old in _generations(folder).values():
        if old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Make a folder's entries durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
