"""Measure this server beside a bare echo, a plain FastAPI handler and MLServer, on the same cores.

    python benchmarks/serving/side_by_side.py [--seconds 5] [--rounds 3] [--mlserver]

The server under test has core 0, the loader core 1: `wrk` with 16 connections, then an open loop at
half the echo's rate (or .7 of a server's own rate, where that is less). Servers take turns, so that
a noisy machine is noisy for all of them; ratios are medians over rounds, each to the echo of its
own round. One worker; validation, metrics and capture are on. Below the table: rows a second of a
CSV batch, seconds from the start of the process to ready, resident memory. ``--mlserver`` installs
MLServer in a scratch environment of its own. Linux, with `taskset`; without `wrk` a slower loader
of our own takes its place for all of them. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import rival
from loader import request_bytes
from real_server import Version, add_key

from fedrisk.federation.engines.processes import free_ports
from fedrisk.home import Home

HERE = Path(__file__).parent
CONNECTIONS = 16
#: Seconds that a server may take to start, and a measurement beyond its own time.
PATIENCE = 90.0
#: Rows of a CSV batch, the most that one request may have.
ROWS = 10_000
#: Requests a second of MLServer that are taken where it cannot be installed.
MLSERVER_RATE = 598.0


class UnmeasurableError(Exception):
    """A server that does not start, or answers with errors; the others are measured still."""


@dataclass
class Server:
    """One server under test.

    Attributes
    ----------
    name : str
    command : list of str
        With ``PORT`` in the place of the port.
    path : str
        To POST to.
    probe : str
        Answers 200 once it serves.
    body : bytes
    folder : Path
        To start it in.
    kind : str
        Content type of the body.
    key : str
        Secret of an API key; empty where none is needed.
    port : int
        0 for a free one.
    """

    name: str
    command: list[str]
    path: str
    probe: str
    body: bytes
    folder: Path
    kind: str = "application/json"
    key: str = ""
    port: int = 0
    rates: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    open_p99: list[float] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    connections: int = CONNECTIONS
    #: Why it could not be measured.
    failed: str = ""

    @property
    def request(self) -> bytes:
        """A whole HTTP request."""
        return request_bytes(self.path, self.body, self.kind, self.key)


@dataclass
class Trial:
    """A server that runs on a port."""

    server: Server
    port: int
    process: subprocess.Popen[bytes]
    scratch: Path

    def closed_loop(self, seconds: float) -> tuple[float, float]:
        """Requests a second and p99 in milliseconds."""
        return self._wrk(seconds) if shutil.which("wrk") else self._loader(seconds)

    def _wrk(self, seconds: float) -> tuple[float, float]:
        script, body = self.scratch / "post.lua", self.scratch / "body"
        body.write_bytes(self.server.body)
        heads = {"Content-Type": self.server.kind}
        if self.server.key:
            heads["Authorization"] = f"Bearer {self.server.key}"
        told = "\n".join(f'wrk.headers["{name}"]="{value}"' for name, value in heads.items())
        script.write_text(f"wrk.method='POST'\n{told}\nwrk.body=io.open('{body}'):read('*a')\n")
        url = f"http://127.0.0.1:{self.port}{self.server.path}"
        # wrk takes whole seconds.
        lasting = f"-d{max(1, round(seconds))}s"
        words = [
            "wrk",
            "-t1",
            f"-c{self.server.connections}",
            lasting,
            "--timeout",
            "10s",
            "--latency",
        ]
        said = loaded([*words, "-s", str(script), url], seconds)
        if "Non-2xx" in said or "Socket errors" in said:
            raise UnmeasurableError(f"{self.server.name} answers with errors:\n{said}")
        found = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", said)
        rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
        if found is None or rate is None:
            raise UnmeasurableError(said)
        unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
        return float(rate[1]), float(found[1]) * unit

    def _loader(self, seconds: float) -> tuple[float, float]:
        told = self._told(
            "loader.py", f"{seconds:g}", str(self.server.connections), seconds=seconds
        )
        return told["rate"], told["p99"]

    def open_loop(self, rate: float, seconds: float) -> float:
        """p99 in milliseconds at a steady rate."""
        return self._told("open_loop.py", f"{rate:.0f}", f"{seconds:g}", seconds=seconds)["p99"]

    def _told(self, program: str, *words: str, seconds: float) -> dict[str, float]:
        file = self.scratch / "request"
        file.write_bytes(self.server.request)
        command = [sys.executable, str(HERE / program), "127.0.0.1", str(self.port), *words]
        told: dict[str, float] = json.loads(loaded([*command, str(file)], seconds))
        if told["errors"]:
            raise UnmeasurableError(f"{self.server.name}: {told['errors']:.0f} errors by {program}")
        return told

    def memory(self) -> float:
        """Resident megabytes of the server's processes."""
        return sum(map(resident, [self.process.pid, *children(self.process.pid)]))


