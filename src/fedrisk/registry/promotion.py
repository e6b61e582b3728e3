"""The registry's gate: the only code that moves the aliases champion, challenger and previous.

A version is verified before an alias points to it (hashes, document, self-test on what the store
hands out), every move is written down on the version that it is about, and the home's caches follow
the aliases. MLflow cannot compare and set an alias, so the processes of one machine take turns by a
file lock; across machines, one coordinator is the only one that calls this module.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from fedrisk.errors import ModelFileError, ModelNotFoundError
from fedrisk.home import Home
from fedrisk.registry.cache import (
    CHECKS,
    MODEL,
    REFERENCE,
    StoredModel,
    clear_model,
    read_model,
    write_model,
)
from fedrisk.registry.store import Store, open_store
from fedrisk.registry.trial_control import write_trial
from fedrisk.registry.verification import Verified, verify
from fedrisk.registry.versions import (
    MOVE,
    RegisteredVersion,
    aliases_of,
    find_run,
    get_version,
    list_versions,
    model_name,
)
from fedrisk.settings import Settings

CHAMPION: Final = "champion"
CHALLENGER: Final = "challenger"
PREVIOUS: Final = "previous"


@dataclass(frozen=True)
class Released:
    """What became of a version.

    Attributes
    ----------
    version : str
    alias : str
        The alias that points to it now.
    name : str
        The registered model.
    serving : tuple of name and version, optional
        The model that the home serves, where it is another one.
    """

    version: str
    alias: Literal["champion", "challenger"]
    name: str
    serving: tuple[str, str] | None = None


@dataclass(frozen=True)
class Refreshed:
    """What the home's caches hold after `refresh_cache`: versions, or None where there is none."""

    champion: str | None
    challenger: str | None
    changed: bool


def promotion_command(home: Home, name: str, version: str) -> str:
    """What a person types to let a home serve a version.

    >>> promotion_command(Home(Path("my home")), "heart", "2")
    "fedrisk promote 2 --name heart --home 'my home'"
    """
    return shlex.join(["fedrisk", "promote", version, "--name", name, "--home", str(home.root)])


def register_outcome(
    home: Home,
    settings: Settings,
    run_id: str,
    promote: bool,
    now: datetime,
    *,
    evaluated: bool = True,
) -> Released:
    """Give the version of a finished run its alias: champion if it is the first, else challenger.

    A home serves one model. A version of another one is a challenger of its own name, and the
    caches stay as they are.

    Parameters
    ----------
    home : Home
    settings : Settings
    run_id : str
        Of the run that `fedrisk.registry.record.record_training` recorded.
    promote : bool
        Make it champion although there is one.
    now : datetime
        Time of the move, with a time zone.
    evaluated : bool
        Whether any test row judged the model; if none did, it is champion only when asked for.

    Raises
    ------
    ModelNotFoundError
        When no version carries the run's tag.
    ModelFileError
        When the version fails its verification; the aliases stay as they were.
    RegistryError
        When the store cannot be used.
    """
    store = open_store(home, settings)
    with store.writing():
        found = find_run(store, run_id)
        if found is None:
            raise ModelNotFoundError(
                f"run {run_id!r} registered no model", hint="see the run's log for its error"
            )
        served = served_instead(home, found.name)
        first = served is None and CHAMPION not in aliases_of(store, found.name)
        if promote:
            _promote(store, home, found, "promoted when trained", now)
            return Released(found.version, CHAMPION, found.name)
        # Asked again about a run that was released already, its version may be champion.
        chosen = (first and evaluated) or CHAMPION in found.aliases
        alias: Literal["champion", "challenger"] = CHAMPION if chosen else CHALLENGER
        if alias not in found.aliases:
            move = make_champion if chosen else make_challenger
            move(store, verify(store, found), "first version" if chosen else "trained", now)
        follow_aliases(store, home, found.name, take=False)
        return Released(found.version, alias, found.name, served)


