"""One version of a model out of the registry, verified, without a move of any alias or cache."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from fedrisk.home import Home
from fedrisk.registry.cache import CHECKS, MODEL, REFERENCE, StoredModel, write_model
from fedrisk.registry.store import open_store
from fedrisk.registry.verification import verify
from fedrisk.registry.versions import get_version, model_name
from fedrisk.settings import Settings


def fetch_version(home: Home, settings: Settings, version: str) -> StoredModel:
    """Fetch any version, with the tests that a champion passes.

    Raises
    ------
    ModelNotFoundError
        When there is no such version; it names those that there are.
    ModelFileError
        When the version fails its verification.
    RegistryError
        When the store cannot be used.
    """
    store = open_store(home, settings)
    with store.errors(), TemporaryDirectory(prefix="fedrisk-") as temporary:
        found = get_version(store, model_name(store, home, settings), version)
        documents = verify(store, found).documents
        return write_model(
            Path(temporary) / "version",
            documents[MODEL],
            documents[REFERENCE],
            documents[CHECKS],
            name=found.name,
            version=found.version,
            run_id=found.run_id,
        )
