"""How many predictions a second one server process answers, and how long one takes.

    python benchmarks/predict.py [--seconds 5] [--connections 16] [--explain]

The client runs in this process, on another core: raw HTTP/1.1 over asyncio sockets, one request at
a time on each connection. Below it, the same work without HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import score as scoring_benchmark

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.registry.cache import write_model
from fedrisk.serving.process import start_server
from fedrisk.serving.request import RequestValidator
from fedrisk.serving.scoring import Scorer
from fedrisk.study import find_study


async def ask(host: str, port: int, request: bytes, end: float, took: list[float]) -> None:
    """Send the request again and again until the end; note the seconds that each answer took."""
    reader, writer = await asyncio.open_connection(host, port)
    while perf_counter() < end:
        began = perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(head.decode())
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(perf_counter() - began)
    writer.close()


async def load(host: str, port: int, request: bytes, seconds: float, connections: int) -> None:
    """Load the server and print what it did."""
    for round_seconds in (1.0, seconds):  # the first is warm-up
        took: list[float] = []
        end = perf_counter() + round_seconds
        tasks = [ask(host, port, request, end, took) for _ in range(connections)]
        await asyncio.gather(*tasks)
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    print(f"{len(took) / seconds:,.0f} requests/s over {connections} connections")
    print(f"latency p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def without_http(body: bytes, validator: RequestValidator, scorer: Scorer) -> None:
    """Print the microseconds of validation and of scoring."""
    row = validator.row(body)
    for name, work in (
        ("validate", lambda: validator.row(body)),
        ("score", lambda: scorer.risk(row)),
        ("explain", lambda: scorer.explain([row])),
    ):
        began = perf_counter()
        for _ in range(10_000):
            work()
        print(f"{name}: {(perf_counter() - began) * 100:.2f} us")


def main() -> None:
    """Print requests a second, latency, and the parts of the work."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--explain", action="store_true")
    given = parser.parse_args()
    study = find_study("air-wearables")
    model, bins = scoring_benchmark.fit(study, np.random.default_rng(7))
    checks = make_checks(model)
    body = json.dumps(checks[0]["row"]).encode()
    with TemporaryDirectory() as temporary:
        home = Home(Path(temporary) / "home").prepare()
        identity = {"name": study.name, "version": "1", "run_id": "benchmark"}
        write_model(home.champion, model.document(), bins, checks, **identity)
        server = start_server(home, "127.0.0.1", 0, Path(temporary) / "log")
        try:
            server.wait_ready()
            host, _, port = server.url.removeprefix("http://").partition(":")
            path = "/predict?explain=true" if given.explain else "/predict"
            head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
            asyncio.run(load(host, int(port), request, given.seconds, given.connections))
        finally:
            server.stop()
    without_http(body, RequestValidator(study), Scorer(model))


if __name__ == "__main__":
    main()