def promote(home: Home, settings: Settings, version: str, reason: str, now: datetime) -> Released:
    """Make a version the champion.

    Parameters
    ----------
    home, settings
    version : str
    reason : str
        Why, for the record.
    now : datetime
        Time of the move, with a time zone.

    Raises
    ------
    ModelNotFoundError
        When there is no such version; it names those that there are.
    ModelFileError
        When the version fails its verification; the aliases stay as they were.
    RegistryError
        When the store cannot be used.
    """
    store = open_store(home, settings)
    with store.writing():
        found = get_version(store, model_name(store, home, settings), version)
        _promote(store, home, found, reason, now)
        return Released(found.version, CHAMPION, found.name)


def rollback(home: Home, settings: Settings, reason: str, now: datetime) -> Released:
    """Return to the champion before this one; again, to the one before that.

    The way leads through the champions of one model. Where the home served another model before,
    the error says which, and how to return to it.

    Raises
    ------
    ModelNotFoundError
        When there was no champion before, or it was of another model.
    ModelFileError
        When the earlier champion fails its verification; the aliases stay as they were.
    RegistryError
        When the store cannot be used.
    """
    store = open_store(home, settings)
    with store.writing():
        name = model_name(store, home, settings)
        past = past_champions(store, name)
        _check_return(store, home, name, past)
        verified = verify(store, get_version(store, name, past[-2]))
        set_alias(store, verified, CHAMPION, reason, now, action="rollback")
        point_previous(store, name, past[:-1])
        follow_aliases(store, home, name, take=False)
        served = served_instead(home, name)
        return Released(verified.version.version, CHAMPION, name, served)


def refresh_cache(home: Home, settings: Settings) -> Refreshed:
    """Let the home's caches follow the registry's aliases.

    A version that the cache already holds is not fetched again.

    Raises
    ------
    ModelNotFoundError
        When the registry holds no model yet.
    ModelFileError
        When a version fails its verification; the cache keeps the model that it has.
    RegistryError
        When the store cannot be used.
    """
    store = open_store(home, settings)
    with store.writing():
        named = bool(settings.registry_name)
        return follow_aliases(store, home, model_name(store, home, settings), take=named)


def champions(moves: Iterable[Mapping[str, Any]], current: str | None) -> list[str]:
    """The champions that led to the present one, which is last.

    Parameters
    ----------
    moves : iterable of dict
        With number, action (``set`` or ``rollback``), alias and version, in any order.
    current : str or None
        Where the alias points. It is right where the moves disagree, as after a crash between a
        move and its record.

    >>> one = {"number": 1, "action": "set", "alias": "champion", "version": "1"}
    >>> two = one | {"number": 2, "version": "2"}
    >>> back = one | {"number": 3, "action": "rollback"}
    >>> champions([one, two], "2"), champions([one, two, back], "1")
    (['1', '2'], ['1'])
    """
    stack: list[str] = []
    for move in sorted(moves, key=lambda each: int(each["number"])):
        if move["alias"] != CHAMPION:
            continue
        if move["action"] == "rollback":
            stack = stack[:-1]
        if not stack or stack[-1] != move["version"]:
            stack.append(str(move["version"]))
    if current is None:
        return []
    if stack[-2:-1] == [current]:
        return stack[:-1]  # a rollback that died before it was written down
    return stack if stack[-1:] == [current] else [*stack, current]


def past_champions(store: Store, name: str) -> list[str]:
    """The champions of a model that led to the present one, which is last."""
    moves = [move for each in list_versions(store, name) for move in each.moves]
    return champions(moves, aliases_of(store, name).get(CHAMPION))


def _check_return(store: Store, home: Home, name: str, past: list[str]) -> None:
    """Raise where no earlier champion of the same model is the one to return to."""
    moves = [move for each in list_versions(store, name) for move in each.moves]
    led = [m for m in moves if (m["alias"], m["action"]) == (CHAMPION, "set")]
    led = sorted((m for m in led if [m["version"]] == past[-1:]), key=lambda m: int(m["number"]))
    before = led[-1].get("instead_of") if led else None
    if before is not None:
        raise ModelNotFoundError(
            f"before version {past[-1]} of {name!r} this home served another model, "
            f"{before['name']!r} version {before['version']}",
            hint=f"`{promotion_command(home, before['name'], before['version'])}` returns to it",
        )
    if len(past) < 2:
        raise ModelNotFoundError(
            f"model {name!r} had no champion before this one",
            hint="`fedrisk promote VERSION` chooses any version",
        )


