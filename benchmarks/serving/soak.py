"""Keep a server busy with everything at once, and watch what it holds.

    python benchmarks/serving/soak.py [--minutes 10] [--workers 1] [--megabytes 8]

Callers with a key ask for single rows, explanations, batches as JSON, NDJSON and CSV, tensors, and
send what must be refused; others come without a key, leave in the middle of a request, scrape the
figures and ask the probes; now and then another version takes over. What is counted is captured.
Every answer is looked at; 503 from a server that is late is counted apart. Memory, open files and
threads of the serving processes are noted. Where one of them grows over the last half by more than
the bound, an answer is not what it must be, or more than one in a hundred was turned away, the exit
code is 1. Prints a table. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from loader import Answer, Caller, request_bytes
from real_server import STUDY, Running, Version, add_key, serving

from fedrisk.home import Home

#: Rows of a batch.
ROWS = 500
#: Seconds between two samples, and between two swaps.
SAMPLE, SWAP = 2.0, 7.0
CALLERS = 8
#: Part of the requests that a late server may turn away; on a machine of its own there are none.
SHED = 0.01
#: Open files and threads that may come and go.
SLACK = 8

#: What is asked: how often, the request, and whether an answer is as it must be.
Question = tuple[str, int, bytes, Callable[[Answer], bool]]


@dataclass(frozen=True)
class Sample:
    """What the serving processes hold together: resident megabytes, open files, threads."""

    second: float
    memory: float
    files: int
    threads: int


@dataclass
class Record:
    """What happened."""

    asked: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    shed: int = 0
    samples: list[Sample] = field(default_factory=list)
    swaps: int = 0


def serving_processes(parent: int) -> list[int]:
    """The process itself and its workers; those that score long batches come and go."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [parent, *(int(child) for child in children if is_worker(child))]


def is_worker(process: str) -> bool:
    """Whether a process serves; one that has just ended does not."""
    try:
        return b"--until-input-closes" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False


def sample(running: Running, second: float) -> Sample:
    """Look at the serving processes."""
    memory, files, threads = 0.0, 0, 0
    for process in serving_processes(running.process.pid):
        place = Path(f"/proc/{process}")
        words = (line.split() for line in (place / "status").read_text().splitlines())
        status = {word[0]: word[1] for word in words if len(word) > 1}
        memory += int(status["VmRSS:"]) / 1024
        threads += int(status["Threads:"])
        files += len(list((place / "fd").iterdir()))
    return Sample(second, memory, files, threads)


def scored(versions: list[Version], at: int) -> Callable[[Answer], bool]:
    """Whether an answer is, to the last bit, what the version that it names gives for a row."""
    risks = {version.name: version.risks([versions[0].rows[at]])[0] for version in versions}

    def right(answer: Answer) -> bool:
        if answer.status != 200:
            return False
        told = json.loads(answer.body)
        return bool(told["risk_score"] == risks[told["model"]["version"]])

    return right


def status(*expected: int) -> Callable[[Answer], bool]:
    """Whether an answer has one of these statuses."""
    return lambda answer: answer.status in expected


def many(rows: int, lines: bool) -> Callable[[Answer], bool]:
    """Whether a batch's answer has its rows: lines, or a list in JSON."""

    def right(answer: Answer) -> bool:
        if answer.status != 200:
            return False
        if lines:
            return answer.body.rstrip(b"\n").count(b"\n") + 1 == rows
        return len(json.loads(answer.body)["predictions"]) == rows

    return right


def tensors(row: dict[str, object]) -> dict[str, object]:
    """A row for the Open Inference Protocol."""
    kinds = {f.name: "FP64" for f in STUDY.numbers}
    inputs = [
        {"name": n, "shape": [1], "datatype": kinds.get(n, "BYTES"), "data": [v]}
        for n, v in row.items()
        if v is not None
    ]
    return {"inputs": inputs}


def questions(versions: list[Version], key: str) -> list[Question]:
    """Everything that is asked."""
    rows = versions[0].rows
    body = json.dumps(rows[0]).encode()
    batch = [rows[i % len(rows)] for i in range(ROWS)]
    names = list(rows[0])
    lines = b"\n".join(json.dumps(row).encode() for row in batch)
    table = "\n".join(
        [",".join(names)]
        + [",".join("" if row[n] is None else str(row[n]) for n in names) for row in batch]
    )

    def post(path: str, content: bytes, kind: str = "application/json") -> bytes:
        return request_bytes(path, content, kind, key)

    infer = f"/v2/models/{STUDY.name}/infer"
    known: list[Question] = [
        (f"single {at}", 6, post("/predict", json.dumps(row).encode()), scored(versions, at))
        for at, row in enumerate(rows[:5])
    ]
    return [
        *known,
        ("explained", 6, post("/predict?explain=true", body), scored(versions, 0)),
        ("JSON batch", 1, post("/predict/batch", json.dumps(batch).encode()), many(ROWS, False)),
        (
            "NDJSON batch",
            1,
            post("/predict/batch", lines, "application/x-ndjson"),
            many(ROWS, True),
        ),
        ("CSV batch", 2, post("/predict/batch", table.encode(), "text/csv"), many(ROWS + 1, True)),
        ("tensors", 2, post(infer, json.dumps(tensors(rows[0])).encode()), status(200)),
        ("no JSON", 2, post("/predict", b'{"heart_rate": 7'), status(400)),
        (
            "wrong value",
            2,
            post("/predict", json.dumps({**rows[0], "age": 1e9}).encode()),
            status(422),
        ),
        (
            "unknown field",
            1,
            post("/predict", json.dumps({**rows[0], "x": 1}).encode()),
            status(422),
        ),
        ("nesting", 1, post("/predict/batch", b"[" * (1 << 20)), status(400)),
        ("too large", 1, post("/predict", b" " * ((1 << 20) + 1)), status(413)),
        ("another type", 1, post("/predict", body, "text/plain"), status(415)),
        ("no FHIR", 1, post("/fhir/RiskAssessment", b'{"resourceType": "Bundle"}'), status(400)),
        ("no key", 2, request_bytes("/predict", body), status(401)),
        ("a false key", 1, request_bytes("/predict", body, key="frk_00_00"), status(401)),
        ("no path", 1, request_bytes(f"/no/{time.time()}", body), status(404)),
        ("figures", 1, request_bytes("/metrics", b"", key=key, method="GET"), status(200)),
        ("probe", 1, request_bytes("/ready", b"", method="GET"), status(200)),
        ("model", 1, request_bytes("/model", b"", key=key, method="GET"), status(200)),
    ]


