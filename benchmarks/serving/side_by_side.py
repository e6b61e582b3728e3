"""Measure this server beside a bare echo, a plain FastAPI handler and MLServer, on the same cores.

    python benchmarks/serving/side_by_side.py [--seconds 5] [--rounds 3] [--mlserver]

The server under test has core 0, the loader core 1: `wrk` with 16 connections, then an open loop at
half the echo's rate. Servers take turns, so that a noisy machine is noisy for all of them; ratios
are medians over rounds, each to the echo of its own round. ``--mlserver`` installs MLServer in a
scratch environment of its own. Linux, with `wrk` and `taskset` installed.
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
import urllib.request
import venv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import score as scoring_benchmark

from fedrisk.federation.engines.processes import free_ports
from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.registry.cache import write_model
from fedrisk.study import find_study

HERE = Path(__file__).parent
CONNECTIONS = 16


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
    """

    name: str
    command: list[str]
    path: str
    probe: str
    body: bytes
    folder: Path
    rates: list[float] = field(default_factory=list)
    p99: list[float] = field(default_factory=list)
    open_p99: list[float] = field(default_factory=list)


def request_bytes(server: Server, port: int) -> bytes:
    """A whole HTTP request."""
    head = f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(server.body)}\r\n\r\n"
    return head.encode() + server.body


def start(server: Server, port: int) -> subprocess.Popen[bytes]:
    """Start a server on core 0 and wait until it serves."""
    words = ["taskset", "-c", "0", *(w.replace("PORT", str(port)) for w in server.command)]
    process = subprocess.Popen(
        words,
        cwd=server.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{server.probe}", timeout=2):
                return process
        except urllib.error.HTTPError:
            return process
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"{server.name} does not answer")


def wrk(server: Server, port: int, seconds: float, scratch: Path) -> tuple[float, float]:
    """Requests a second and p99 in milliseconds of a closed loop."""
    script = scratch / "post.lua"
    body = server.body.decode().replace("\\", "\\\\").replace("'", "\\'")
    kind = 'wrk.headers["Content-Type"]="application/json"'
    script.write_text(f"wrk.method='POST'\n{kind}\nwrk.body='{body}'\n")
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s"]
    url = f"http://127.0.0.1:{port}{server.path}"
    done = subprocess.run(
        [*command, "--latency", "-s", str(script), url], capture_output=True, text=True, check=True
    )
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"{server.name} answers with errors:\n{done.stdout}")
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", done.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None or rate is None:
        raise SystemExit(done.stdout)
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]
    return float(rate[1]), float(found[1]) * unit


