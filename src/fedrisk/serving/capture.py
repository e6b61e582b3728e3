"""Counts what is asked and answered, by model version and window of time, without keeping people.

A window is closed when its time is over and at least ``least`` rows were counted; a smaller one
goes on until there are, and so does one whose time ends while the store is away. Only closed
windows leave the process, to the store of windows. What is not closed at a graceful stop waits in a
file of its own and is taken up at the next start, so nothing is lost and nothing small is told.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fedrisk.errors import FedriskError
from fedrisk.profiles import Profile, Window
from fedrisk.profiles.counting import RowCounter, profile_columns
from fedrisk.profiles.moments import few_left_out
from fedrisk.registry.cache import StoredModel
from fedrisk.study import Study, parse_study
from fedrisk.study.records import Columns, FloatArray

_log = logging.getLogger("fedrisk.serving")

#: Stores windows, those that it has already once; raises FedriskError where it cannot.
Sink = Callable[[list[Window]], object]


@dataclass(frozen=True, slots=True)
class CaptureRules:
    """How windows are cut.

    Attributes
    ----------
    length : timedelta
        Of a window; windows begin at multiples of it since midnight UTC.
    least : int
        Rows in a window that may leave.
    """

    length: timedelta = timedelta(minutes=15)
    least: int = 50


@dataclass
class OpenWindow:
    """A window that is being counted, of one model version."""

    study: Study
    model: str
    version: str
    start: datetime
    due: datetime
    counter: RowCounter
    carried: Profile

    def profile(self) -> Profile:
        """Everything counted so far."""
        return self.carried + self.counter.profile()

    @property
    def rows(self) -> float:
        return self.carried.rows + self.counter.rows


@dataclass
class Capture:
    """Counts rows and hands closed windows on.

    Parameters
    ----------
    source : str
        This replica's name in every window.
    sink : callable
    clock : callable
        The time, with its zone.
    rules : CaptureRules
    waiting_file : Path, optional
        Where small windows wait for the next start.
    listener : callable, optional
        Told after each attempt to store why it failed, or nothing.
    waits : callable, optional
        Told at each look how many seconds counted rows have waited.
    """

    source: str
    sink: Sink
    clock: Callable[[], datetime]
    rules: CaptureRules = CaptureRules()
    waiting_file: Path | None = None
    listener: Callable[[str], None] | None = None
    waits: Callable[[float], None] | None = None
    closed: list[Window] = field(default_factory=list)
    #: Why the store did not take the closed windows; empty where it did.
    fault: str = ""
    _open: dict[str, OpenWindow] = field(default_factory=dict)
    _current: OpenWindow | None = None
    _stored: StoredModel | None = None

    def count_row(self, stored: StoredModel, row: Mapping[str, Any], risk: float) -> None:
        """Count a row that this model has scored."""
        self._window(stored).counter.add(row, risk)

    def count_columns(self, stored: StoredModel, columns: Columns, risks: FloatArray) -> None:
        """Count rows in arrays that this model has scored."""
        window = self._window(stored)
        window.carried = window.carried + profile_columns(window.study, columns, risks)

    def count_profile(self, study: Study, model: str, version: str, profile: Profile) -> None:
        """Count rows that another process has scored and counted."""
        window = self._find(study, model, version)
        window.carried = window.carried + profile

    def _window(self, stored: StoredModel) -> OpenWindow:
        if stored is not self._stored or self._current is None:
            self._stored = stored
            self._current = self._find(stored.model.study, stored.name, stored.version)
        return self._current

    def _find(self, study: Study, model: str, version: str) -> OpenWindow:
        key = f"{model}/{version}/{study.hash}"
        found = self._open.get(key)
        if found is None:
            now = self.clock()
            counter, nothing = RowCounter(study), Profile.empty(study)
            found = OpenWindow(study, model, version, now, self._end(now), counter, nothing)
            self._open[key] = found
        return found

    def close_due(self) -> None:
        """Close windows whose time is over and that hold enough rows."""
        now = self.clock()
        end = self._end(now)
        for key, window in list(self._open.items()):
            # A clock that was set back would keep it open until the same hour comes again.
            window.start, window.due = min(window.start, now), min(window.due, end)
            if now < window.due:
                continue
            if window.rows >= self.rules.least and not self.fault:
                self._close(window, window.due)
            window.due = end
            if window.rows == 0:
                window.start = max(window.start, end - self.rules.length)
                if window is not self._current:
                    del self._open[key]

    def flush(self) -> None:
        """Hand closed windows to the store; they stay here when it does not take them."""
        if not self.closed:
            return
        sent = list(self.closed)
        try:
            self.sink(sent)
        except FedriskError as error:
            if error.message != self.fault:
                _log.error("capture: %s", error.message)
            self._store_answered(error.message)
            return
        self._store_answered("")
        del self.closed[: len(sent)]  # in one step: the event loop may add one meanwhile

    def lag(self) -> float:
        """Age of the oldest rows that may leave and that the store does not hold yet, in seconds.

        Windows of too few rows do not count: they wait by the rules.
        """
        waiting = [window.start for window in self.closed]
        opened = self._open.values()
        waiting += [window.start for window in opened if window.rows >= self.rules.least]
        return max(0.0, (self.clock() - min(waiting)).total_seconds()) if waiting else 0.0

    def _store_answered(self, fault: str) -> None:
        self.fault = fault
        if self.listener is not None:
            self.listener(fault)

    async def run(self, seconds: float) -> None:
        """Close and flush for ever, every so many seconds; the store is asked in a thread."""
        while True:
            await asyncio.sleep(seconds)
            self.close_due()
            await asyncio.to_thread(self.flush)
            if self.waits is not None:
                self.waits(self.lag())

    def stop(self) -> None:
        """Close what may leave, hand it on, and keep the rest for the next start."""
        now = self.clock()
        for window in self._open.values():
            if window.rows >= self.rules.least:
                self._close(window, max(now, window.start))
        self.flush()
        try:
            self._keep()
        except OSError as error:
            rows = sum(window.rows for window in self._open.values())
            rows += sum(window.profile.rows for window in self.closed)
            _log.error("capture: the counts of %d rows cannot be kept: %s", rows, error.strerror)

    def resume(self) -> None:
        """Take up what waited since the last stop; a damaged file is set aside and told."""
        if self.waiting_file is None or not self.waiting_file.exists():
            return
        try:
            self._resume(self.waiting_file)
        except OSError as error:
            name, reason = self.waiting_file.name, error.strerror
            _log.error("capture: %s cannot be taken up: %s", name, reason)

    def _resume(self, file: Path) -> None:
        content = file.read_bytes()
        try:
            found = json.loads(content)
            closed = [_window(each) for each in found["closed"]]
            opened = [_open_window(each) for each in found["open"]]
        except (FedriskError, ValueError, KeyError, TypeError) as error:
            _log.error("capture: %s is damaged: %s", file.name, type(error).__name__)
            file.replace(file.with_suffix(".damaged"))
            return
        file.unlink()  # first: what cannot be taken away would be counted at each start
        self.closed += closed
        for study, model, version, start, profile in opened:
            window = self._find(study, model, version)
            window.start = min(window.start, start)
            window.carried = window.carried + profile

    def _close(self, window: OpenWindow, end: datetime) -> None:
        profile = window.profile()
        profile = replace(profile, moments=few_left_out(profile.moments, self.rules.least))
        identifier = uuid.uuid4().hex
        self.closed.append(
            Window(
                identifier, window.model, window.version, self.source, window.start, end, profile
            )
        )
        window.start, window.carried = end, Profile.empty(window.study)
        window.counter.reset()

    def _end(self, now: datetime) -> datetime:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + self.rules.length * ((now - midnight) // self.rules.length + 1)

    def _keep(self) -> None:
        kept = [window for window in self._open.values() if window.rows]
        if self.waiting_file is None or not (kept or self.closed):
            return
        document = {
            "open": [_open_document(window) for window in kept],
            "closed": [_closed_document(window) for window in self.closed],
        }
        self.waiting_file.parent.mkdir(parents=True, exist_ok=True)
        draft = self.waiting_file.with_suffix(".part")
        try:
            draft.touch(0o600)
            draft.write_text(json.dumps(document), encoding="utf-8")
            draft.replace(self.waiting_file)
        except OSError:
            draft.unlink(missing_ok=True)
            raise


def _open_window(document: Mapping[str, Any]) -> tuple[Study, str, str, datetime, Profile]:
    start = datetime.fromisoformat(document["start"])
    study, profile = parse_study(document["study"]), Profile.from_document(document["profile"])
    return study, str(document["model"]), str(document["version"]), start, profile


def _open_document(window: OpenWindow) -> dict[str, Any]:
    return {
        "study": window.study.model_dump(mode="json"),
        "model": window.model,
        "version": window.version,
        "start": window.start.isoformat(),
        "profile": window.profile().document(),
    }


def _closed_document(window: Window) -> dict[str, Any]:
    return {
        "id": window.id,
        "model": window.model,
        "version": window.version,
        "source": window.source,
        "start": window.start.isoformat(),
        "end": window.end.isoformat(),
        "profile": window.profile.document(),
    }


def _window(document: Mapping[str, Any]) -> Window:
    identifier, model, version, source = (
        str(document[name]) for name in ("id", "model", "version", "source")
    )
    start, end = (datetime.fromisoformat(document[name]) for name in ("start", "end"))
    profile = Profile.from_document(document["profile"])
    return Window(identifier, model, version, source, start, end, profile)
