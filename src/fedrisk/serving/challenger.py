"""The challenger in service: it answers a share of the requests, or scores them in the shadow.

The share is taken by a hash of the caller's key or the request's id, so that a caller who sends the
same key meets the same model. In the shadow the challenger scores rows that the champion has
answered, later and from a bounded queue: rows that do not fit are dropped and counted.

Both judge service, not outcomes: whether the challenger loads, answers, and how far its risks are
from the champion's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry

from fedrisk.errors import FedriskError, ModelNotFoundError, RegistryError, TrialError
from fedrisk.registry.trial_control import read_trial
from fedrisk.serving.champion import Champion, ServedModel, state
from fedrisk.serving.request import Row
from fedrisk.serving.trial_figures import TrialFigures
from fedrisk.serving.trial_metrics import PairFigures, Side, TrialMetrics
from fedrisk.serving.trial_report import TrialReport

#: Rows that are scored between two turns of the event loop.
ROWS_AT_ONCE = 100
CANARY_KEY = b"x-canary-key"


class Challenger(Champion):
    """The challenger's cache; one that was taken away or is refused is not used any more."""

    #: What kept it from being tried.
    refusal: FedriskError | None = None

    @property
    def stale(self) -> bool:
        """Whether the cache holds something else than was read."""
        return state(self.folder) != self._seen

    def leave(self) -> None:
        """Forget what was read; it is read anew when it is tried again."""
        self.served, self.refused, self.refusal, self._seen = None, None, None, None

    def _refuse(self, error: FedriskError) -> None:
        self.served, self.refusal = None, error
        super()._refuse(error)


@dataclass(frozen=True, slots=True)
class TrialRules:
    """How a challenger is tried.

    Attributes
    ----------
    share : float
        Part of the requests that it answers, from 0 to 1.
    shadow : bool
        Whether it scores what the champion answered.
    most_rows : int
        Rows that may wait to be scored in the shadow.
    """

    share: float = 0.0
    shadow: bool = False
    most_rows: int = 20_000

    @property
    def on(self) -> bool:
        """Whether a challenger has anything to do."""
        return self.shadow or self.share > 0


def in_share(key: bytes, share: float) -> bool:
    """Whether a key belongs to the share that the challenger answers; always the same answer.

    >>> [in_share(b"ward-7", share) for share in (0.0, 1.0)]
    [False, True]
    """
    return int.from_bytes(blake2b(key, digest_size=8).digest()) < share * 2.0**64


@dataclass(frozen=True, slots=True)
class Pair:
    """The two models that serve, and their figures where they can be compared."""

    champion: ServedModel
    challenger: ServedModel | None
    figures: PairFigures | None


@dataclass(frozen=True, slots=True)
class ShadowJob:
    """Rows that the champion answered, with its risks."""

    champion: ServedModel
    rows: Sequence[Row]
    risks: Sequence[float]