def open_loop(server: Server, port: int, rate: float, seconds: float, scratch: Path) -> float:
    """p99 in milliseconds at a steady rate."""
    file = scratch / "request"
    file.write_bytes(request_bytes(server, port))
    command = ["taskset", "-c", "1", sys.executable, str(HERE / "open_loop.py"), "127.0.0.1"]
    words = [*command, str(port), f"{rate:.0f}", f"{seconds:g}", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    if told["errors"]:
        raise SystemExit(f"{server.name}: {told['errors']} errors in the open loop")
    return float(told["p99"])


def uvicorn(app: str) -> list[str]:
    """A server of one ASGI application, as fedrisk starts its own."""
    command = [sys.executable, "-m", "uvicorn", app, "--port", "PORT"]
    return [*command, "--no-access-log", "--log-level", "error"]


def servers(scratch: Path) -> list[Server]:
    """The echo, this server without and with explanations, and a plain handler."""
    study = find_study("air-wearables")
    model, bins = scoring_benchmark.fit(study, np.random.default_rng(7))
    checks = make_checks(model)
    home = Home(scratch / "home").prepare()
    identity = {"name": study.name, "version": "1", "run_id": "benchmark"}
    write_model(home.champion, model.document(), bins, checks, **identity)
    body = json.dumps(checks[0]["row"]).encode()
    serve = [sys.executable, "-m", "fedrisk", "serve", "--home", str(home.root), "--port", "PORT"]
    return [
        Server("echo", uvicorn("echo:app"), "/predict", "/", body, HERE),
        Server("fedrisk", serve, "/predict", "/ready", body, HERE),
        Server("fedrisk, explained", serve, "/predict?explain=true", "/ready", body, HERE),
        Server("FastAPI + scikit-learn", uvicorn("plain:app"), "/predict", "/docs", body, HERE),
    ]


def mlserver(scratch: Path) -> Server:
    """MLServer with scikit-learn, in an environment of its own."""
    place = scratch / "mlserver"
    venv.create(place / "venv", with_pip=True)
    python = place / "venv" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "mlserver", "mlserver-sklearn"], check=True
    )
    program = (
        "import joblib, numpy as np; from sklearn.linear_model import LogisticRegression as L; "
        "r = np.random.default_rng(1); "
        "joblib.dump(L().fit(r.normal(size=(500, 11)), r.random(500) < .3), 'model.joblib')"
    )
    subprocess.run([python, "-c", program], cwd=place, check=True)
    settings = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel"}
    settings["parameters"] = {"uri": "./model.joblib"}  # type: ignore[assignment]
    (place / "model-settings.json").write_text(json.dumps(settings))
    port, other, third = free_ports(3)
    general = {"debug": False, "http_port": port, "grpc_port": other, "metrics_port": third}
    (place / "settings.json").write_text(json.dumps(general | {"parallel_workers": 0}))
    data = {"name": "x", "shape": [1, 11], "datatype": "FP64", "data": [0.1] * 11}
    body = json.dumps({"inputs": [data]}).encode()
    command = [str(python.parent / "mlserver"), "start", str(place)]
    path, probe = "/v2/models/m/infer", "/v2/models/m/ready"
    found = Server("MLServer", command, path, probe, body, place)
    found.folder = place
    return found


def port_of(server: Server) -> int:
    """MLServer takes its port from its settings."""
    settings = server.folder / "settings.json"
    if server.name == "MLServer":
        return int(json.loads(settings.read_text())["http_port"])
    return free_ports(1)[0]


def measure(found: Sequence[Server], seconds: float, rounds: int, scratch: Path) -> None:
    """Let the servers take turns."""
    for _ in range(rounds):
        echo_rate = 0.0
        for server in found:
            port = port_of(server)
            process = start(server, port)
            try:
                wrk(server, port, 1, scratch)  # warm-up
                rate, p99 = wrk(server, port, seconds, scratch)
                echo_rate = echo_rate or rate
                server.rates.append(rate)
                server.p99.append(p99)
                steady = min(echo_rate / 2, rate * 0.7)
                server.open_p99.append(open_loop(server, port, steady, seconds, scratch))
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait(30)


def ratio(mine: Sequence[float], other: Sequence[float]) -> float:
    """Median over rounds."""
    return statistics.median(a / b for a, b in zip(mine, other, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mlserver", action="store_true")
    options = parser.parse_args()
    if not shutil.which("wrk") or not shutil.which("taskset"):
        raise SystemExit("this benchmark needs wrk and taskset (Debian: apt install wrk)")
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        found = servers(scratch)
        if options.mlserver:
            found.append(mlserver(scratch))
        measure(found, options.seconds, options.rounds, scratch)
    echo = found[0]
    print("| server | requests/s | of echo | p99 ms | of echo | open loop p99 ms | of echo |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for server in found:
        print(
            f"| {server.name} | {statistics.median(server.rates):,.0f} "
            f"| {ratio(server.rates, echo.rates):.2f} "
            f"| {statistics.median(server.p99):.1f} | {ratio(server.p99, echo.p99):.2f} "
            f"| {statistics.median(server.open_p99):.1f} "
            f"| {ratio(server.open_p99, echo.open_p99):.2f} |"
        )


if __name__ == "__main__":
    main()
