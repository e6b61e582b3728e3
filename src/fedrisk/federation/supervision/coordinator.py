"""A coordinator's processes: SuperLink on the loopback interface, the gateway before it."""

from __future__ import annotations

import errno
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_client.registry import Collector

from fedrisk.errors import FedriskError, PortInUseError
from fedrisk.federation.engines.flower import Control, superlink_command, write_connection
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.figures.coordinator import CoordinatorFigures
from fedrisk.federation.figures.supervised import CertificateFigures
from fedrisk.federation.provisioning.certificates import (
    expiry,
    make_authority,
    make_server_certificate,
)
from fedrisk.federation.provisioning.coordinator import Federation
from fedrisk.federation.registration import register_members
from fedrisk.federation.supervision.run import Supervised, listens, reachable
from fedrisk.federation.supervision.supervisor import Backoff, Log, Service, Supervisor
from fedrisk.federation.unfinished import Unfinished
from fedrisk.home import Home

#: Days before the end of a certificate from which on its end is told, each day.
WARN_DAYS = 30
DAY = 86_400.0


class Coordinator(Supervised):
    """Runs one federation's coordinator; the folder's lock is the caller's.

    Parameters
    ----------
    federation : Federation
    base : mapping
        The environment to start processes with.
    resident : bool
    log : callable
    now : datetime
        Start of the loopback certificates' validity, UTC.
    backup : Path, optional
        What says how backups went; ``backup-status.json`` in the folder without.
    """

    service = "coordinator"

    def __init__(
        self,
        federation: Federation,
        base: Mapping[str, str],
        resident: bool,
        log: Log,
        now: datetime,
        backup: Path | None = None,
    ) -> None:
        super().__init__(federation.folder, base, resident, log)
        self.federation = federation
        self.environment["FEDRISK_HOME"] = str(federation.home)
        self.environment["FEDRISK_FEDERATION"] = str(self.folder)
        (self.superlink_port,) = free_ports(1)
        self.control = Control(self.environment, self.logs / "flwr.log")
        self._begun, self._now = time.monotonic(), now
        self._backup = backup
        self._look_again = self._begun + DAY
        self._members = 0
        self._register_at = 0.0
        self._failures = 0
        self._certificate = self._stamp("server.crt", "server.key")
        self._refused = 0
        self._shut_out = threading.Event()
        self._registering: threading.Thread | None = None
        self._unfinished = Unfinished(Home(federation.home), self.control, self.log)
        self._prepare()

    def _prepare(self) -> None:
        Home(self.federation.home).prepare()
        self._check_port()
        self._make_loopback()
        self._warn_of_ends()

    def _time(self) -> datetime:
        return self._now + timedelta(seconds=time.monotonic() - self._begun)

    def _make_loopback(self) -> None:
        make_authority(self.federation.loopback, self._time())
        make_server_certificate(self.federation.loopback, ["127.0.0.1", "localhost"], self._time())
        self._write_connection()

    def _write_connection(self) -> None:
        authority = self.federation.loopback / "ca.crt"
        write_connection(self.folder / "flower", self.superlink_port, authority)

    def _warn_of_ends(self) -> None:
        for name in ("server.crt", "ca.crt"):
            days = (expiry(self.folder / name) - self._time()).days
            if days < WARN_DAYS:
                hint = "fedrisk federation rotate"
                self.log("certificate ends", level="warning", name=name, days=days, hint=hint)

    def _check_port(self) -> None:
        settings = self.federation.settings
        error = _bind(settings.listen, settings.port)
        if error is not None:
            taken = error.errno == errno.EADDRINUSE
            raise PortInUseError(
                f"{settings.listen}:{settings.port}: {error.strerror}",
                hint="another program listens there; `port` in federation.toml is for sites"
                if taken
                else "`listen` and `port` in federation.toml say where to listen",
            )

    def services(self) -> Sequence[Service]:
        """SuperLink first, then the gateway, once who was removed meanwhile is shut out."""
        listen, port = self.federation.settings.listen, self.federation.settings.port
        return [
            Service(
                "superlink",
                self.started("superlink", self._superlink),
                lambda: listens(self.superlink_port),
            ),
            Service(
                "gateway",
                self.started("gateway", self._gateway),
                lambda: listens(port, reachable(listen)),
                after=("superlink",),
                allowed=self._shut_out.is_set,
            ),
        ]

    def _superlink(self) -> list[str]:
        if _bind("127.0.0.1", self.superlink_port) is not None:
            self._take_another_port()
        federation = self.federation
        return superlink_command(federation.loopback, self.superlink_port, federation.database)

    def _take_another_port(self) -> None:
        """Leave a port that another program took while SuperLink was away."""
        (self.superlink_port,) = free_ports(1)
        self._write_connection()
        self.log("port changed", superlink_port=self.superlink_port)
        if self.supervisor is not None:
            self.supervisor.restart("gateway")

    def _gateway(self) -> list[str]:
        words = [sys.executable, "-m", "fedrisk.cli.gateway"]
        return [*words, str(self.folder), str(self.superlink_port)]

    def details(self) -> dict[str, Any]:
        """When certificates end."""
        names = ("server.crt", "ca.crt")
        return {
            "superlink_port": self.superlink_port,
            "certificates": {n: expiry(self.folder / n).isoformat() for n in names},
        }

    def figures(self) -> Sequence[Collector]:
        """Of sites, runs, heads of logs, backups and certificates."""
        clock = lambda: self._time().timestamp()  # noqa: E731
        files = {"server": self.folder / "server.crt", "authority": self.folder / "ca.crt"}
        ours = CoordinatorFigures(self.federation, clock, self._backup)
        return (ours, CertificateFigures(files))

    def on_ready(self, name: str) -> None:
        """Register every site after each start of SuperLink."""
        if name == "superlink":
            self._members, self._register_at, self._failures = 0, 0.0, 0

    def each_tick(self) -> None:
        """Take up changed sites and certificates."""
        supervisor = self.supervisor
        if supervisor is None:
            return
        self._follow_certificate(supervisor)
        if supervisor.conditions["superlink"].state == "running":
            self._follow_members()
            self._unfinished.look()
        if time.monotonic() > self._look_again:
            self._look_again += DAY
            self._look_at_certificates(supervisor)

    def _follow_certificate(self, supervisor: Supervisor) -> None:
        stamp = self._stamp("server.crt", "server.key")
        if stamp in (self._certificate, self._refused):
            return
        reason = _unfit(self.folder / "server.crt", self.folder / "server.key")
        if reason:
            # Between the writing of the two files, or for good: the gateway goes on with the old.
            self._refused = stamp
            self.log("certificate not taken", level="warning", reason=reason)
            return
        self._certificate, self._refused = stamp, 0
        self.log("certificate changed")
        supervisor.restart("gateway")

    def _look_at_certificates(self, supervisor: Supervisor) -> None:
        try:
            self._warn_of_ends()
            self._renew_loopback(supervisor)
        except (FedriskError, OSError) as error:  # no reason to end what works
            self.log("certificates not looked at", level="error", reason=str(error))

    def _renew_loopback(self, supervisor: Supervisor) -> None:
        ends = expiry(self.federation.loopback / "server.crt")
        if ends - self._time() < timedelta(days=WARN_DAYS):
            self._make_loopback()
            supervisor.restart("superlink")
            supervisor.restart("gateway")

    def _follow_members(self) -> None:
        busy = self._registering is not None and self._registering.is_alive()
        members = self._stamp("sites.json")
        if members != self._members and not busy and time.monotonic() >= self._register_at:
            self._members = members
            self._registering = self.beside(self._register)

    def _register(self) -> None:
        try:
            done = register_members(self.federation.members, self.control, self._shut_out.set)
        except Exception as error:  # noqa: BLE001 what Flower prints may change; it is tried again
            self.log("registration failed", level="error", reason=str(error) or repr(error))
            self._failures += 1
            self._register_at = time.monotonic() + Backoff(2.0).delay(self._failures, 0.0)
            self._members = 0
            return
        self._failures = 0
        for line in done:
            self.log("registered", what=line)

    def _stamp(self, *names: str) -> int:
        """Changes when one of these files does; 0 while none is there."""
        stamp = 0
        for name in names:
            with suppress(OSError):
                stamp = max(stamp, (self.folder / name).stat().st_mtime_ns)
        return stamp


def _bind(host: str, port: int) -> OSError | None:
    """Try to take an address, and give it back; what speaks against it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _unfit(certificate: Path, key: Path) -> str:
    """Why a server cannot use these two; empty when it can."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        return str(error)
    return ""
