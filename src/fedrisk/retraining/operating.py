"""What was asked of the watch, taken one at a time and followed to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fedrisk.retraining.operation import Operation
from fedrisk.retraining.operation_store import OperationStore
from fedrisk.retraining.states import ENDS
from fedrisk.retraining.watch import Finished, Runner

_log = logging.getLogger("fedrisk.watch")
NO_CHAMPION = {
    "error": "there is no champion yet",
    "hint": "train the first: `fedrisk trigger train --study FILE`",
}


@dataclass(frozen=True)
class Operating:
    """Takes operations, has them run, and writes down how they ended.

    Parameters
    ----------
    store : OperationStore
    clock : callable
        The time, with its zone.
    training : callable
        The command line of an operation that trains.
    follow : callable
        How a retraining stands, by its id, as `fedrisk retrain --json` tells it; None where nobody
        knows it.
    """

    store: OperationStore
    clock: Callable[[], datetime]
    training: Callable[[Operation], Sequence[str]]
    follow: Callable[[str], Mapping[str, Any] | None] = lambda _: None

    def one(self, run: Callable[[Operation], Finished]) -> Operation | None:
        """Have the next operation run; which it was.

        An error that is nobody's on purpose ends the operation, not the watch.
        """
        self.settle()
        operation = self.store.take(self.clock())
        if operation is None:
            return None
        try:
            done = run(operation)
        except Exception as error:
            _log.exception("operation %s", operation.asked.id)
            done = Finished(1, {"error": f"{type(error).__name__} in the watch; see its log"})
            self._close(operation, done)
            raise
        self._close(operation, done)
        return operation

    def _close(self, operation: Operation, done: Finished) -> None:
        answer = done.answer
        if operation.asked.command == "retrain" and _goes_on(done) and answer is not None:
            self.store.wait(operation, answer, done.lines, done.told)
            return
        if done.code and not (answer or {}).get("error"):
            answer = {**(answer or {}), "error": done.error}
        self.store.end(operation, done.code, answer, done.lines, done.told, self.clock())

    def settle(self) -> None:
        """Look how retrainings stand that somebody waits for."""
        for each in self.store.waiting():
            before = each.answer or {}
            now = self.follow(str(before.get("id", "")))
            if now is None or (now["state"], now["reason"]) == (
                before.get("state"),
                before.get("reason"),
            ):
                continue
            answer = {**before, **now}
            if now["state"] in ENDS:
                self.store.end(each, 0, answer, each.lines, each.told, self.clock())
            else:
                self.store.wait(each, answer, each.lines, each.told)


def _goes_on(done: Finished) -> bool:
    """Whether a retraining has not come to its end."""
    answer = done.answer or {}
    return done.code == 0 and "id" in answer and answer.get("state") not in ENDS


@dataclass(frozen=True)
class Beginning:
    """What the watch does before there is a model: it trains where somebody asks for it.

    Parameters
    ----------
    operating : Operating or None
        None where nobody can ask for anything.
    run : callable
    listeners : tuple of callable
        Told the command and how it ended.
    """

    operating: Operating | None
    run: Runner
    listeners: tuple[Callable[[str, Finished], None], ...] = ()

    def turn(self) -> list[str]:
        """Run what was asked for; what was run."""
        operation = None if self.operating is None else self.operating.one(self._one)
        return [] if operation is None else [operation.asked.command]

    def _one(self, operation: Operation) -> Finished:
        if operation.asked.command != "train" or self.operating is None:
            return Finished(8, NO_CHAMPION)
        done = self.run(self.operating.training(operation))
        for listen in self.listeners:
            listen("train", done)
        return done
