"""A coordinator's processes: SuperLink on the loopback interface, the gateway before it."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fedrisk.errors import FederationError, PortInUseError
from fedrisk.federation.engines.flower import Control, superlink_command, write_connection
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.certificates import (
    expiry,
    make_authority,
    make_server_certificate,
)
from fedrisk.federation.provisioning.coordinator import Federation
from fedrisk.federation.registration import register_members
from fedrisk.federation.supervision import Log, Service
from fedrisk.federation.supervision_run import Supervised, listens
from fedrisk.home import Home

#: Days before the end of a certificate at which each start warns.
WARN_DAYS = 30


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
    """

    def __init__(
        self,
        federation: Federation,
        base: Mapping[str, str],
        resident: bool,
        log: Log,
        now: datetime,
    ) -> None:
        super().__init__(federation.folder, base, resident, log)
        self.federation = federation
        self.environment["FEDRISK_HOME"] = str(federation.home)
        (self.superlink_port,) = free_ports(1)
        self.control = Control(self.environment, self.logs / "flwr.log")
        self._members = 0
        self._certificate = 0
        self._registering: threading.Thread | None = None
        self._prepare(now)

    def _prepare(self, now: datetime) -> None:
        Home(self.federation.home).prepare()
        self._check_port()
        make_authority(self.federation.loopback, now)
        make_server_certificate(self.federation.loopback, ["127.0.0.1", "localhost"], now)
        authority = self.federation.loopback / "ca.crt"
        write_connection(self.folder / "flower", self.superlink_port, authority)
        self._certificate = _stamp(self.federation, "server.crt")
        for name in ("server.crt", "ca.crt"):
            days = (expiry(self.folder / name) - now).days
            if days < WARN_DAYS:
                hint = "fedrisk federation rotate"
                self.log("certificate ends", level="warning", name=name, days=days, hint=hint)

    def _check_port(self) -> None:
        settings = self.federation.settings
        family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.listen, settings.port))
            except OSError as error:
                raise PortInUseError(
                    f"{settings.listen}:{settings.port}: {error.strerror}",
                    hint="another program listens there; `port` in federation.toml is for sites",
                ) from None

    def services(self) -> Sequence[Service]:
        """SuperLink first, then the gateway."""
        superlink = superlink_command(
            self.federation.loopback, self.superlink_port, self.federation.database
        )
        gateway = [sys.executable, "-m", "fedrisk.cli.gateway"]
        gateway += [str(self.folder), str(self.superlink_port)]
        reachable = "127.0.0.1" if self._listens_anywhere() else self.federation.settings.listen
        port = self.federation.settings.port
        return [
            Service(
                "superlink",
                self.started("superlink", lambda: superlink),
                lambda: listens(self.superlink_port),
            ),
            Service(
                "gateway",
                self.started("gateway", lambda: gateway),
                lambda: listens(port, reachable),
                after=("superlink",),
            ),
        ]

    def _listens_anywhere(self) -> bool:
        return self.federation.settings.listen in ("0.0.0.0", "::")  # noqa: S104 compared only

    def details(self) -> dict[str, Any]:
        """When certificates end."""
        names = ("server.crt", "ca.crt")
        return {
            "superlink_port": self.superlink_port,
            "certificates": {n: expiry(self.folder / n).isoformat() for n in names},
        }

    def on_ready(self, name: str) -> None:
        """Register every site after each start of SuperLink."""
        if name == "superlink":
            self._members = 0

    def each_tick(self) -> None:
        """Take up changed sites and certificates."""
        supervisor = self.supervisor
        if supervisor is None:
            return
        certificate = _stamp(self.federation, "server.crt")
        if certificate != self._certificate:
            self._certificate = certificate
            self.log("certificate changed")
            supervisor.restart("gateway")
        busy = self._registering is not None and self._registering.is_alive()
        members = _stamp(self.federation, "sites.json")
        running = supervisor.conditions["superlink"].state == "running"
        if running and members != self._members and not busy:
            self._members = members
            self._registering = threading.Thread(target=self._register, daemon=True)
            self._registering.start()

    def _register(self) -> None:
        try:
            done = register_members(self.federation.members, self.control)
        except FederationError as error:
            self.log("registration failed", level="error", reason=error.message)
            threading.Event().wait(5.0)
            self._members = 0
            return
        for line in done:
            self.log("registered", what=line)


def _stamp(federation: Federation, name: str) -> int:
    try:
        return (federation.folder / name).stat().st_mtime_ns
    except FileNotFoundError:
        return 0
