"""The least that a server can do: give the body back. What the others are measured by."""

from __future__ import annotations

from typing import Any


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Echo."""
    if scope["type"] == "lifespan":
        for _ in range(2):
            event = (await receive())["type"]
            await send({"type": f"{event}.complete"})
        return
    message = await receive()
    body = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
