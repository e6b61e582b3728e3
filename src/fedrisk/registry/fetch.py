"""One version of a model out of the registry, verified, without a move of any alias."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from fedrisk.errors import ModelNotFoundError
from fedrisk.home import Home
from fedrisk.registry.cache import CHECKS, MODEL, REFERENCE, StoredModel, write_model
from fedrisk.registry.store import Store, open_store
from fedrisk.registry.verification import verify
from fedrisk.registry.versions import aliases_of, get_version, list_versions, model_name
from fedrisk.settings import Settings


def fetch_version(home: Home, settings: Settings, version: str | None) -> StoredModel:
    """Fetch any version, with the tests that a champion passes.

    Parameters
    ----------
    home, settings
        Which model is meant: the one that settings name, else the one that the home serves.
    version : str or None
        None is the model's champion.

    Raises
    ------
    ModelNotFoundError
        When there is no such version, or no champion; it names the versions that there are.
    ModelFileError
        When the version fails its verification.
    RegistryError
        When the store cannot be used.
    """
    with TemporaryDirectory(prefix="fedrisk-") as temporary:
        return _fetch(home, settings, version, Path(temporary) / "version")


def pin_version(home: Home, settings: Settings, version: str) -> StoredModel:
    """Put a version into a cache of its own, where it stays whatever the aliases say.

    Raises
    ------
    ModelNotFoundError
        When there is no such version; it names the versions that there are.
    ModelFileError
        When the version fails its verification.
    RegistryError
        When the store cannot be used.
    """
    return _fetch(home, settings, version, home.pinned(version))


def _fetch(home: Home, settings: Settings, version: str | None, place: Path) -> StoredModel:
    store = open_store(home, settings)
    with store.errors():
        name = model_name(store, home, settings)
        found = get_version(store, name, version or _champion(store, name))
        documents = verify(store, found).documents
        return write_model(
            place,
            documents[MODEL],
            documents[REFERENCE],
            documents[CHECKS],
            name=found.name,
            version=found.version,
            run_id=found.run_id,
        )


def _champion(store: Store, name: str) -> str:
    known = ", ".join(each.version for each in list_versions(store, name))
    if not known:
        raise ModelNotFoundError(
            f"the registry holds no model {name!r}", hint="`fedrisk models` lists them"
        )
    champion = aliases_of(store, name).get("champion")
    if champion is None:
        raise ModelNotFoundError(
            f"model {name!r} has no champion", hint=f"choose by --version; versions: {known}"
        )
    return champion
