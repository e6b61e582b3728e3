"""Ask a server over connections that stay open, and look at every answer.

    python benchmarks/serving/loader.py HOST PORT SECONDS CONNECTIONS FILE

As a program, where `wrk` is absent: a closed loop with one whole HTTP/1.1 request from ``FILE``;
prints JSON with requests a second and p99 in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import uvloop

#: Seconds that an answer may take before it counts as none.
PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    status: int
    body: bytes


def request_bytes(
    path: str, body: bytes, kind: str = "application/json", key: str = "", method: str = "POST"
) -> bytes:
    """A whole HTTP/1.1 request; ``key`` is an API key's secret."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
    head += f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


class Caller:
    """One connection, opened anew after the server has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Answer:
        """Send a request and read the whole answer.

        Raises
        ------
        OSError, EOFError, TimeoutError
            When there is none.
        """
        async with asyncio.timeout(PATIENCE):
            if self._streams is None:
                # A batch's answer is longer than asyncio's usual buffer.
                self._streams = await asyncio.open_connection(*self._place, limit=1 << 22)
            reader, writer = self._streams
            try:
                writer.write(request)
                return await self._answer(reader)
            except BaseException:
                self.close()
                raise

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, length = head.partition(b"content-length: ")
        if length:
            body = await reader.readexactly(int(length.split(b"\r\n")[0]))
        else:
            body = await _chunks(reader) if b"transfer-encoding: chunked" in head else b""
        if b"connection: close" in head:
            self.close()
        return Answer(int(head.split(b" ", 2)[1]), body)

    def close(self) -> None:
        """Give the connection up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask_on(
    host: str, port: int, request: bytes, going: Callable[[], bool], took: list[float]
) -> int:
    """Ask the same again and again; how many answers were no 200."""
    caller = Caller(host, port)
    errors = 0
    while going():
        began = perf_counter()
        errors += (await caller.ask(request)).status != 200
        took.append(perf_counter() - began)
    caller.close()
    return errors


async def load(host: str, port: int, seconds: float, connections: int, request: bytes) -> None:
    """Ask and print."""
    took: list[float] = []
    end = perf_counter() + seconds
    asked = [
        ask_on(host, port, request, lambda: perf_counter() < end, took) for _ in range(connections)
    ]
    errors = sum(await asyncio.gather(*asked))
    p99 = float(np.percentile(took, 99)) * 1000
    print(json.dumps({"rate": len(took) / seconds, "p99": p99, "errors": errors}))


def main() -> None:
    """Read the arguments and load the server."""
    host, port, seconds, connections, file = sys.argv[1:]
    request = Path(file).read_bytes()
    uvloop.run(load(host, int(port), float(seconds), int(connections), request))


if __name__ == "__main__":
    main()
