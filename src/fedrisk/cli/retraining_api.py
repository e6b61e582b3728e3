"""Retrainings over HTTP: what waits for a person, and the person's answer.

Behind the scope ``admin``, and only where the API has keys: an answer is kept with the name of the
key that gave it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, request_response

from fedrisk.errors import UsageError
from fedrisk.serving.access import Guard, Guarded

if TYPE_CHECKING:
    # What judges and retrains is loaded with the first question, not with the server.
    from fedrisk.retraining.loop import Loop

PATH = "/retrainings"
#: Who may look and answer.
SCOPE = "admin"
#: Bytes of an answer, and characters of its reason.
LONGEST_BODY, LONGEST_REASON = 10_000, 2_000


class Retrainings:
    """The endpoints.

    Parameters
    ----------
    url : str
        Database of the retrainings.
    clock : callable
        The time, with its zone.
    """

    def __init__(self, url: str, clock: Callable[[], datetime]) -> None:
        self._url = url
        self._clock = clock

    async def listed(self, _: Request) -> Response:
        """``GET /retrainings``: the newest."""
        found = await self._ask(lambda store: store.listed())
        return _json({"retrainings": [_summary(each) for each in found]})

    async def told(self, request: Request) -> Response:
        """``GET /retrainings/{id}``: one, with every step."""
        identifier = request.path_params["id"]
        loop = await self._ask(lambda store: store.find(identifier))
        if loop is None:
            raise HTTPException(404, "there is no such retraining")
        steps = await self._ask(lambda store: store.transitions(identifier))
        return _json(_summary(loop) | {"steps": [each.document() for each in steps]})

    async def approve(self, request: Request) -> Response:
        """``POST /retrainings/{id}/approve``."""
        return await self._answer(request, approved=True)

    async def reject(self, request: Request) -> Response:
        """``POST /retrainings/{id}/reject``."""
        return await self._answer(request, approved=False)

    async def _answer(self, request: Request, *, approved: bool) -> Response:
        from fedrisk.retraining.loop import Approval

        reason = _reason(await _body(request))
        by = f"key {request.scope['key_id']}"
        approval = Approval(approved, by, self._clock(), reason)
        identifier = request.path_params["id"]
        loop = await self._ask(lambda store: store.answer(identifier, approval))
        return _json(_summary(loop))

    async def _ask(self, question: Callable[[Any], Any]) -> Any:
        """Ask the database, in a thread; it is opened for each question, for they are rare."""

        def ask() -> Any:
            from fedrisk.retraining.loop_store import LoopStore

            store = LoopStore(self._url)
            try:
                return question(store)
            finally:
                store.close()

        return await asyncio.to_thread(ask)


def add_retrainings(
    app: FastAPI, url: str, guard: Guard | None, clock: Callable[[], datetime]
) -> None:
    """Add the paths to an application; without keys there are none.

    Parameters
    ----------
    app : FastAPI
    url : str
        Database of the retrainings.
    guard : Guard or None
    clock : callable
        The time, with its zone.
    """
    if guard is None:
        return
    made = Retrainings(url, clock)
    for path, method, endpoint in (
        (PATH, "GET", made.listed),
        (PATH + "/{id}", "GET", made.told),
        (PATH + "/{id}/approve", "POST", made.approve),
        (PATH + "/{id}/reject", "POST", made.reject),
    ):
        guarded = Guarded(request_response(endpoint), guard, SCOPE)
        app.router.routes.append(Route(path, guarded, methods=[method]))


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LONGEST_BODY:
            raise HTTPException(413, f"the body is too large: at most {LONGEST_BODY} bytes")
    return body


def _reason(body: bytes) -> str:
    """Why somebody answers so; an empty body gives no reason."""
    if not body.strip():
        return ""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UsageError("the body is not valid JSON") from None
    reason = document.get("reason", "") if isinstance(document, dict) else None
    if not isinstance(reason, str) or set(document) - {"reason"}:
        raise UsageError('the body is an object with no key but "reason", a text')
    if len(reason) > LONGEST_REASON:
        raise UsageError(f"a reason has at most {LONGEST_REASON} characters")
    return reason


def _summary(loop: Loop) -> dict[str, Any]:
    return {
        "id": loop.id,
        "model": loop.scope,
        "trigger": loop.trigger,
        "created": loop.created.isoformat(),
        "state": loop.state,
        "reason": loop.reason,
        "approval": None if loop.approval is None else loop.approval.document(),
    }


def _json(document: object) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")
