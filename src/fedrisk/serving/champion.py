"""The served model: loaded, verified, and swapped when the cache gets another one.

The cache is looked at four times a second; that costs a symbolic link and the sizes and times of
four files, so that damage is told before a restart meets it. A new champion is read and tested in
a thread while the old one goes on answering, and replaces it by one assignment. One that is
damaged or fails its self-test is refused and reported, and the old stays.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from fedrisk.errors import FedriskError, ModelFileError
from fedrisk.registry.cache import StoredModel, generation, read_model
from fedrisk.serving.request import RequestValidator
from fedrisk.serving.scoring import Scorer

Clock = Callable[[], datetime]
#: Called with the model that now serves, or with the error that kept it from serving.
Listener = Callable[["ServedModel | FedriskError"], None]


#: A generation of the cache, with names, sizes and times of change of its files.
State = tuple[Path, tuple[tuple[str, int, int], ...]]


def state(folder: Path) -> State | None:
    """What a cache holds, without reading it; None where there is nothing."""
    place = generation(folder)
    if place is None:
        return None
    try:
        with os.scandir(place) as found:
            files = [(file.name, file.stat()) for file in found]
    except OSError:
        return None
    return place, tuple(sorted((name, s.st_size, s.st_mtime_ns) for name, s in files))


def now() -> datetime:
    """The time, with its zone."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class ServedModel:
    """A stored model with all that answering needs, built once.

    Attributes
    ----------
    stored : StoredModel
    scorer : Scorer
    validator : RequestValidator
    identity : dict
        ``name`` and ``version``, as every answer carries them.
    loaded_at : datetime
    """

    stored: StoredModel
    scorer: Scorer
    validator: RequestValidator
    identity: dict[str, str]
    loaded_at: datetime

    @classmethod
    def build(cls, stored: StoredModel, loaded_at: datetime, most_rows: int) -> ServedModel:
        """Make a stored model ready, and let its stored rows take the way of a request.

        Raises
        ------
        ModelFileError
            When the scorer answers a stored row differently.
        DataError
            When a stored row breaks the study.
        """
        scorer = Scorer(stored.model)
        validator = RequestValidator(stored.model.study, most_rows)
        for check in stored.checks:
            validator.row(orjson.dumps(check["row"]))
        scorer.self_test(stored.checks)
        identity = {"name": stored.name, "version": stored.version}
        return cls(stored, scorer, validator, identity, loaded_at)


@dataclass
class Champion:
    """Where requests find the model that serves now.

    Parameters
    ----------
    folder : Path
        The cache, ``Home.champion``.
    most_rows : int
        Longest batch.
    clock : callable
    listener : callable, optional
    """

    folder: Path
    most_rows: int = 10_000
    clock: Clock = now
    listener: Listener | None = None
    served: ServedModel | None = None
    #: Why the cache's present content does not serve; None while it does.
    refused: dict[str, Any] | None = None
    _seen: State | None = field(default=None, repr=False)

    def require(self) -> ServedModel:
        """The model that serves now.

        Raises
        ------
        ModelFileError
            While there is none.
        """
        if self.served is None:
            raise ModelFileError(
                f"no model serves yet: {self.reason}", hint="GET /ready tells when one does"
            )
        return self.served

    @property
    def reason(self) -> str:
        """Why no model serves."""
        return "the cache was not read yet" if self.refused is None else str(self.refused["reason"])

    def refresh(self) -> bool:
        """Look at the cache, and load what is new there.

        Returns
        -------
        bool
            Whether another model serves now.
        """
        seen = state(self.folder)
        if seen is not None and seen == self._seen:
            return False
        try:
            stored = read_model(self.folder)
            fresh = ServedModel.build(stored, self.clock(), self.most_rows)
        except FedriskError as error:
            self._refuse(error)
            return False
        changed = self.served is None or fresh.stored.digest != self.served.stored.digest
        self.served, self.refused, self._seen = fresh, None, seen
        if self.listener is not None:
            self.listener(fresh)
        return changed

    async def watch(self, seconds: float) -> None:
        """Refresh for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            if state(self.folder) != self._seen:
                await asyncio.to_thread(self.refresh)

    def _refuse(self, error: FedriskError) -> None:
        """Remember why; the same reason again is no news, and the next look tries again."""
        self._seen = None
        if self.refused is not None and self.refused["reason"] == error.message:
            return
        at = self.clock().isoformat(timespec="seconds")
        self.refused = {"reason": error.message, "hint": error.hint, "at": at}
        if self.listener is not None:
            self.listener(error)
