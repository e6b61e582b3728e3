"""A real Flower federation on this machine: one SuperLink, one SuperNode a site, TLS, keys."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.engines.processes import Processes, flower_environment, free_ports
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning import (
    make_authority,
    make_server_certificate,
    make_site_key,
    write_private,
)
from fedrisk.federation.resident.scripts import write_scripts
from fedrisk.home import Home
from fedrisk.study.training import RoundRecord, TrainingRequest

#: Seconds for SuperLink to listen and for one batch of `flwr` commands.
START_SECONDS = 90.0
COMMAND_SECONDS = 120.0
_CONNECTION = "local"


@dataclass(frozen=True)
class LocalEngine:
    """Runs a request on this machine.

    Attributes
    ----------
    home : Home
        Keys, certificates and logs go below its ``federation`` folder.
    environment : mapping
        The environment to start processes with, usually this process's.
    now : datetime
        Start of the certificates' validity.
    resident : bool
        Fork Flower's commands from a resident process instead of starting each anew.
    """

    home: Home
    environment: Mapping[str, str]
    now: datetime
    resident: bool = True

    def run(
        self,
        request: TrainingRequest,
        sites: Mapping[str, Path],
        watch: Callable[[RoundRecord], None],
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """Run to the outcome; every process has ended when this returns or raises.

        Parameters
        ----------
        request : TrainingRequest
        sites : mapping of name to path
        watch : callable
            Called with each finished round.
        say : callable
            Called with a line about what is being started.

        Returns
        -------
        dict
            The outcome that the server app wrote.

        Raises
        ------
        FedriskError
            The error that the run ended by.
        HomeError
            When another command runs a federation in this home.
        """
        folder = self.home.federation
        with _only_one(folder):
            credentials = _provision(folder, sites, self.now)
            scripts = (folder / "scripts").resolve() if self.resident else None
            environment = flower_environment(self.environment, folder / "flower", scripts)
            environment["FEDRISK_HOME"] = str(self.home.root.resolve())
            with Processes(environment, self.home.run(request.run_id) / "logs") as processes:
                self._start(processes, credentials, sites, say)
                _submit(processes, folder, request)
                say("the sites compute")
                return _follow(Progress(self.home.run(request.run_id)), processes, watch)

    def _start(
        self,
        processes: Processes,
        credentials: Mapping[str, tuple[Path, Path]],
        sites: Mapping[str, Path],
        say: Callable[[str], None],
    ) -> None:
        folder = self.home.federation
        if self.resident:
            place = Path(processes.private) / "resident"
            write_scripts((folder / "scripts").resolve(), place)
            module = "fedrisk.federation.resident.server"
            processes.start("resident", [sys.executable, "-m", module, str(place)])
            processes.wait_for_file(place, START_SECONDS)
        port, *node_ports = free_ports(1 + len(sites))
        _write_connection(folder, port)
        say("starting the coordinator (Flower SuperLink)")
        processes.start("superlink", _superlink(folder, port))
        processes.wait_for_port(port, START_SECONDS)
        say(f"registering {len(sites)} sites and starting their SuperNodes")
        keys = [public for _, public in credentials.values()]
        for key in keys:
            _flwr(processes, ["supernode", "register", str(key), _CONNECTION])
        for (site, path), node_port in zip(sites.items(), node_ports, strict=True):
            private, _ = credentials[site]
            config = private.with_suffix(".toml")
            config.write_text(toml_strings(site=site, data=str(path.resolve())), encoding="utf-8")
            argv = _supernode(folder, port, node_port, private, config)
            processes.start(f"supernode-{site}", argv)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HomeError(
                f"another command runs a federation in {folder.parent}",
                hint="wait for it, or choose another --home",
            ) from None
        yield


def _provision(
    folder: Path, sites: Mapping[str, Path], now: datetime
) -> dict[str, tuple[Path, Path]]:
    """Make everything anew: a local federation lives as long as its command."""
    make_authority(folder, now)
    make_server_certificate(folder, ["127.0.0.1", "localhost"], now)
    keys = folder / "sites"
    return {site: make_site_key(keys, f"node-{n}") for n, site in enumerate(sites, start=1)}


def _write_connection(folder: Path, port: int) -> None:
    values = {"address": f"127.0.0.1:{port}", "root-certificates": str(_certificate(folder))}
    text = f'[superlink]\ndefault = "{_CONNECTION}"\n\n[superlink.{_CONNECTION}]\n'
    write_private(folder / "flower" / "config.toml", (text + toml_strings(**values)).encode())


def toml_strings(**values: str) -> str:
    r"""Keys with strings as TOML, whose basic strings are those of JSON.

    >>> toml_strings(site='a "b"')
    'site = "a \\"b\\""\n'
    """
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()
    )


def _certificate(folder: Path) -> Path:
    return (folder / "ca.crt").resolve()


def _superlink(folder: Path, port: int) -> list[str]:
    return [
        "flower-superlink",
        *("--host", "127.0.0.1", "--port", str(port)),
        *(
            "--ssl-certfile",
            str(folder / "server.crt"),
            "--ssl-keyfile",
            str(folder / "server.key"),
        ),
        *("--ssl-ca-certfile", str(_certificate(folder))),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


def _supernode(folder: Path, port: int, own_port: int, key: Path, config: Path) -> list[str]:
    return [
        "flower-supernode",
        *("--superlink", f"127.0.0.1:{port}", "--root-certificates", str(_certificate(folder))),
        *("--auth-supernode-private-key", str(key), "--port", str(own_port)),
        *("--node-config", str(config)),
    ]


def _submit(processes: Processes, folder: Path, request: TrainingRequest) -> None:
    config = folder / "request.toml"
    write_private(config, toml_strings(request=request.model_dump_json()).encode())
    with as_file(files("fedrisk.federation") / "bundle") as bundle:
        command = ["run", str(bundle), _CONNECTION, "--run-config", str(config)]
        _flwr(processes, command)


def _flwr(processes: Processes, arguments: list[str]) -> None:
    """Run one `flwr` command, found by PATH like every command of Flower's."""
    program = shutil.which("flwr", path=processes.environment["PATH"]) or "flwr"
    done = subprocess.run(  # noqa: S603 Flower's own command
        [program, *arguments],
        env=dict(processes.environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    with (processes.logs / "flwr.log").open("a", encoding="utf-8") as log:
        log.write(done.stdout + done.stderr)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise FederationError(
            f"flwr {arguments[0]} failed: {lines[-1] if lines else done.returncode}",
            hint=f"its log: {processes.logs / 'flwr.log'}",
        )


def _follow(
    progress: Progress, processes: Processes, watch: Callable[[RoundRecord], None]
) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    begun = False
    while True:
        alive = progress.alive()  # asked first: an outcome is written before the app ends
        for record in progress.news():
            watch(record)
        if (outcome := progress.outcome()) is not None:
            return outcome
        processes.check()
        begun = begun or alive
        if not alive and (begun or time.monotonic() > deadline):
            raise FederationError(
                "the coordinator's app ended without an outcome"
                if begun
                else f"the coordinator's app did not start within {START_SECONDS:g} s",
                hint=f"its log: {processes.logs / 'superlink.log'}",
            )
        time.sleep(0.1)