class Trial:
    """Decides which model answers, and lets the challenger score in the shadow.

    Parameters
    ----------
    challenger : Challenger
    rules : TrialRules
        Until the file says otherwise.
    metrics : TrialMetrics
    file : Path, optional
        Where the registry's say on the trial is written; it overrides the rules.
    """

    def __init__(
        self,
        challenger: Challenger,
        rules: TrialRules,
        metrics: TrialMetrics,
        file: Path | None = None,
    ) -> None:
        self.challenger = challenger
        self.rules = self._given = rules
        self._file = file
        self._looked: tuple[int, int] | None = None
        self.metrics = metrics
        self._jobs: deque[ShadowJob] = deque()
        self._waiting = 0
        self._news = asyncio.Event()
        self._pair: Pair | None = None

    @property
    def on(self) -> bool:
        """Whether a challenger is tried now."""
        return self.rules.on

    def refresh(self) -> None:
        """Look at what the registry says of the trial, and at the challenger while one is tried."""
        self._looked, said = self._stamp(), None
        if self._file is not None:
            with suppress(RegistryError):  # what cannot be read says nothing
                said = read_trial(self._file)
        given = self._given
        self.rules = given if said is None else replace(given, share=said.share, shadow=said.shadow)
        if self.on:
            self.challenger.refresh()
        else:
            self.challenger.leave()

    async def watch(self, seconds: float) -> None:
        """Refresh for ever, every so many seconds."""
        while True:
            await asyncio.sleep(seconds)
            if self._stamp() != self._looked or (self.on and self.challenger.stale):
                await asyncio.to_thread(self.refresh)

    def _stamp(self) -> tuple[int, int] | None:
        """Changes with the file."""
        try:
            seen = None if self._file is None else self._file.stat()
        except OSError:
            return None
        return None if seen is None else (seen.st_mtime_ns, seen.st_ino)

    def opponent(self, champion: ServedModel) -> ServedModel | None:
        """The challenger, where it can be asked what the champion is asked."""
        pair = self._current(champion)
        return None if pair.figures is None else pair.challenger

    def _current(self, champion: ServedModel) -> Pair:
        """Champion and challenger, matched anew only when one of them has changed."""
        pair, found = self._pair, self.challenger.served
        if pair is None or pair.champion is not champion or pair.challenger is not found:
            self.flush()
            pair = self._pair = self._match(champion, found)
        return pair

    def _match(self, champion: ServedModel, found: ServedModel | None) -> Pair:
        if found is None or unlike(champion, found):
            return Pair(champion, found, None)
        at = self.challenger.clock()
        return Pair(champion, found, self.metrics.pair(champion, found, at))

    def canary(self, champion: ServedModel, key: bytes) -> ServedModel | None:
        """The challenger, where it answers this request."""
        found = self.opponent(champion)
        return found if found is not None and in_share(key, self.rules.share) else None

    def answered(self, served: ServedModel, rows: int, seconds: float) -> None:
        """Count a request that one of the two answered."""
        side = self._side(served)
        if side is not None:
            side.answered(rows, seconds)

    def failed(self, served: ServedModel) -> None:
        """Count a request that one of the two could not answer."""
        side = self._side(served)
        if side is not None:
            side.errors.inc()

    def _side(self, served: ServedModel) -> Side | None:
        pair = self._pair
        if pair is None or pair.figures is None:
            return None
        if served is pair.challenger:
            return pair.figures.canary
        return pair.figures.champion if served is pair.champion else None

    def shadow(self, champion: ServedModel, rows: Sequence[Row], risks: Sequence[float]) -> None:
        """Let the challenger score these rows later, where they fit the queue."""
        figures = self._current(champion).figures if self.rules.shadow else None
        if figures is None:
            return
        if self._waiting + len(rows) > self.rules.most_rows:
            figures.dropped.inc(len(rows))
            return
        self._jobs.append(ShadowJob(champion, rows, risks))
        self._waiting += len(rows)
        self._news.set()

    def flush(self) -> None:
        """Let Prometheus' counters have what was counted since."""
        if self._pair is not None and self._pair.figures is not None:
            self._pair.figures.flush()

    async def keep(self, seconds: float) -> None:
        """Flush for ever, every so many seconds, so that other workers can tell the figures too."""
        try:
            while True:
                await asyncio.sleep(seconds)
                self.flush()
        finally:
            self.flush()

    async def run(self) -> None:
        """Score what waits, for ever, a few rows at a time."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._jobs:
                job = self._jobs.popleft()
                for start in range(0, len(job.rows), ROWS_AT_ONCE):
                    self._score(job, start)
                    await asyncio.sleep(0)
                self._waiting -= len(job.rows)

    def _score(self, job: ShadowJob, start: int) -> None:
        pair = self._current(job.champion)
        if pair.challenger is None or pair.figures is None:
            return
        part = slice(start, start + ROWS_AT_ONCE)
        began = perf_counter()
        for row, risk in zip(job.rows[part], job.risks[part], strict=True):
            try:
                other = pair.challenger.scorer.risk(row)
                _compare(pair.figures, job.champion, pair.challenger, risk, other)
            except Exception:  # noqa: BLE001 whatever it is, nobody waits for this answer
                pair.figures.shadow.errors.inc()
        rows = len(job.rows[part])
        pair.figures.shadow.answered(rows, (perf_counter() - began) / rows)

    def document(self) -> dict[str, Any]:
        """What `/ready` tells of the challenger."""
        served = self.challenger.served
        about = {"share": self.rules.share, "shadow": self.rules.shadow}
        if served is not None:
            return {**about, "model": served.identity}
        return {**about, "model": None, "refused": self.challenger.refused}

    def report(self, champion: ServedModel, collected: CollectorRegistry) -> TrialReport:
        """How the two do.

        Parameters
        ----------
        champion : ServedModel
        collected : CollectorRegistry
            What `/metrics` tells, of all workers.

        Raises
        ------
        ModelNotFoundError
            When there is no challenger.
        TrialError
            When the challenger is refused, or cannot be compared with the champion.
        """
        challenger = self.challenger.served
        if challenger is None:
            raise self._missing()
        why = unlike(champion, challenger)
        if why:
            raise TrialError(f"no trial is on: the challenger {why}")
        self._current(champion)
        versions = (champion.stored.version, challenger.stored.version)
        figures = TrialFigures(collected.collect(), *versions)
        return figures.report(champion.stored.name, self.rules.share, shadow=self.rules.shadow)

    def _missing(self) -> FedriskError:
        """Why there is no challenger, as an error."""
        refusal = self.challenger.refusal
        if refusal is None or isinstance(refusal, ModelNotFoundError):
            return ModelNotFoundError("no trial is on: there is no challenger")
        return TrialError(f"no trial is on: the challenger is refused: {refusal.message}")


def unlike(champion: ServedModel, challenger: ServedModel) -> str:
    """Why two models cannot be compared, as a sentence part; empty where they can."""
    if challenger.stored.digest == champion.stored.digest:
        return "is the champion itself"
    if challenger.stored.model.study.hash != champion.stored.model.study.hash:
        return "is of another study than the champion"
    return ""


def _compare(
    figures: PairFigures,
    champion: ServedModel,
    challenger: ServedModel,
    risk: float,
    other: float,
) -> None:
    figures.difference.observe(abs(other - risk))
    before, after = champion.scorer.level(risk), challenger.scorer.level(other)
    if before != after:
        figures.level_changed(before, after)
