"""A composed federation of the tests' own: its files copied, free ports, its own project name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT = "fedrisk-e2e"
#: What the scripts and the services read.
COPIED = tuple(
    f"deploy/{name}" for name in ("compose", "kubernetes", "prometheus", "alertmanager", "grafana")
)
PORTS = ("API", "MLFLOW", "PROMETHEUS", "ALERTMANAGER", "GRAFANA")
ROW = {
    "heart_rate": 75,
    "steps": 8000,
    "sleep_hours": 7,
    "respiratory_rate": 15,
    "body_temp": 36.6,
    "pm25": 12,
    "pm10": 20,
    "o3": 60,
    "no2": 20,
    "temperature": 18,
    "humidity": 50,
}


class Composed:
    """What a user of the scripts sees, and what one who ends processes does.

    Parameters
    ----------
    folder : Path
        Gets a copy of the scripts and files, so that a user's secrets and settings stay theirs.
    tool : str
        docker or podman.
    """

    def __init__(self, folder: Path, tool: str) -> None:
        self.folder, self.tool = folder, tool
        for name in COPIED:
            left_out = shutil.ignore_patterns(".env", ".secrets")
            shutil.copytree(ROOT / name, folder / name, ignore=left_out)
        shutil.copytree(ROOT / "scripts", folder / "scripts")
        if (ROOT / ".venv-deploy").exists():
            (folder / ".venv-deploy").symlink_to(ROOT / ".venv-deploy")
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        tag = os.environ.get("FEDRISK_TAG") or described()
        self.environment = {
            **os.environ,
            "CONTAINER_TOOL": tool,
            "COMPOSE_PROJECT_NAME": PROJECT,
            "FEDRISK_TAG": tag,
            "FEDRISK_PATIENCE": os.environ.get("FEDRISK_PATIENCE", "600"),
            **{f"FEDRISK_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    def script(self, name: str, *words: str, seconds: float = 1800.0) -> tuple[int, str]:
        """Run one of the project's scripts; its exit code, and all that it told."""
        argv = [str(self.folder / "scripts" / name), *words]
        done = subprocess.run(
            argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
        )
        return done.returncode, done.stdout

    def engine(self, *words: str) -> str:
        """Ask the container engine."""
        done = subprocess.run([self.tool, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def container(self, service: str) -> str:
        labels = {"project": PROJECT, "service": service}
        filters = [f"--filter=label=com.docker.compose.{k}={v}" for k, v in labels.items()]
        return self.engine("ps", "--all", "--quiet", *filters).split()[0]

    def within(self, service: str, *words: str) -> str:
        """Run a command in a service's container."""
        return self.engine("exec", self.container(service), *words)

    def left(self) -> dict[str, list[str]]:
        """What there is of this project."""
        label = f"--filter=label=com.docker.compose.project={PROJECT}"
        ours = f"--filter=name={PROJECT}"
        return {
            "containers": self.engine("ps", "--all", "--quiet", label).split(),
            "volumes": self.engine("volume", "ls", "--quiet", ours).split(),
            "networks": self.engine("network", "ls", "--quiet", ours).split(),
        }

    def process(self, service: str) -> int:
        """The container's first process, as this machine numbers it; 0 while there is none."""
        told = self.engine("inspect", "--format", "{{.State.Pid}}", self.container(service))
        return int(told)

    def kill(self, service: str) -> int:
        """End a service as a crash would, by SIGKILL; its first process, as it was numbered."""
        number = self.process(service)
        os.kill(number, signal.SIGKILL)
        return number

    def is_well(self, service: str) -> bool:
        """What the service's health check says now."""
        try:
            if self.tool == "podman":
                self.engine("healthcheck", "run", self.container(service))
                return True
            form = "{{.State.Health.Status}}"
            told = self.engine("inspect", "--format", form, self.container(service))
            return told == "healthy"
        except AssertionError:
            return False

    def url(self, port: str, path: str = "") -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def get(self, port: str, path: str) -> Any:
        with urllib.request.urlopen(self.url(port, path), timeout=10) as answer:
            return json.loads(answer.read())

    def predict(self) -> dict[str, Any]:
        """Ask the API for the risk of one row."""
        key = (self.folder / "deploy/compose/.secrets/api-key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        body = json.dumps(ROW).encode()
        request = urllib.request.Request(self.url("API", "/predict"), body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))

    @contextmanager
    def asked_all_the_time(self) -> Iterator[Asked]:
        """Ask the API ten times a second while the body runs."""
        asked, ended = Asked(), threading.Event()

        def ask() -> None:
            while not ended.wait(0.1):
                try:
                    self.predict()
                    asked.answers += 1
                except (OSError, ValueError) as error:
                    asked.failures.append(f"{time.strftime('%X')} {error!r}")

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield asked
        finally:
            ended.set()
            thread.join()


class Asked:
    """What became of the questions."""

    def __init__(self) -> None:
        self.answers = 0
        self.failures: list[str] = []


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return found


def described() -> str:
    """The tag that scripts/build-images.sh gives by itself."""
    words = ["git", "-C", str(ROOT), "describe", "--tags", "--always", "--dirty"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def working_tool() -> str | None:
    """The container engine that answers here, the named one first."""
    for name in (os.environ.get("CONTAINER_TOOL", ""), "docker", "podman"):
        if name and shutil.which(name):
            done = subprocess.run([name, "info"], capture_output=True, timeout=60)
            if done.returncode == 0:
                return name
    return None
