"""A site's processes: one SuperNode, which only ever connects outwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.registry import Collector

from fedrisk.durable import write_whole
from fedrisk.federation.engines.flower import supernode_command, toml_strings
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.figures.site import SiteFigures
from fedrisk.federation.figures.supervised import CertificateFigures
from fedrisk.federation.provisioning.connection import fault
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.federation.supervision.run import Supervised
from fedrisk.federation.supervision.supervisor import Backoff, Log, Service

#: What a SuperNode logs once SuperLink has accepted it.
CONNECTED = "SuperNode ID:"
#: What it logs when SuperLink does not let it in.
REFUSED = (
    "Failed to activate SuperNode",
    "Invalid SuperNode authentication",
    "401 Unauthorized",
    "404 Not Found",
)
#: What it logs when an answer, or the way to one, may be left over from a run that has ended. It
#: sends one answer for each question that it takes, the oldest first: with one left over, every
#: later question gets the answer to the one before, until it is started again.
LEFT_OVER = (
    "is not in `RUNNING` status. Ignoring reply message",
    "is not in `RUNNING` status. Ignoring message",
    "Failed to receive message",
)
#: What it logs when it gives a coordinator up for its certificate. It runs on then, and never
#: connects again, also where the certificate has been renewed.
GIVEN_UP = ("SSL/TLS handshake error detected",)
_NOT_ACCEPTED = (
    "the coordinator does not accept this site's key: it is not approved yet, was removed, or "
    "another site runs with the same key; if the coordinator was restarted, this passes in a minute"
)
#: Seconds between two looks at the way to the coordinator, and between them while it is not free:
#: what has passed is to be seen as soon as probes ask for it.
LOOK_SECONDS, FAULT_SECONDS = 60.0, 10.0


class Site(Supervised):
    """Runs one site; the folder's lock is the caller's.

    Parameters
    ----------
    site : SiteFolder
    base : mapping
        The environment to start processes with.
    resident : bool
    log : callable
    """

    service = "site"

    def __init__(self, site: SiteFolder, base: Mapping[str, str], resident: bool, log: Log) -> None:
        super().__init__(site.folder, base, resident, log)
        self.site = site
        self.fault = ""
        self._connected = False
        self._tries_next = False
        self._look_at = time.monotonic() + LOOK_SECONDS
        self._diagnosis: threading.Thread | None = None

    #: SuperLink refuses a SuperNode for a minute after another of its key, such as one that was
    #: killed, was last heard of: twice Flower's heartbeat. It is tried often enough to notice.
    backoff = Backoff(largest=15.0)

    def services(self) -> Sequence[Service]:
        """The SuperNode alone."""
        return [
            Service(
                "supernode",
                self.started("supernode", self._command),
                lambda: CONNECTED in self.said("supernode"),
                # Flower waits for a coordinator that is away; it is ended only when it hangs.
                start_seconds=3600.0,
            )
        ]

    def _command(self) -> list[str]:
        settings = self.site.settings
        config = self.folder / "node.toml"
        values = {"site": settings.site, "data": settings.data, "folder": str(self.folder)}
        write_whole(config, toml_strings(**values))
        (port,) = free_ports(1)
        authorities = self.site.authorities
        return supernode_command(settings.superlink, authorities, self._key(), port, config)

    def _key(self) -> Path:
        """The key in use, or the one that comes next, once the one in use has been refused."""
        following = self.folder / "next.key"
        self._tries_next = self._tries_next and following.exists()
        return following if self._tries_next else self.site.key

    def details(self) -> dict[str, Any]:
        """Who this is, where it connects, and what stands in between."""
        settings = self.site.settings
        return {"site": settings.site, "superlink": settings.superlink, "fault": self.fault}

    def ready(self) -> bool:
        """Whether everything does its work, and nothing stands between site and coordinator.

        A SuperNode that has been connected waits for a coordinator that is away without a word.
        """
        return super().ready() and not self.fault

    def figures(self) -> Sequence[Collector]:
        """Of what left the site, its way to the coordinator, and the authority it trusts."""
        ours = SiteFigures(self.folder, self.site.settings.site, lambda: self.fault)
        return (ours, CertificateFigures({"authority": self.site.authorities}))

    def on_ready(self, name: str) -> None:
        """Forget what stood in between; the key by which the site came in is the one in use."""
        if name != "supernode":
            return
        self.fault, self._connected = "", True
        if self._tries_next and self.site.take_next_key():
            self.log("key changed", site=self.site.settings.site)
        self._tries_next = False

    def on_exit(self, name: str) -> None:
        """Find out why, beside the restart; try the other key where there are two."""
        if name != "supernode":
            return
        said, self._connected = self.last_words("supernode"), False
        refused = any(sign in said for sign in REFUSED)
        if refused:
            self._tries_next = not self._tries_next
        self._find_out(refused)

    def each_tick(self) -> None:
        """Restart a SuperNode that is behind or has given up, and try the way now and then.

        Flower waits for a coordinator that is away without a word.
        """
        self._catch_up()
        if time.monotonic() > self._look_at:
            self._find_out(refused=False)

    def _catch_up(self) -> None:
        supervisor = self.supervisor
        if supervisor is None:
            return
        condition = supervisor.conditions["supernode"]
        if condition.state != "running" or condition.asked_to_stop:
            return
        said = self.last_words("supernode")
        reason = "an answer may be left over" if any(sign in said for sign in LEFT_OVER) else ""
        if any(sign in said for sign in GIVEN_UP):
            reason = "it has given the coordinator up for its certificate"
        if reason:
            self.log("restarting", service="supernode", reason=reason)
            supervisor.restart("supernode")

    def check_way(self) -> None:
        """Try the way to the coordinator once, and log what is wrong; the start goes on."""
        self._diagnose(refused=False)

    def _find_out(self, refused: bool) -> None:
        self._look_at = time.monotonic() + LOOK_SECONDS
        if self._diagnosis is None or not self._diagnosis.is_alive():
            self._diagnosis = self.beside(lambda: self._diagnose(refused))

    def _diagnose(self, refused: bool) -> None:
        superlink = self.site.settings.superlink
        clock = lambda: datetime.now(UTC)  # noqa: E731
        found = fault(superlink, self.site.authorities, clock, self.site.key)
        # A refusal stands until the SuperNode is connected, be that while this looks.
        refused = (refused or self.fault == _NOT_ACCEPTED) and not self._connected
        former, self.fault = self.fault, found or (_NOT_ACCEPTED if refused else "")
        if self.fault:
            self._look_at = time.monotonic() + FAULT_SECONDS
        if self.fault and self.fault != former:
            self.log("not connected", level="error", reason=self.fault)
