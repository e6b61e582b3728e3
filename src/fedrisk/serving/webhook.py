"""``POST /webhooks/mlflow``: MLflow tells that something changed, and the follower looks at once.

A delivery carries a name of its own, the time, and an HMAC-SHA256 over both and the body. Nothing
that it says is believed beyond "look": the follower reads the aliases from the registry itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from fedrisk.errors import UsageError
from fedrisk.registry.waking import wake
from fedrisk.serving.transport import header, read_body, respond

PATH = "/webhooks/mlflow"
#: Headers of a delivery.
SIGNATURE, TIMESTAMP, DELIVERY = (
    b"x-mlflow-signature",
    b"x-mlflow-timestamp",
    b"x-mlflow-delivery-id",
)
#: Seconds that a delivery's time may be off: MLflow tries again for about a minute.
FRESH_SECONDS = 300
LONGEST_BODY = 256 << 10
SHORTEST_SECRET = 16
_NAME = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


def read_secret(file: Path) -> bytes:
    """The secret that MLflow signs with; white space around it does not count.

    Raises
    ------
    UsageError
        When the file cannot be read, or what it holds is too short to be a secret.
    """
    try:
        secret = file.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"the webhook's secret cannot be read: {error}") from None
    if len(secret) < SHORTEST_SECRET:
        raise UsageError(
            f"{file} holds no secret of at least {SHORTEST_SECRET} characters",
            hint="`openssl rand -hex 32` makes one",
        )
    return secret


def signature(secret: bytes, delivery: bytes, timestamp: bytes, body: bytes) -> bytes:
    """What MLflow sends as X-MLflow-Signature, after the version.

    Parameters
    ----------
    secret, delivery, timestamp, body : bytes
        As they were sent; ``timestamp`` in seconds since 1970.
    """
    signed = b".".join((delivery, timestamp, body))
    return base64.b64encode(hmac.digest(secret, signed, hashlib.sha256))


class MlflowWebhook:
    """Checks deliveries and wakes the follower.

    Parameters
    ----------
    secret : bytes
    wake_file : Path
        ``Home.follower_wake``.
    clock : callable
        The time, with its zone.
    """

    def __init__(self, secret: bytes, wake_file: Path, clock: Callable[[], datetime]) -> None:
        self._secret = secret
        self._wake_file = wake_file
        self._clock = clock
        #: Names of deliveries that were taken, with their times, oldest first.
        self._taken: OrderedDict[bytes, float] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(scope, receive, LONGEST_BODY)
        delivery = self.check(scope, body)
        try:
            wake(self._wake_file)
        except OSError:
            self._taken.pop(delivery, None)  # MLflow sends the same one again
            raise HTTPException(503, "the follower cannot be woken") from None
        await respond(send, b'{"status": "looking"}', 202)

    def check(self, scope: Scope, body: bytes) -> bytes:
        """The name of a delivery that is MLflow's, fresh and new.

        Raises
        ------
        HTTPException
            401 when it is not signed with the secret or its time is off; 409 when it came before.
        """
        given, timestamp, delivery = (header(scope, n) for n in (SIGNATURE, TIMESTAMP, DELIVERY))
        if given is None or timestamp is None or delivery is None or not _NAME.fullmatch(delivery):
            raise HTTPException(401, "a delivery carries MLflow's signature, time and name")
        expected = b"v1," + signature(self._secret, delivery, timestamp, body)
        if not hmac.compare_digest(given, expected):
            raise HTTPException(401, "the signature is not made with this server's secret")
        now = self._clock().timestamp()
        # A signed time is a number, unless the secret's holder is not MLflow.
        if not timestamp.isdigit() or abs(now - int(timestamp)) > FRESH_SECONDS:
            raise HTTPException(401, f"the delivery's time is more than {FRESH_SECONDS} s off")
        self._take(delivery, now)
        return delivery

    def _take(self, delivery: bytes, now: float) -> None:
        """Remember a delivery for as long as its time can still be fresh."""
        while self._taken and next(iter(self._taken.values())) < now - 2 * FRESH_SECONDS:
            self._taken.popitem(last=False)
        if delivery in self._taken:
            raise HTTPException(409, "this delivery came before")
        self._taken[delivery] = now
