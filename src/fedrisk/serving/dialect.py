"""An endpoint of another protocol: errors in that protocol's own shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.transport import JSON, answer_to, error_headers, respond

#: From an error, its HTTP status and what `/predict` would answer, to the protocol's own document.
Telling = Callable[[Exception, int, dict[str, Any]], dict[str, Any]]


class Dialect:
    """An ASGI application whose errors are told as its protocol wants.

    Parameters
    ----------
    app : ASGI application
        The endpoint, behind the guard where there is one, so that refusals are told so too.
    telling : callable
    lifecycle : Lifecycle
        Turns requests away while the process is late.
    content_type : bytes
        Of errors.
    """

    def __init__(
        self, app: ASGIApp, telling: Telling, lifecycle: Lifecycle, content_type: bytes = JSON
    ) -> None:
        self.app = app
        self.telling = telling
        self.lifecycle = lifecycle
        self.content_type = content_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, whatever goes wrong."""
        started = False

        async def noticing(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            self.lifecycle.admit()
            await self.app(scope, receive, noticing)
        except Exception as error:
            if started:
                raise
            status, document = answer_to(error, scope["request_id"])
            body = orjson.dumps(self.telling(error, status, document))
            await respond(send, body, status, self.content_type, error_headers(error))
