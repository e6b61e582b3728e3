"""What a round costs: fedrisk, the same empty round on stock Flower, and NVFLARE's simulator.

``python benchmarks/federation/compare.py [--sites 2 4 8] [--simulated 10 100 500] [--nvflare]``
prints tables in Markdown. ``--nvflare`` installs nvflare in a scratch environment of its own.
Rounds of fedrisk do real work (an exact fit on simulated people), those of the others do nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedrisk.federation.engines.processes import free_ports
from fedrisk.simulation import latest_start, write_cohort

HERE = Path(__file__).parent
ROUNDS = 5
#: Longest that one run of each may take.
RUN_SECONDS, NVFLARE_SECONDS = 1800, 240
NVFLARE = "nvflare==2.9.*"
DAYS, PEOPLE = 120, 40


def cohort(folder: Path, sites: int, people: int = PEOPLE) -> list[str]:
    """Flags of a simulated cohort."""
    start = latest_start(datetime.now(UTC).date(), DAYS)
    files = write_cohort(folder, sites, people, DAYS, 1, start)
    words = [word for name, file in files.items() for word in ("--site", f"{name}={file}")]
    return ["--study", str(folder / "study.toml"), *words]


def fedrisk(scratch: Path, sites: int, way: str) -> tuple[list[float], float]:
    """Seconds of each round, and KiB a site sends in a Newton round."""
    home = scratch / f"home-{way}-{sites}"
    command = [sys.executable, "-m", "fedrisk", "train", "--home", str(home), "--json"]
    done = subprocess.run(
        [*command, *cohort(scratch / f"cohort-{way}-{sites}", sites)],
        timeout=RUN_SECONDS,
        env=os.environ | {"FEDRISK_FLOWER_START": way},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    run = json.loads(done.stdout)["run_id"]
    rounds = json.loads((home / "runs" / run / "result.json").read_text())["rounds"]
    newton = [r["bytes_in"] / sites / 1024 for r in rounds if r["kind"] == "newton"]
    return [r["seconds"] for r in rounds], newton[0]


def stock_flower(scratch: Path, sites: int) -> list[float]:
    """Seconds of each empty round on stock Flower, without TLS."""
    home, times = scratch / f"flower-{sites}", scratch / f"flower-{sites}.json"
    port, *ports = free_ports(1 + sites)
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
    }
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "b"\n\n[superlink.b]\naddress = "127.0.0.1:{port}"\n'
        "insecure = true\n"
    )
    link = ["flower-superlink", "--insecure", "--port", str(port)]
    commands = [[*link, "--disable-runtime-dependency-installation"]]
    node = ["flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}"]
    commands += [[*node, "--port", str(own)] for own in ports]
    processes = []
    try:
        for command in commands:
            processes.append(start(command, environment))
            time.sleep(8 if len(processes) == 1 else 0)
        config = f'sites={sites} rounds={ROUNDS} times="{times}"'
        app = ["flwr", "run", str(HERE / "stock_flower"), "b", "--run-config", config]
        subprocess.run(app, env=environment, check=True, capture_output=True)
        deadline = time.monotonic() + 300
        while not times.exists() and time.monotonic() < deadline:
            time.sleep(0.5)
        return [float(seconds) for seconds in json.loads(times.read_text())]
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
        for process in processes:
            process.wait(30)


def start(
    command: Sequence[str], environment: dict[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a group of its own."""
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def nvflare(python: Path, scratch: Path, sites: int) -> list[float]:
    """Seconds of each empty round on NVFLARE's simulator; none where it does not come to an end."""
    folder = scratch / f"nvflare-{sites}"
    folder.mkdir()
    script = [str(python), str(HERE / "nvflare_rounds.py"), str(sites), str(ROUNDS), str(folder)]
    process = start(script, dict(os.environ), folder)
    try:
        process.wait(NVFLARE_SECONDS)
    except subprocess.TimeoutExpired:
        print(f"NVFLARE with {sites} sites: no end in {NVFLARE_SECONDS} s", file=sys.stderr)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its workers outlive it
        process.wait(30)
    times = folder / "times.json"
    return [float(seconds) for seconds in json.loads(times.read_text())] if times.exists() else []


def nvflare_environment(folder: Path) -> Path:
    """An environment with nvflare; its interpreter."""
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", NVFLARE], check=True)
    return folder / "bin" / "python"


def simulated(scratch: Path, sites: int) -> dict[str, Any]:
    """A run on Flower's simulation runtime, with the memory of its largest process."""
    home = scratch / f"simulated-{sites}"
    command = [sys.executable, "-m", "fedrisk", "train", "--home", str(home), "--json"]
    flags = cohort(scratch / f"cohort-simulated-{sites}", sites, people=20)
    done = subprocess.run(
        [*command, "--engine", "simulation", *flags],
        timeout=RUN_SECONDS,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return told | {"peak_mib": peak}


def settled(seconds: list[float]) -> str:
    """Median without the first round, which also waits for the sites to connect."""
    if len(seconds) < 2:
        return "-"
    return f"{statistics.median(seconds[1:]):.1f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="*", default=[2, 4, 8])
    parser.add_argument("--simulated", type=int, nargs="*", default=[10, 100, 500])
    parser.add_argument("--nvflare", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        python = nvflare_environment(scratch / "nvflare") if options.nvflare else None
        print(
            "| sites | resident | own, stock start | stock Flower, empty | NVFLARE, empty | KiB |"
        )
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        for sites in options.sites:
            resident, size = fedrisk(scratch, sites, "resident")
            stock, _ = fedrisk(scratch, sites, "stock")
            empty = stock_flower(scratch, sites)
            other = settled(nvflare(python, scratch, sites)) if python else "-"
            print(
                f"| {sites} | {settled(resident)} | {settled(stock)} | {settled(empty)} "
                f"| {other} | {size:.1f} |",
                flush=True,
            )
        print("\n| simulated sites | seconds | a round | largest process, MiB |")
        print("| ---: | ---: | ---: | ---: |")
        for sites in options.simulated:
            told = simulated(scratch, sites)
            pace = told["federation_seconds"] / told["rounds"]
            print(
                f"| {sites} | {told['seconds']:.0f} | {pace:.2f} | {told['peak_mib']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
