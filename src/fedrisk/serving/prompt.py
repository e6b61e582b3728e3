"""Requests answered where their bytes arrive: no task, no event and no queue between.

A prediction waits for nothing once its body is there, and scoring it takes microseconds; a task, an
event and two messages for each request, as ASGI has them, cost several times that. So uvicorn's
connection answers by itself what comes whole in one piece, for the few targets that are named here.
Whatever is unusual about a request (a body that comes later, HTTP/1.0, a pipeline behind a running
request, a caller who reads slowly, an answer that has to wait) goes ASGI's way, to the same
endpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from fedrisk.serving.pipelining import PacedConnection


@dataclass(frozen=True, slots=True)
class Target:
    """What a request's target means, and who answers it.

    Attributes
    ----------
    path : str
    raw_path, query : bytes
    answer : callable
        From scope and body: the status, and everything after the answer's date as it is sent;
        None when the request has to go ASGI's way.
    """

    path: str
    raw_path: bytes
    query: bytes
    answer: Callable[[Scope, bytes], tuple[int, bytes] | None]


#: By request target as it is sent; of POST requests alone.
Prompt = Mapping[bytes, Target]


def prompt_answers(
    path: str,
    queries: tuple[bytes, ...],
    answer: Callable[[Scope, bytes], tuple[int, bytes] | None],
) -> Prompt:
    """One path with several queries.

    >>> list(prompt_answers("/predict", (b"", b"explain=true"), lambda scope, body: None))
    [b'/predict', b'/predict?explain=true']
    """
    raw = path.encode("ascii")
    targets = [Target(path, raw, query, answer) for query in queries]
    return {raw + b"?" * bool(each.query) + each.query: each for each in targets}


class PromptConnection(PacedConnection):
    """uvicorn's connection that answers some requests by itself.

    Parameters
    ----------
    prompt : Prompt
    options
        Of uvicorn.

    Attributes
    ----------
    answered : Scope or None
        Of the latest request, where it was answered here.
    """

    answered: Any = None

    def __init__(self, prompt: Prompt, **options: Any) -> None:
        super().__init__(**options)
        self._prompt = prompt
        #: The request whose body is awaited, within one piece of what arrives.
        self._held: Target | None = None
        self._parts: list[bytes] = []
        self._dated: Any = None
        self._date = b""

    def on_headers_complete(self) -> None:
        """Wait for the body of a request that may be answered here."""
        self._barren = 0
        target = self._prompt.get(self.url)
        if target is None or not self._usual():
            super().on_headers_complete()
        else:
            self._held = target
        # What follows the body, trailers, must not count among the headers.
        self.headers = []

    def _usual(self) -> bool:
        cycle, parser = self.cycle, self.parser
        return (
            (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused
            and parser.get_method() == b"POST"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and parser.get_http_version() == "1.1"
            and not self.transport.is_closing()
        )

    def on_body(self, body: bytes) -> None:
        """Keep the body of a request that may be answered here."""
        if self._held is None:
            super().on_body(body)
        else:
            self._barren = 0
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Answer a request that has come whole."""
        target = self._held
        if target is None:
            super().on_message_complete()
            return
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        scope: Any = self.scope
        scope["method"], scope["path"], scope["raw_path"] = "POST", target.path, target.raw_path
        scope["query_string"] = target.query
        answer = target.answer(scope, body)
        if answer is None:
            self._release()
            super().on_message_complete()
            return
        self._held = None
        self._parts = []  # a connection that waits keeps no body
        self.answered = scope
        self.server_state.total_requests += 1
        status, rest = answer
        self.transport.write(b"".join((STATUS_LINE[status], self._default_headers(), rest)))

    def data_received(self, data: bytes) -> None:
        """Take what arrives; a request that is not whole then goes ASGI's way."""
        super().data_received(data)
        if self._held is not None and not self.flow.rest:
            self._release()

    def _go_on(self) -> None:
        super()._go_on()
        if self._held is not None and not self.flow.rest:
            self._release()

    def _release(self) -> None:
        """Let ASGI's way have what was held."""
        self._held = None
        parts, self._parts = self._parts, []
        if self.transport.is_closing():
            return
        super().on_headers_complete()
        for part in parts:
            super().on_body(part)

    def _default_headers(self) -> bytes:
        """The server's own headers; uvicorn makes a new list of them each second, for the date."""
        current = self.server_state.default_headers
        if current is not self._dated:
            self._dated = current
            self._date = b"".join(name + b": " + value + b"\r\n" for name, value in current)
        return self._date
