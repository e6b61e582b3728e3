"""Moves of the aliases under a fencing token: what a retraining does in the registry.

MLflow's aliases have no compare-and-set. So whoever takes a retraining up first raises the token
that the registered model carries, and every move checks it, and what it is instead of, while no
other process of this machine writes. Each move may be asked for twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from fedrisk.errors import FencedError, RetrainingError
from fedrisk.home import Home
from fedrisk.registry.promotion import (
    CHALLENGER,
    CHAMPION,
    follow_aliases,
    make_challenger,
    make_champion,
    past_champions,
    point_previous,
    served_instead,
    set_alias,
)
from fedrisk.registry.store import Store, open_store
from fedrisk.registry.trial_control import TrialControl
from fedrisk.registry.verification import Verified, verify
from fedrisk.registry.versions import TRIAL, aliases_of, get_version
from fedrisk.settings import Settings

#: Tag of a registered model: the highest token that was seen.
FENCE = "fedrisk.fence"


@dataclass(frozen=True)
class GuardedMoves:
    """Moves of one registered model.

    Parameters
    ----------
    home : Home
        Its caches follow the aliases.
    settings : Settings
    name : str
        The registered model.

    Raises
    ------
    RegistryError
        From every method, when the store cannot be used.
    FencedError
        From every move, when a higher token was seen.
    """

    home: Home
    settings: Settings
    name: str

    def guard(self, fence: int) -> None:
        """Refuse moves under a lower token from now on."""
        with self._writing(fence):
            pass

    def aliases(self) -> tuple[dict[str, str], list[str]]:
        """Where the aliases point, and the champions that led to the present one."""
        store = self._store()
        with store.errors():
            return aliases_of(store, self.name), past_champions(store, self.name)

    def verified(self, version: str) -> Verified:
        """A version with its documents.

        Raises
        ------
        ModelNotFoundError
            When there is none of that number.
        ModelFileError
            When it fails its verification.
        """
        store = self._store()
        with store.errors():
            return verify(store, get_version(store, self.name, version))

    def challenge(
        self, version: str, control: TrialControl, reason: str, fence: int, now: datetime
    ) -> None:
        """Make a version the challenger, and say how it is tried."""
        with self._writing(fence) as store:
            found = get_version(store, self.name, version)
            if CHAMPION in found.aliases:
                raise RetrainingError(f"version {version} is the champion, and cannot challenge")
            store.client.set_model_version_tag(self.name, version, TRIAL, control.text())
            if CHALLENGER not in found.aliases:
                make_challenger(store, verify(store, found), reason, now)
            follow_aliases(store, self.home, self.name, take=False)

    def withdraw(self, version: str, fence: int) -> None:
        """Let a version be challenger no more; nothing of it is tried."""
        with self._writing(fence) as store:
            if aliases_of(store, self.name).get(CHALLENGER) == version:
                store.client.delete_registered_model_alias(self.name, CHALLENGER)
            if get_version(store, self.name, version).trial:
                store.client.delete_model_version_tag(self.name, version, TRIAL)
            follow_aliases(store, self.home, self.name, take=False)

    def promote(
        self, version: str, instead_of: str, reason: str, fence: int, now: datetime
    ) -> None:
        """Make a version champion, if the champion is the one named or it already.

        Raises
        ------
        RetrainingError
            When the champion is another one.
        """
        with self._writing(fence) as store:
            found = get_version(store, self.name, version)
            if self._moved(store, version, instead_of):
                served = served_instead(self.home, self.name)
                make_champion(store, verify(store, found), reason, now, served)
            elif aliases_of(store, self.name).get(CHALLENGER) == version:
                # Whoever promoted it died before its other alias was taken away.
                store.client.delete_registered_model_alias(self.name, CHALLENGER)
                point_previous(store, self.name, past_champions(store, self.name))
            follow_aliases(store, self.home, self.name, take=True)

    def give_back(
        self, version: str, instead_of: str, reason: str, fence: int, now: datetime
    ) -> None:
        """Return to an earlier champion, if the champion is the one named or it already.

        Raises
        ------
        RetrainingError
            When the champion is another one.
        """
        with self._writing(fence) as store:
            if self._moved(store, version, instead_of):
                verified = verify(store, get_version(store, self.name, version))
                set_alias(store, verified, CHAMPION, reason, now, action="rollback")
            point_previous(store, self.name, past_champions(store, self.name))
            follow_aliases(store, self.home, self.name, take=False)

    def _moved(self, store: Store, version: str, instead_of: str) -> bool:
        """Whether the champion has to move to a version yet."""
        champion = aliases_of(store, self.name).get(CHAMPION)
        if champion not in (version, instead_of):
            raise RetrainingError(
                f"the champion of {self.name!r} is version {champion}, not {instead_of}: "
                "somebody moved it"
            )
        return champion != version

    def _store(self) -> Store:
        return open_store(self.home, self.settings)

    @contextmanager
    def _writing(self, fence: int) -> Iterator[Store]:
        """Write as the only one, under a token that is not behind."""
        store = self._store()
        with store.writing():
            seen = int(store.client.get_registered_model(self.name).tags.get(FENCE, 0))
            if fence < seen:
                raise FencedError(
                    f"another process has taken up the retraining of {self.name!r}: its token "
                    f"is {seen}, this one's {fence}"
                )
            if fence > seen:
                store.client.set_registered_model_tag(self.name, FENCE, str(fence))
            yield store
