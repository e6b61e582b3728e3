"""What the guard costs a request, in microseconds: a key, and each of its limits.

    python benchmarks/guard.py [--requests 20000]

The least of several turns, against an endpoint without a guard.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from fedrisk.serving.access.guard import Guard, Guarded
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.access.rates import Rates
from fedrisk.serving.access.running import Running

TURNS = 9
CASES: dict[str, dict[str, Any]] = {
    "a key": {},
    "a key that ends": {"expires": datetime.now(UTC) + timedelta(days=1)},
    "requests at the same time": {"concurrent": 100},
    "a rate": {"per_second": 1e6, "burst": 1_000_000},
    "both": {"per_second": 1e6, "burst": 1_000_000, "concurrent": 100},
}


async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nothing."""


def seconds(app: ASGIApp, header: bytes, requests: int) -> float:
    """Seconds that a request takes."""
    scope = {"headers": [(b"host", b"example.org"), (b"authorization", header)]}

    async def ask() -> None:
        for _ in range(requests):
            await app(scope, None, None)  # type: ignore[arg-type]

    began = perf_counter()
    asyncio.run(ask())
    return (perf_counter() - began) / requests


def cost(folder: Path, limits: dict[str, Any], requests: int) -> float:
    """Microseconds that the guard adds."""
    key, secret = make_key("app", ["predict"], datetime.now(UTC), **limits)
    write_keys(folder / "keys.json", KeyRing({key.id: key}))
    header = f"Bearer {secret}".encode()
    with Rates(folder / "rates", monotonic) as rates, Running(folder / "n", monotonic) as running:
        guard = Guard(folder / "keys.json", rates, lambda: datetime.now(UTC), running=running)
        guarded = Guarded(endpoint, guard, "predict")
        turns = [
            (seconds(guarded, header, requests), seconds(endpoint, header, requests))
            for _ in range(TURNS)
        ]
    return 1e6 * (min(turn[0] for turn in turns) - min(turn[1] for turn in turns))


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=20_000)
    requests = parser.parse_args().requests
    with TemporaryDirectory() as folder:
        for name, limits in CASES.items():
            print(f"{name:26} {cost(Path(folder), limits, requests):6.2f} us")


if __name__ == "__main__":
    main()
