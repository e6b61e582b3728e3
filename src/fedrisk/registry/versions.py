"""What the registry knows about a model version, read from its tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fedrisk.errors import ModelFileError, ModelNotFoundError, RegistryError
from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.store import Store
from fedrisk.settings import Settings

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

#: Tags of a version. A version without `RUN_ID` was not made by fedrisk and is left alone.
RUN_ID = "fedrisk.run_id"
STUDY_HASH = "fedrisk.study_hash"
HASHES = "fedrisk.sha256"
SUMMARY = "fedrisk.summary"
MOVE = "fedrisk.move."
#: How a challenger is tried: `fedrisk.registry.trial_control`.
TRIAL = "fedrisk.trial"
PAGE = 200


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes
    ----------
    name, version, run_id : str
    mlflow_run : str
        MLflow's own identifier of the run.
    created : datetime
        When it was registered, UTC.
    aliases : tuple of str
        Of champion, challenger, previous.
    study_hash : str
    hashes : dict
        SHA-256 of model.json, reference.json and checks.json.
    summary : dict
        auroc, rows (training rows of all sites), sites (how many), strategy.
    moves : list of dict
        Alias moves to this version: at, alias, reason, number.
    trial : str
        How it is tried while it is challenger, as the tag says it; empty where nothing does.
    """

    name: str
    version: str
    run_id: str
    mlflow_run: str
    created: datetime
    aliases: tuple[str, ...]
    study_hash: str
    hashes: Mapping[str, str]
    summary: Mapping[str, Any]
    moves: tuple[Mapping[str, Any], ...]
    trial: str = ""

    def document(self) -> dict[str, Any]:
        """The version as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "aliases": list(self.aliases),
            "run_id": self.run_id,
            "created": self.created.isoformat(),
            "study_hash": self.study_hash,
            **self.summary,
            "moves": [dict(move) for move in self.moves],
        }


def find_run(store: Store, run_id: str) -> RegisteredVersion | None:
    """The version that a run of ours brought, by its tag; None where there is none."""
    found = _search(store, f"tags.`{RUN_ID}` = '{_quoted(run_id)}'")
    return min(found, key=lambda each: int(each.version)) if found else None


def list_versions(store: Store, name: str) -> list[RegisteredVersion]:
    """Every version of a model that fedrisk registered, the newest first."""
    found = _search(store, f"name = '{_quoted(name)}'")
    return sorted(found, key=lambda each: -int(each.version))


def list_models(store: Store) -> dict[str, list[RegisteredVersion]]:
    """Every model that fedrisk registered, by name, its versions the newest first."""
    models: dict[str, list[RegisteredVersion]] = {}
    for each in sorted(_search(store, ""), key=lambda each: (each.name, -int(each.version))):
        models.setdefault(each.name, []).append(each)
    return models


def get_version(store: Store, name: str, version: str) -> RegisteredVersion:
    """One version of a model.

    Raises
    ------
    ModelNotFoundError
        When there is none of that number; it names those that there are.
    """
    found = list_versions(store, name)
    for each in found:
        if each.version == version:
            return each
    known = ", ".join(each.version for each in found) or "none"
    raise ModelNotFoundError(
        f"model {name!r} has no version {version!r}", hint=f"versions: {known}"
    )


def model_name(store: Store, home: Home, settings: Settings) -> str:
    """Which registered model a home is about.

    The one that settings name; else the one whose champion the home's cache holds; else the only
    one in the registry.

    Raises
    ------
    ModelNotFoundError
        When the registry is empty.
    RegistryError
        When it holds several and nothing says which is meant.
    """
    if settings.registry_name:
        return settings.registry_name
    served = served_name(home)
    if served is not None:
        return served
    names = sorted(list_models(store))
    if len(names) > 1:
        raise RegistryError(
            f"the registry holds several models: {', '.join(names)}",
            hint="name one with --name, or FEDRISK_REGISTRY_NAME",
        )
    if not names:
        raise ModelNotFoundError(
            "the registry holds no model", hint="`fedrisk train` registers the first"
        )
    return names[0]


def served_name(home: Home) -> str | None:
    """The registered model that a home serves, by its cache; None where it serves none."""
    with suppress(ModelNotFoundError, ModelFileError):
        return read_model(home.champion).name
    return None


def _search(store: Store, condition: str) -> list[RegisteredVersion]:
    found: list[ModelVersion] = []
    token: str | None = None
    with store.errors():
        while True:
            page = store.client.search_model_versions(condition, PAGE, page_token=token)
            found += [each for each in page if RUN_ID in each.tags]
            token = page.token
            if not token:
                break
        # A search answers versions without their aliases.
        aliases = {name: aliases_of(store, name) for name in {each.name for each in found}}
    return [_registered(each, aliases[each.name]) for each in found]


def aliases_of(store: Store, name: str) -> dict[str, str]:
    """Where each alias of a model points: alias to version."""
    with store.errors():
        found = store.client.get_registered_model(name).aliases
    return {alias: str(version) for alias, version in found.items()}


def _registered(found: ModelVersion, aliases: Mapping[str, str]) -> RegisteredVersion:
    version = str(found.version)
    tags = found.tags
    moves = (json.loads(value) for key, value in tags.items() if key.startswith(MOVE))
    return RegisteredVersion(
        name=found.name,
        version=version,
        run_id=tags[RUN_ID],
        mlflow_run=str(found.run_id),
        created=datetime.fromtimestamp((found.creation_timestamp or 0) / 1000, UTC),
        aliases=tuple(sorted(alias for alias, at in aliases.items() if at == version)),
        study_hash=tags.get(STUDY_HASH, ""),
        hashes=json.loads(tags.get(HASHES, "{}")),
        summary=json.loads(tags.get(SUMMARY, "{}")),
        moves=tuple(sorted(moves, key=lambda move: int(move["number"]))),
        trial=tags.get(TRIAL, ""),
    )


def _quoted(text: str) -> str:
    if "'" in text or "`" in text:
        raise ModelNotFoundError(f"{text!r} cannot be a name or a run in the registry")
    return text
