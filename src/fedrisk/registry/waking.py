"""Wakes a follower before its pause is over, over a file that both processes see.

The file holds a token that changes with every call, so a call that comes while the follower is
looking is not lost: its next pause ends at once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: Seconds between two looks at the file.
LOOK_SECONDS = 0.1


def wake(file: Path) -> None:
    """Let the follower that waits at this file look now.

    Raises
    ------
    OSError
        When the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    token = uuid.uuid4().hex
    draft = file.with_name(f"{file.name}.{token}")
    draft.write_text(token, encoding="ascii")
    draft.replace(file)


class Waiting:
    """A pause that ends early when somebody calls.

    Parameters
    ----------
    file : Path
    sleep : callable
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        file: Path,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._sleep = sleep
        self._clock = clock
        self._heard = self._token()

    def __call__(self, seconds: float) -> None:
        """Wait so long, or until somebody calls or has called since the last pause."""
        end = self._clock() + seconds
        while self._token() == self._heard:
            left = end - self._clock()
            if left <= 0:
                return
            self._sleep(min(left, LOOK_SECONDS))
        self._heard = self._token()

    def _token(self) -> bytes:
        with suppress(OSError):
            return self._file.read_bytes()
        return b""