def served_instead(home: Home, name: str) -> tuple[str, str] | None:
    """Name and version of the model that the home serves, where it is not this one."""
    cached = _cached(home.champion)
    return None if cached is None or cached.name == name else (cached.name, cached.version)


def _promote(
    store: Store, home: Home, found: RegisteredVersion, reason: str, now: datetime
) -> None:
    served = served_instead(home, found.name)
    if CHAMPION not in found.aliases or served is not None:
        make_champion(store, verify(store, found), reason, now, served)
    follow_aliases(store, home, found.name, take=True)


def make_champion(
    store: Store,
    verified: Verified,
    reason: str,
    now: datetime,
    served: tuple[str, str] | None = None,
) -> None:
    """Point the alias of the champion to a verified version, which challenges no more."""
    name, version = verified.version.name, verified.version.version
    past = past_champions(store, name)
    if past[-1:] == [version]:
        past = past[:-1]  # champion of its name already, and now of the home
    set_alias(store, verified, CHAMPION, reason, now, served=served)
    if aliases_of(store, name).get(CHALLENGER) == version:
        store.client.delete_registered_model_alias(name, CHALLENGER)
    point_previous(store, name, [*past, version])


def make_challenger(store: Store, verified: Verified, reason: str, now: datetime) -> None:
    """Point the alias of the challenger to a verified version."""
    set_alias(store, verified, CHALLENGER, reason, now)


def point_previous(store: Store, name: str, past: list[str]) -> None:
    """Show people where a rollback would lead."""
    if len(past) > 1:
        store.client.set_registered_model_alias(name, PREVIOUS, past[-2])
    elif PREVIOUS in aliases_of(store, name):
        store.client.delete_registered_model_alias(name, PREVIOUS)


def set_alias(
    store: Store,
    verified: Verified,
    alias: str,
    reason: str,
    now: datetime,
    action: str = "set",
    served: tuple[str, str] | None = None,
) -> None:
    """Move an alias, then write the move down on its version.

    ``served`` is the other model whose place in a home this one takes.
    """
    name, version = verified.version.name, verified.version.version
    moves = [move for each in list_versions(store, name) for move in each.moves]
    number = 1 + max((int(move["number"]) for move in moves), default=0)
    move = {
        "number": number,
        "at": now.astimezone(UTC).isoformat(),
        "action": action,
        "alias": alias,
        "version": version,
        "from": aliases_of(store, name).get(alias),
        "reason": reason,
    }
    if served is not None:
        move["instead_of"] = {"name": served[0], "version": served[1]}
    store.client.set_registered_model_alias(name, alias, version)
    store.client.set_model_version_tag(name, version, f"{MOVE}{number:06d}", json.dumps(move))


def follow_aliases(store: Store, home: Home, name: str, *, take: bool) -> Refreshed:
    """Let the caches follow a model; another one that serves makes place only to ``take``."""
    aliases = aliases_of(store, name)
    if not (take and CHAMPION in aliases) and served_instead(home, name) is not None:
        return Refreshed(None, None, changed=False)
    places = {CHAMPION: home.champion, CHALLENGER: home.challenger}
    changed = [_follow_one(store, name, aliases.get(a), place) for a, place in places.items()]
    challenger = aliases.get(CHALLENGER)
    says = "" if challenger is None else get_version(store, name, challenger).trial
    changed.append(write_trial(home.trial, says))
    return Refreshed(aliases.get(CHAMPION), aliases.get(CHALLENGER), any(changed))


def _follow_one(store: Store, name: str, version: str | None, place: Path) -> bool:
    cached = _cached(place)
    if version is None:
        clear_model(place)
        return cached is not None
    found = get_version(store, name, version)
    if cached is not None and (cached.name, cached.version, cached.run_id) == (
        name,
        version,
        found.run_id,
    ):
        return False
    documents = verify(store, found).documents
    write_model(
        place,
        documents[MODEL],
        documents[REFERENCE],
        documents[CHECKS],
        name=name,
        version=version,
        run_id=found.run_id,
    )
    return True


def _cached(place: Path) -> StoredModel | None:
    """What the cache holds; a damaged one counts as empty and is written anew."""
    try:
        return read_model(place)
    except (ModelFileError, ModelNotFoundError):
        return None
