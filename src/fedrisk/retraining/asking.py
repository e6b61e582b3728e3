"""Ask a watch that runs somewhere for an operation, and follow that to its end.

Nothing but the standard library is loaded: this is what a scheduler's job runs. The asker names the
operation, so that an answer that got lost is asked for again and nothing is run twice; a watch that
is started again in the middle is waited for.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from fedrisk.errors import (
    CredentialsError,
    FedriskError,
    OverloadedError,
    RetrainingError,
    ServiceAwayError,
    UsageError,
)
from fedrisk.token_file import read_tokens

#: Seconds for one answer, and between two questions.
TIMEOUT, EVERY = 20.0, 2.0
#: Seconds for which a watch that has taken nothing yet may be away.
FIRST_PATIENCE = 120.0
LARGEST = 16 * 2**20
#: Exit codes beside those of errors.py.
DRIFTED, WAITS, REFUSED, TAKEN_BACK, GOES_ON = 20, 21, 22, 23, 24
#: By how a retraining stands; any other state is one that goes on. What is promoted serves: it is
#: watched for weeks, and whoever asked need not stay for that.
_CODES: Final[Mapping[str, int]] = {
    "promoted": 0,
    "watched": 0,
    "done": 0,
    "refused": REFUSED,
    "abandoned": TAKEN_BACK,
    "returned": TAKEN_BACK,
}
#: By the watch's status, what it means.
_ERRORS: Final[Mapping[int, type[FedriskError]]] = {
    400: UsageError,
    401: CredentialsError,
    409: RetrainingError,
    429: OverloadedError,
}


def retraining_code(state: str) -> int:
    """The exit code by which a retraining's state is told.

    >>> [retraining_code(state) for state in ("promoted", "refused", "returned", "shadow")]
    [0, 22, 23, 21]
    """
    return _CODES.get(state, WAITS)


def operation_code(found: Mapping[str, Any], *, drift_counts: bool = False) -> int:
    """The exit code by which an operation's end is told.

    Parameters
    ----------
    found : dict
        An operation, as the watch tells it.
    drift_counts : bool
        Whether a verdict that calls for somebody is `DRIFTED`.
    """
    if found["state"] in ("queued", "running"):
        return GOES_ON
    code, answer = found["code"] or 0, found["answer"] or {}
    if code:
        return int(code) if code > 0 else 1  # a signal ended it
    if found["command"] == "retrain":
        return retraining_code(str(answer.get("state")))
    called = answer.get("verdict") in ("drift", "harm", "quality")
    return DRIFTED if drift_counts and called else 0


def has_verdict(found: Mapping[str, Any]) -> bool:
    """Whether an operation ended, or goes on by a person's answer or by weeks of labels alone."""
    answer = found["answer"] or {}
    settled = answer.get("state") in ("awaiting approval", "promoted")
    return bool(found["state"] == "ended" or (found["state"] == "waiting" and settled))


@dataclass(frozen=True)
class Watched:
    """A watch that takes operations.

    Parameters
    ----------
    url : str
        Its address, without a path.
    token_file : Path
        Read with every question: a new token counts at once.
    sleep, clock : callable
        Seconds.

    Raises
    ------
    UsageError
        When the address is none.
    """

    url: str
    token_file: Path
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise UsageError(f"{self.url!r} is no address", hint="such as http://127.0.0.1:9102")

    def ask(self, wanted: Mapping[str, Any], patience: float = FIRST_PATIENCE) -> dict[str, Any]:
        """Ask for an operation; a watch that is away or has too much to do is asked again.

        Raises
        ------
        ServiceAwayError, OverloadedError
            When it still is after so many seconds.
        CredentialsError, UsageError, RetrainingError
            When it does not take this.
        """
        end = self.clock() + patience
        while True:
            try:
                return self._question("/operations", json.dumps(dict(wanted)).encode())
            except (ServiceAwayError, OverloadedError):
                if self.clock() + EVERY > end:
                    raise
                self.sleep(EVERY)

    def follow(
        self, identifier: str, seconds: float, told: Callable[[dict[str, Any]], object]
    ) -> dict[str, Any]:
        """Look until an operation has a verdict, or the time is over.

        Parameters
        ----------
        identifier : str
        seconds : float
        told : callable
            Called with each answer.

        Raises
        ------
        ServiceAwayError
            When the watch is away as the time ends.
        RetrainingError
            When it knows no such operation.
        """
        end = self.clock() + seconds
        while True:
            try:
                found = self._question(f"/operations/{identifier}")
            except ServiceAwayError:
                if self.clock() + EVERY > end:
                    raise
                self.sleep(EVERY)
                continue
            told(found)
            if has_verdict(found) or self.clock() + EVERY > end:
                return found
            self.sleep(EVERY)

    def _question(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        tokens = read_tokens(self.token_file)
        if not tokens:
            raise UsageError(f"{self.token_file} cannot be read, or holds no token")
        headers = {"Authorization": f"Bearer {tokens[0]}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url.rstrip("/") + path, body, headers)  # noqa: S310 checked above
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310 checked above
                return self._read(answer.status, answer.read(LARGEST))
        except urllib.error.HTTPError as error:
            with error:
                return self._read(error.code, error.read(LARGEST))
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ServiceAwayError(
                f"the watch at {self.url} does not answer: {reason}",
                hint="`fedrisk watch --operations` runs there; --at names it",
            ) from None

    def _read(self, status: int, body: bytes) -> dict[str, Any]:
        """An answer; what is said instead of one is raised."""
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            # Such as a 502 of something between, or a server that is about to end.
            raise ServiceAwayError(
                f"{self.url} answers with status {status} and no JSON object",
                hint="--at names a watch that runs with --operations",
            )
        if status in (200, 202):
            return found
        message, hint = str(found.get("error", f"status {status}")), str(found.get("hint", ""))
        kind = ServiceAwayError if status >= 500 else _ERRORS.get(status, RetrainingError)
        raise kind(message, hint)