def loaded(words: list[str], seconds: float) -> str:
    """What a loader on core 1 prints."""
    try:
        done = subprocess.run(
            ["taskset", "-c", "1", *words],
            capture_output=True,
            text=True,
            timeout=seconds + PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnmeasurableError(f"{words[0]} does not end") from None
    if done.returncode:
        raise UnmeasurableError(f"{words[0]} fails:\n{done.stdout}{done.stderr}")
    return done.stdout


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    text = Path(f"/proc/{process}/task/{process}/children").read_text()
    return [int(child) for child in text.split()]


def resident(process: int) -> float:
    """Megabytes."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


@contextmanager
def started(server: Server, scratch: Path) -> Iterator[Trial]:
    """The server on core 0, ended afterwards whatever happens."""
    port = server.port or free_ports(1)[0]
    began = time.perf_counter()
    with (scratch / "server.log").open("wb") as log:
        process = subprocess.Popen(
            ["taskset", "-c", "0", *(word.replace("PORT", str(port)) for word in server.command)],
            cwd=server.folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        )
    try:
        wait(server, port, process, scratch / "server.log")
        server.start_seconds.append(time.perf_counter() - began)
        yield Trial(server, port, process, scratch)
    finally:
        end(process)


def wait(server: Server, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server serves."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{server.probe}", timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
            time.sleep(0.01)
        except OSError:
            time.sleep(0.01)
    raise UnmeasurableError(f"{server.name} does not answer:\n{log.read_text()[-2000:]}")


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server and all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(20)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def uvicorn(app: str) -> list[str]:
    """A server of one ASGI application, as fedrisk starts its own."""
    command = [sys.executable, "-m", "uvicorn", app, "--port", "PORT"]
    return [*command, "--no-access-log", "--log-level", "error"]


def table(version: Version) -> bytes:
    """A CSV batch of the most rows that are taken."""
    names = list(version.rows[0])
    lines = [
        ",".join("" if row[name] is None else str(row[name]) for name in names)
        for row in version.rows
    ]
    return "\n".join([",".join(names), *(lines[i % len(lines)] for i in range(ROWS))]).encode()


def servers(scratch: Path) -> tuple[list[Server], Server]:
    """Those that answer single rows, the echo first; and the one that is asked batches."""
    version = Version.fit("1", 7)
    homes = [Home(scratch / name).prepare() for name in ("open", "closed")]
    for home in homes:
        version.put(home)
    key = add_key(homes[1])
    body = json.dumps(version.rows[0]).encode()
    serve = [sys.executable, "-m", "fedrisk", "serve", "--port", "PORT", "--home"]
    free, guarded = ([*serve, str(home.root)] for home in homes)
    explained = "/predict?explain=true"
    single = [
        Server("echo", uvicorn("echo:app"), "/predict", "/", body, HERE),
        Server("fedrisk", free, "/predict", "/ready", body, HERE),
        Server("fedrisk, with a key", guarded, "/predict", "/ready", body, HERE, key=key),
        Server("fedrisk, explained", free, explained, "/ready", body, HERE),
        Server("FastAPI + scikit-learn", uvicorn("plain:app"), "/predict", "/docs", body, HERE),
    ]
    rows = table(version)
    return single, Server(
        "CSV", free, "/predict/batch", "/ready", rows, HERE, kind="text/csv", connections=4
    )


def mlserver(scratch: Path) -> list[Server]:
    """MLServer, where it can be installed."""
    place = scratch / "mlserver"
    ports = free_ports(3)
    program = rival.prepare(place, (ports[0], ports[1], ports[2]))
    if program is None:
        return []
    command = [str(program), "start", str(place)]
    path, probe = "/v2/models/m/infer", "/v2/models/m/ready"
    body = rival.BODY
    return [Server("MLServer", command, path, probe, body, place, port=ports[0])]


def measure(found: Sequence[Server], seconds: float, rounds: int, scratch: Path) -> None:
    """Let the servers take turns."""
    for number in range(rounds):
        echo_rate = 0.0
        for server in found:
            if server.failed:
                continue
            print(f"round {number + 1} of {rounds}: {server.name}", file=sys.stderr)
            try:
                echo_rate = measure_one(server, echo_rate, seconds, scratch) or echo_rate
            except UnmeasurableError as error:
                server.failed = str(error)


def measure_one(server: Server, echo_rate: float, seconds: float, scratch: Path) -> float:
    """One server's turn; its rate."""
    with started(server, scratch) as trial:
        trial.closed_loop(1)  # warm-up
        rate, p99 = trial.closed_loop(seconds)
        memory = trial.memory()
        steady = min((echo_rate or rate) / 2, rate * 0.7)
        server.open_p99.append(trial.open_loop(steady, seconds))
        server.memory.append(memory)
        server.rates.append(rate)
        server.p99.append(p99)
    return rate if not echo_rate else 0.0


def measure_batch(server: Server, seconds: float, rounds: int, scratch: Path) -> None:
    """Rows of CSV."""
    try:
        for _ in range(rounds):
            with started(server, scratch) as trial:
                trial.closed_loop(1)
                rate = trial.closed_loop(max(seconds, 5))[0]
                if not rate:
                    raise UnmeasurableError("no batch was answered in time")
                server.rates.append(rate * ROWS)
                server.memory.append(trial.memory())
    except UnmeasurableError as error:
        server.failed = str(error)


def ratio(mine: Sequence[float], other: Sequence[float]) -> float:
    """Median over rounds."""
    return statistics.median(a / b for a, b in zip(mine, other, strict=True))


def print_table(found: Sequence[Server], batch: Server, seconds: float, rounds: int) -> None:
    """Everything, in Markdown."""
    echo, ours = found[0], found[1]
    median = statistics.median
    print("| server | requests/s | of echo | p99 ms | of echo | open loop p99 ms | of echo | MB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for each in found:
        if each.failed:
            continue
        print(
            f"| {each.name} | {median(each.rates):,.0f} | {ratio(each.rates, echo.rates):.2f} "
            f"| {median(each.p99):.1f} | {ratio(each.p99, echo.p99):.2f} "
            f"| {median(each.open_p99):.1f} | {ratio(each.open_p99, echo.open_p99):.2f} "
            f"| {median(each.memory):.0f} |"
        )
    print("\n| | |\n| --- | ---: |")
    if not batch.failed:
        print(f"| batch as CSV, rows/s | {median(batch.rates):,.0f} |")
        print(f"| resident after batches, MB a worker | {median(batch.memory):.0f} |")
    print(f"| resident after single rows, MB a worker | {median(ours.memory):.0f} |")
    print(f"| start of the process to ready, s | {median(ours.start_seconds):.2f} |")
    print_rival(found, ours)
    loader = "wrk" if shutil.which("wrk") else "a loader of our own, since wrk is absent"
    print(
        f"\nMedians of {rounds} {'round' if rounds == 1 else 'rounds'} of {seconds:g} s; "
        f"{CONNECTIONS} connections by {loader}; Python {sys.version.split()[0]}, one core for the "
        "server and one for the loader."
    )


def print_rival(found: Sequence[Server], ours: Server) -> None:
    """How many times as fast as MLServer."""
    rates = [s.rates for s in found if s.name == "MLServer" and not s.failed]
    if rates:
        print(f"| times MLServer | {ratio(ours.rates, rates[0]):.1f} |")
    else:
        times = statistics.median(ours.rates) / MLSERVER_RATE
        print(
            f"| times MLServer's {MLSERVER_RATE:.0f} requests/s, not measured here | {times:.1f} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlserver", action="store_true")
    options = parser.parse_args()
    if not shutil.which("taskset") or (os.cpu_count() or 1) < 2:
        raise SystemExit("this benchmark needs two cores and taskset (Debian: util-linux)")
    if not shutil.which("wrk"):
        print("wrk is absent (Debian: apt install wrk): a slower loader is used", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        found, batch = servers(scratch)
        if options.mlserver:
            found += mlserver(scratch)
        measure(found, options.seconds, options.rounds, scratch)
        measure_batch(batch, options.seconds, options.rounds, scratch)
    failed = [server for server in (*found, batch) if server.failed]
    if not (found[0].failed or found[1].failed):
        print_table(found, batch, options.seconds, options.rounds)
    for server in failed:
        print(f"not measured: {server.name}: {server.failed}", file=sys.stderr)
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
