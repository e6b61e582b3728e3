"""Ask at a steady rate whatever the answers do, and measure from when each question was due.

    python benchmarks/serving/open_loop.py HOST PORT RATE SECONDS FILE

``FILE`` holds one whole HTTP/1.1 request. A loader that waits for an answer before it asks again
leaves out what callers would have waited meanwhile (coordinated omission); this one does not.
Prints JSON: requests, errors, and p50, p99 and p99.9 in milliseconds.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import uvloop

CONNECTIONS = 64


async def answer_of(reader: asyncio.StreamReader) -> bytes:
    """The first line of one answer, whose body is read too."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return head.split(b"\r\n", 1)[0]


async def work(
    host: str, port: int, request: bytes, due: asyncio.Queue[float], took: list[float]
) -> int:
    """Ask whenever a question is due; how many answers were no 200."""
    reader, writer = await asyncio.open_connection(host, port)
    errors = 0
    while (at := await due.get()) >= 0:
        writer.write(request)
        errors += b" 200 " not in await answer_of(reader)
        took.append(perf_counter() - at)
    writer.close()
    return errors


async def load(host: str, port: int, rate: float, seconds: float, request: bytes) -> None:
    """Ask and print."""
    due: asyncio.Queue[float] = asyncio.Queue()
    took: list[float] = []
    tasks = [asyncio.create_task(work(host, port, request, due, took)) for _ in range(CONNECTIONS)]
    begin = perf_counter()
    for number in range(int(rate * seconds)):
        at = begin + number / rate
        if (wait := at - perf_counter()) > 0:
            await asyncio.sleep(wait)
        due.put_nowait(at)
    for _ in tasks:
        due.put_nowait(-1.0)
    errors = sum(await asyncio.gather(*tasks))
    p50, p99, p999 = (np.percentile(took, [50, 99, 99.9]) * 1000).tolist()
    told = {"requests": len(took), "errors": errors, "p50": p50, "p99": p99, "p999": p999}
    print(json.dumps(told))


def main() -> None:
    """Read the arguments and load the server."""
    host, port, rate, seconds, file = sys.argv[1:]
    request = Path(file).read_bytes()
    uvloop.run(load(host, int(port), float(rate), float(seconds), request))


if __name__ == "__main__":
    main()
