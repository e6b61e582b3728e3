"""A federation on hosts of its own, run by the commands that operators run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from e2e.federation.gusto import STUDY
from e2e.federation.hosts import COORDINATOR, PORT, Host, Network
from running import COMMAND, environment, wait_until

#: Seconds for a start to be ready, for an orderly stop, and for one command, on a busy machine.
READY, STOP, ANSWER = 300.0, 60.0, 180.0
_PROBE = (
    "import sys, urllib.request as web, urllib.error as wrong\n"
    "try: print(web.urlopen(sys.argv[1], timeout=5).read().decode())\n"
    "except wrong.HTTPError as error: print(error.read().decode())\n"
    "except OSError: print('{}')\n"
)


@dataclass
class Deployment:
    """A coordinator and its sites.

    Attributes
    ----------
    network : Network
    folder : Path
        Everything of this federation lies below it, so that its processes can be told by it.
    data : dict of site to path
    hosts : dict of site to Host
    starts : dict of folder's name to Popen
        The running `start` commands.
    """

    network: Network
    folder: Path
    data: Mapping[str, Path]
    hosts: dict[str, Host] = field(default_factory=dict)
    starts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _trainings: int = 0

    @property
    def coordinator(self) -> Path:
        """The coordinator's folder."""
        return self.folder / "coordinator"

    @property
    def runs(self) -> Path:
        return self.coordinator / "home" / "runs"

    def site(self, name: str) -> Path:
        """A site's folder."""
        return self.folder / name

    def fedrisk(
        self, host: Host, *words: object, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, and see it end by this exit code."""
        argv = [*COMMAND, *map(str, words)]
        done = host.run(argv, self.environment(), ANSWER)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def told(self, host: Host, *words: object) -> dict[str, Any]:
        """What a command prints with ``--json``."""
        return dict(json.loads(self.fedrisk(host, *words, "--json").stdout))

    def environment(self, **changes: str) -> dict[str, str]:
        """Of every command here; temporary files go below the folder, too."""
        place = self.folder / "tmp"
        place.mkdir(exist_ok=True)
        return environment(FLWR_TELEMETRY_ENABLED="0", FLWR_DISABLE_UPDATE_CHECK="1", **changes)

    def init(self) -> None:
        """Make the coordinator's folder."""
        words = ("--federation", self.coordinator, "--host", COORDINATOR, "--port", PORT)
        self.told(self.network.coordinator, "federation", "init", *words, "--listen", COORDINATOR)

    def invite(self, name: str, rows: Path) -> dict[str, Any]:
        """Invite a site, and let it make its keys on a host of its own; its request."""
        bundle = self.folder / f"{name}.bundle.json"
        far = self.network.coordinator
        self.told(
            far, "federation", "add-site", name, "--federation", self.coordinator,
            "--output", bundle,
        )  # fmt: skip
        if name not in self.hosts:
            self.hosts[name] = self.network.add_site(len(self.hosts) + 1)
        words = ("site", "init", bundle, "--folder", self.site(name), "--data", rows)
        return self.told(self.hosts[name], *words)

    def approve(self, name: str, request: Mapping[str, Any]) -> None:
        """Approve a site by the fingerprint that its operator reads out."""
        words = ("federation", "approve", name, request["request"])
        told = ("--fingerprint", request["fingerprint"])
        self.told(self.network.coordinator, *words, "--federation", self.coordinator, *told)

    def approve_study(self, name: str) -> None:
        """Let the site's operator approve the study."""
        words = ("site", "approve", STUDY, "--folder", self.site(name), "--yes")
        self.told(self.hosts[name], *words)

    def start_coordinator(self) -> None:
        """Run `federation start`."""
        words = ["federation", "start", "--federation", str(self.coordinator)]
        self._start("coordinator", self.network.coordinator, words)

    def start_site(self, name: str, **changes: str) -> None:
        """Run `site start`."""
        words = ["site", "start", "--folder", str(self.site(name))]
        self._start(name, self.hosts[name], words, **changes)

    def start_all(self) -> None:
        """Start what does not run."""
        if not self.runs_now("coordinator"):
            self.start_coordinator()
        for name in self.data:
            if not self.runs_now(name):
                self.start_site(name)

    def runs_now(self, name: str) -> bool:
        """Whether a `start` command runs."""
        return name in self.starts and self.starts[name].poll() is None

    def stop(self, *names: str) -> list[int]:
        """End `start` commands in order, all at once; their exit codes."""
        started = [self.starts.pop(name) for name in names]
        for command in started:
            command.terminate()
        return [command.wait(STOP) for command in started]

    def copy_site(self, name: str, copy: str, host: Host) -> Path:
        """Copy a site's folder, as a thief of its keys would; it runs on another host."""
        shutil.copytree(self.site(name), self.site(copy), ignore=shutil.ignore_patterns("lock"))
        (self.site(copy) / "running.json").unlink(missing_ok=True)
        self.hosts[copy] = host
        return self.site(copy)

    def wait_ready(self, *names: str) -> None:
        """Wait until the named folders' probes say so."""
        for name in names or ("coordinator", *self.data):
            late = f"{name} is not ready: {self.probe(name)}\n{self.said(name)[-2000:]}"
            assert wait_until(lambda name=name: self.probe(name).get("ready"), READY), late

    def probe(self, name: str) -> dict[str, Any]:
        """What a folder's ``/ready`` answers on its own host; empty where nothing answers."""
        try:
            told = json.loads((self.folder / name / "running.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        argv = [sys.executable, "-S", "-c", _PROBE, f"{told['health']}/ready"]
        return dict(json.loads(self.host(name).run(argv, {}, 20.0).stdout or "{}"))

    def host(self, name: str) -> Host:
        """Where a folder's processes run."""
        return self.network.coordinator if name == "coordinator" else self.hosts[name]

    def said(self, name: str) -> str:
        """What a `start` command has logged."""
        path = self._log(name)
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def status(self) -> dict[str, Any]:
        """What `federation status` tells."""
        words = ("federation", "status", "--federation", self.coordinator)
        return self.told(self.network.coordinator, *words)

    def train(self, *words: object) -> subprocess.Popen[bytes]:
        """Start a training by the coordinator's operator; it prints to ``train.log``."""
        argv = [*COMMAND, "train", "--study", str(STUDY), "--engine", "deployed"]
        argv += ["--federation", str(self.coordinator), *map(str, words), "--json"]
        self._trainings += 1
        log = self.folder / f"train-{self._trainings}.log"
        return self.network.coordinator.start(argv, self.environment(), log)

    def finished(self, training: subprocess.Popen[bytes], seconds: float) -> dict[str, Any]:
        """What a training printed, once it has ended well."""
        code = training.wait(seconds)
        said = (self.folder / f"train-{self._trainings}.log").read_text(encoding="utf-8")
        assert code == 0, said[-3000:]
        return dict(json.loads(said[said.index('{"run_id"') :].splitlines()[0]))

    def new_run(self, before: set[str]) -> Path:
        """The folder of a run that was not there before."""

        def found() -> set[str]:
            return {path.name for path in self.runs.glob("*")} - before

        assert wait_until(found, ANSWER), "no run was begun"
        return self.runs / found().pop()

    def _start(self, name: str, host: Host, words: list[str], **changes: str) -> None:
        argv = [*COMMAND, *words]
        self.starts[name] = host.start(argv, self.environment(**changes), self._log(name))

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"
