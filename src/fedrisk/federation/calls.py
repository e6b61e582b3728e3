"""A call in a thread of its own: waited for only so long, and left to end by itself after that."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Call(Generic[T]):
    """Begins at once; whoever made it may wait, look again later, or never.

    Its thread does not keep the process from ending.

    Parameters
    ----------
    work : callable
        Takes nothing; what it returns or raises is kept for `result`.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._outcome: list[T] = []
        self._error: BaseException | None = None
        self._ended = threading.Event()
        inside = contextvars.copy_context()
        threading.Thread(target=inside.run, args=(self._do,), daemon=True).start()

    def _do(self) -> None:
        try:
            self._outcome.append(self._work())
        except BaseException as error:  # noqa: BLE001 raised again by `result`, in another thread
            self._error = error
        finally:
            self._ended.set()

    def ended(self, seconds: float | None = 0.0) -> bool:
        """Whether the call has ended, waiting for that so many seconds, or for ever with None."""
        return self._ended.wait(seconds)

    def result(self) -> T:
        """What the call returned, or raise what it raised; to ask once it has ended."""
        if self._error is not None:
            raise self._error
        return self._outcome[0]