async def call(
    running: Running, asked: list[Question], record: Record, end: float, seed: int
) -> None:
    """Ask one question after the other, drawn at random, until the end."""
    draw = random.Random(seed)
    weights = [weight for _, weight, _, _ in asked]
    caller = Caller(running.host, running.port)
    while time.monotonic() < end:
        name, _, request, right = draw.choices(asked, weights)[0]
        record.asked[name] += 1
        try:
            answer = await caller.ask(request)
        except (OSError, EOFError, TimeoutError) as error:
            record.wrong[f"{name}: {type(error).__name__}"] += 1
            continue
        if answer.status == 503 and b"behind" in answer.body:
            record.shed += 1
        elif not right(answer):
            record.wrong[f"{name}: {answer.status}"] += 1
        await asyncio.sleep(draw.random() / 100)
    caller.close()


async def leave_early(running: Running, record: Record, end: float) -> None:
    """Go away in the middle of a request, again and again."""
    whole = request_bytes("/predict", b"{}" + b" " * 5000)
    draw = random.Random(0)
    while time.monotonic() < end:
        _, writer = await asyncio.open_connection(running.host, running.port)
        writer.write(whole[: draw.randrange(len(whole))])
        await asyncio.sleep(0.05)
        writer.close()
        record.asked["left early"] += 1


async def swap(home: Home, versions: list[Version], record: Record, end: float) -> None:
    """Let the versions take turns."""
    while time.monotonic() + SWAP < end:
        await asyncio.sleep(SWAP)
        record.swaps += 1
        await asyncio.to_thread(versions[record.swaps % len(versions)].put, home)


async def watch(running: Running, record: Record, end: float) -> None:
    """Sample until the end."""
    began = time.monotonic()
    while time.monotonic() < end:
        await asyncio.sleep(SAMPLE)
        record.samples.append(sample(running, time.monotonic() - began))


async def soak(
    home: Home, running: Running, versions: list[Version], key: str, seconds: float
) -> Record:
    """Everything at once."""
    record, end = Record(), time.monotonic() + seconds
    asked = questions(versions, key)
    await asyncio.gather(
        *(call(running, asked, record, end, seed) for seed in range(CALLERS)),
        leave_early(running, record, end),
        swap(home, versions, record, end),
        watch(running, record, end),
    )
    return record


def growth(values: list[float]) -> float:
    """How much the end of the last half is above its beginning: medians of its outer thirds."""
    half = values[len(values) // 2 :]
    third = max(1, len(half) // 3)
    return statistics.median(half[-third:]) - statistics.median(half[:third])


def print_table(record: Record) -> None:
    """What was held over time, in ten lines, and what was asked."""
    print("| second | resident MB | open files | threads |")
    print("| ---: | ---: | ---: | ---: |")
    step = max(1, len(record.samples) // 10)
    for each in record.samples[::-1][::step][::-1]:
        print(f"| {each.second:.0f} | {each.memory:.1f} | {each.files} | {each.threads} |")
    asked = ", ".join(f"{name} {number:,}" for name, number in sorted(record.asked.items()))
    print(f"\n{record.asked.total():,} requests, {record.swaps} swaps: {asked}")


def main() -> None:
    """Soak, print and judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--megabytes", type=float, default=8, help="growth allowed, a worker")
    given = parser.parse_args()
    versions = [Version.fit("1", 7), Version.fit("2", 8)]
    with TemporaryDirectory() as temporary:
        home = Home(Path(temporary) / "home").prepare()
        versions[0].put(home)
        key = add_key(home)
        options = ("--workers", str(given.workers))
        # A window a minute: windows are closed, stored and begun anew while it lasts.
        changes = {"FEDRISK_CAPTURE_MINUTES": "1", "FEDRISK_AUDIT": str(Path(temporary) / "audit")}
        with serving(home, Path(temporary) / "log", *options, **changes) as running:
            record = uvloop.run(soak(home, running, versions, key, given.minutes * 60))
    print_table(record)
    memory = growth([each.memory for each in record.samples])
    files = growth([float(each.files) for each in record.samples])
    threads = growth([float(each.threads) for each in record.samples])
    print(
        f"growth over the last half: {memory:+.1f} MB, {files:+.0f} files, {threads:+.0f} threads"
    )
    print(f"unexpected answers: {dict(record.wrong) or 'none'}; turned away: {record.shed}")
    grown = memory > given.megabytes * given.workers or max(files, threads) > SLACK
    late = record.shed > SHED * record.asked.total()
    if grown or late or record.wrong or not record.swaps:
        sys.exit(1)


if __name__ == "__main__":
    main()
