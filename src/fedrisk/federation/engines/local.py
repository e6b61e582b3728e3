"""A real Flower federation on this machine: one SuperLink, one SuperNode a site, TLS, keys."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fedrisk.durable import write_private
from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.flower import (
    Control,
    superlink_command,
    supernode_command,
    toml_strings,
    write_connection,
)
from fedrisk.federation.engines.processes import Processes, flower_environment, free_ports
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.keys import make_site_key
from fedrisk.federation.resident.scripts import resident_command, write_scripts
from fedrisk.home import Home
from fedrisk.study.request import SiteRequest
from fedrisk.study.training import RoundRecord

#: Seconds for SuperLink to listen, and for the app to begin.
START_SECONDS = 90.0
#: An app that gives no sign for so many seconds beyond two deadlines hangs.
HANG_SECONDS = 300.0


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
    policy: Path | None = None

    def run(
        self,
        request: SiteRequest,
        sites: Mapping[str, Path],
        watch: Callable[[RoundRecord], None],
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """Run to the outcome; every process has ended when this returns or raises.

        A run that an earlier command began is taken up after its last finished round.

        Parameters
        ----------
        request : SiteRequest
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
        with _only_one(self.home.federation):
            _take_up(
                self.home, request
            )  # first: who is interrupted from here on can take the run up
            logs = self.home.run(request.run_id) / "logs"
            with self._started(sites, logs, say) as federation:
                return federation.run(request, watch, say)

    @contextmanager
    def running(
        self, sites: Mapping[str, Path], say: Callable[[str], None]
    ) -> Iterator[LocalFederation]:
        """A federation that answers one run after the other, until the block ends.

        Parameters
        ----------
        sites : mapping of name to path
        say : callable
            Called with a line about what is being started.

        Raises
        ------
        HomeError
            When another command runs a federation in this home.
        """
        folder = self.home.federation
        with _only_one(folder), self._started(sites, folder / "logs", say) as federation:
            yield federation

    @contextmanager
    def _started(
        self, sites: Mapping[str, Path], logs: Path, say: Callable[[str], None]
    ) -> Iterator[LocalFederation]:
        folder = self.home.federation
        credentials = _provision(folder, sites, self.now)
        scripts = (folder / "scripts").resolve()
        environment = flower_environment(self.environment, folder / "flower", scripts)
        environment["FEDRISK_HOME"] = str(self.home.root.resolve())
        with Processes(environment, logs) as processes:
            control = Control(environment, processes.logs / "flwr.log")
            self._start(processes, control, credentials, sites, say)
            yield LocalFederation(self.home, processes, control)

    def _start(
        self,
        processes: Processes,
        control: Control,
        credentials: Mapping[str, tuple[Path, Path]],
        sites: Mapping[str, Path],
        say: Callable[[str], None],
    ) -> None:
        folder = self.home.federation
        scripts = (folder / "scripts").resolve()
        if self.resident:
            place = Path(processes.private) / "resident"
            write_scripts(scripts, place)
            processes.start("resident", resident_command(place))
            processes.wait_for_file(place, START_SECONDS)
        else:
            write_scripts(scripts, None)
        port, *node_ports = free_ports(1 + len(sites))
        write_connection(folder / "flower", port, folder / "ca.crt")
        say("starting the coordinator (Flower SuperLink)")
        processes.start("superlink", superlink_command(folder, port))
        processes.wait_for_port(port, START_SECONDS)
        say(f"registering {len(sites)} sites and starting their SuperNodes")
        keys = [public for _, public in credentials.values()]
        for key in keys:
            control.register(key)
        for (site, path), node_port in zip(sites.items(), node_ports, strict=True):
            private, _ = credentials[site]
            config = private.with_suffix(".toml")
            values = {"site": site, "data": str(path.resolve())}
            if self.policy is not None:
                values["policy"] = str(self.policy.resolve())
            config.write_text(toml_strings(**values), encoding="utf-8")
            superlink = f"127.0.0.1:{port}"
            argv = supernode_command(superlink, folder / "ca.crt", private, node_port, config)
            processes.start(f"supernode-{site}", argv)


@dataclass(frozen=True)
class LocalFederation:
    """A federation of this machine whose processes run.

    Attributes
    ----------
    home : Home
    processes : Processes
    control : Control
        Of its SuperLink.
    """

    home: Home
    processes: Processes
    control: Control

    def run(
        self,
        request: SiteRequest,
        watch: Callable[[RoundRecord], None],
        say: Callable[[str], None],
    ) -> dict[str, Any]:
        """Run a request to its outcome; parameters and errors are those of `LocalEngine.run`."""
        progress = _take_up(self.home, request)
        former = progress.token()
        _submit(self.control, self.home.federation, request)
        say("the sites compute")
        limit = 2 * request.deadline + HANG_SECONDS
        return _follow(progress, self.processes, watch, former, limit)


def _take_up(home: Home, request: SiteRequest) -> Progress:
    """Keep what is asked for, and let nobody who worked on the run before write any more."""
    progress = Progress(home.run(request.run_id))
    progress.ask(request)
    # The app of a command that was killed may live on for a moment: it may write no more.
    Checkpoints.claim(progress.folder / "checkpoint")
    progress.reopen()
    return progress


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


def _submit(control: Control, folder: Path, request: SiteRequest) -> None:
    config = folder / "request.toml"
    write_private(config, toml_strings(request=request.model_dump_json()).encode())
    control.run(config)


def _follow(
    progress: Progress,
    processes: Processes,
    watch: Callable[[RoundRecord], None],
    former: int,
    limit: float,
) -> dict[str, Any]:
    """Watch the app that began after token ``former``, for ``limit`` seconds without a sign."""
    begun, end = False, time.monotonic() + START_SECONDS
    while True:
        if not begun and progress.token() > former:
            begun, end = True, time.monotonic() + limit
        alive = begun and progress.alive()  # asked first: an outcome is written before the app ends
        for record in progress.news():
            watch(record)
            end = time.monotonic() + (limit if begun else START_SECONDS)
        if (outcome := progress.outcome()) is not None:
            return outcome
        processes.check()
        if (begun and not alive) or time.monotonic() > end:
            raise _lost(begun, alive, limit, processes.logs)
        time.sleep(0.1)


def _lost(begun: bool, alive: bool, limit: float, logs: Path) -> FederationError:
    if not begun:
        what = f"did not start within {START_SECONDS:g} s"
    else:
        what = f"gave no sign for {limit:g} s" if alive else "ended without an outcome"
    return FederationError(
        f"the coordinator's app {what}", hint=f"its log: {logs / 'superlink.log'}"
    )
