"""Fetch a version out of the registry, and believe it only once it has passed its tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedrisk.errors import ModelFileError
from fedrisk.registry.bundle import DATA
from fedrisk.registry.cache import CHECKS, MODEL, REFERENCE, sha256
from fedrisk.registry.pyfunc import read_scorer
from fedrisk.registry.record import MODEL_FOLDER
from fedrisk.registry.store import Store
from fedrisk.registry.versions import RegisteredVersion


@dataclass(frozen=True)
class Verified:
    """A version with the documents that passed its tests, by file name."""

    version: RegisteredVersion
    documents: Mapping[str, Any]


def verify(store: Store, found: RegisteredVersion) -> Verified:
    """Check a version's files against the hashes it was registered with, then self-test.

    Call it within `Store.errors` or `Store.writing`.

    Raises
    ------
    ModelFileError
        When a file changed since it was recorded, or the model fails its self-test.
    """
    with TemporaryDirectory(prefix="fedrisk-") as temporary:
        path = f"{MODEL_FOLDER}/{DATA}"
        folder = Path(store.client.download_artifacts(found.mlflow_run, path, temporary))
        contents = {f: (folder / f).read_bytes() for f in (MODEL, REFERENCE, CHECKS)}
    wrong = [f for f, content in contents.items() if found.hashes.get(f) != sha256(content)]
    if wrong:
        raise ModelFileError(
            f"version {found.version} of {found.name!r}: {', '.join(wrong)} changed in the "
            "registry since it was recorded",
            hint="restore the registry's artifacts from a backup, or train again",
        )
    documents = {file: json.loads(content) for file, content in contents.items()}
    read_scorer(documents[MODEL], documents[CHECKS])
    return Verified(found, documents)
