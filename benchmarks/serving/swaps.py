"""Swap the champion again and again while callers ask as fast as they can.

    python benchmarks/serving/swaps.py [--swaps 1000] [--connections 16]

Two versions take turns in the cache of a real server, written as the registry's follower writes
them. A swap is done when `/ready` names the version. Every answer is looked at: its status, and
whether its score is, to the last bit, what the version that it names gives for that row. Ends with
exit code 1 where one is not. Prints a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from loader import Caller, request_bytes
from real_server import Running, Version, serving

from fedrisk.home import Home

#: Seconds between two looks of the server at its cache.
LOOK = 0.01
#: Seconds that a swap may take.
PATIENCE = 60.0


@dataclass
class Record:
    """What was answered."""

    going: bool = True
    answers: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    mixed: int = 0
    longest: float = 0.0
    by_version: dict[str, int] = field(default_factory=dict)
    swaps: list[float] = field(default_factory=list)


async def ask_on(
    running: Running, requests: list[bytes], risks: dict[str, list[float]], record: Record
) -> None:
    """Ask for one row after the other, and judge each answer."""
    caller = Caller(running.host, running.port)
    for number in count():
        if not record.going:
            break
        at = number % len(requests)
        began = time.perf_counter()
        try:
            answer = await caller.ask(requests[at])
        except (OSError, EOFError, TimeoutError) as error:
            record.failed[type(error).__name__] += 1
            continue
        record.longest = max(record.longest, time.perf_counter() - began)
        record.answers += 1
        if answer.status != 200:
            record.failed[f"{answer.status} {json.loads(answer.body).get('error', '')}"] += 1
            continue
        told = json.loads(answer.body)
        version = told["model"]["version"]
        record.by_version[version] = record.by_version.get(version, 0) + 1
        record.mixed += told["risk_score"] != risks[version][at]
    caller.close()


def swap_on(home: Home, running: Running, versions: list[Version], swaps: int) -> list[float]:
    """Let the versions take turns; the seconds of each swap until the new one serves."""
    took = []
    for number in range(1, swaps + 1):
        version = versions[number % len(versions)]
        began = time.perf_counter()
        version.put(home)
        while running.version() != version.name:
            if time.perf_counter() - began > PATIENCE:
                raise SystemExit(f"version {version.name} does not serve: {running.ready()}")
            time.sleep(LOOK)
        took.append(time.perf_counter() - began)
    return took


async def load(
    home: Home, running: Running, versions: list[Version], swaps: int, connections: int
) -> Record:
    """Swap and ask at the same time."""
    rows = [row for version in versions for row in version.rows]
    requests = [request_bytes("/predict", json.dumps(row).encode()) for row in rows]
    risks = {version.name: version.risks(rows) for version in versions}
    record = Record()
    asking = [
        asyncio.create_task(ask_on(running, requests, risks, record)) for _ in range(connections)
    ]
    try:
        record.swaps = await asyncio.to_thread(swap_on, home, running, versions, swaps)
    finally:
        record.going = False
        await asyncio.gather(*asking)
    return record


def main() -> None:
    """Swap, ask and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    versions = [Version.fit("1", 7), Version.fit("2", 8)]
    with TemporaryDirectory() as temporary:
        home = Home(Path(temporary) / "home").prepare()
        versions[0].put(home)
        log = Path(temporary) / "log"
        with serving(home, log, FEDRISK_CACHE_SECONDS=str(LOOK)) as running:
            began = time.perf_counter()
            record = uvloop.run(load(home, running, versions, given.swaps, given.connections))
            seconds = time.perf_counter() - began
    middle = sorted(record.swaps)[len(record.swaps) // 2] * 1000
    print(
        "| swaps | answers | answers/s | failed | of a half-loaded model | swap ms | longest ms |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    print(
        f"| {len(record.swaps):,} | {record.answers:,} | {record.answers / seconds:,.0f} "
        f"| {record.failed.total()} | {record.mixed} | {middle:.0f} | {record.longest * 1000:.0f} |"
    )
    print(f"answers by version: {record.by_version}", file=sys.stderr)
    for reason, times in record.failed.most_common(5):
        print(f"failed {times} times: {reason}", file=sys.stderr)
    if record.failed or record.mixed or len(record.by_version) < len(versions):
        sys.exit(1)


if __name__ == "__main__":
    main()
