"""A site's processes: one SuperNode, which only ever connects outwards."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fedrisk.federation.engines.flower import supernode_command, toml_strings
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.connection import fault
from fedrisk.federation.provisioning.documents import write_whole
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.federation.supervision import Log, Service
from fedrisk.federation.supervision_run import Supervised

#: What a SuperNode logs once SuperLink has accepted it.
CONNECTED = "SuperNode ID:"
#: What it logs when SuperLink does not know its key.
REFUSED = ("Invalid SuperNode authentication", "401 Unauthorized", "not found", "404 Not Found")
_NOT_REGISTERED = (
    "the coordinator does not accept this site's key: it is not approved yet, was removed, "
    "or another site runs with the same key"
)


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

    def __init__(self, site: SiteFolder, base: Mapping[str, str], resident: bool, log: Log) -> None:
        super().__init__(site.folder, base, resident, log)
        self.site = site
        self.fault = ""
        self._diagnosis: threading.Thread | None = None

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
        site = self.site
        return supernode_command(settings.superlink, site.authorities, site.key, port, config)

    def details(self) -> dict[str, Any]:
        """Who this is, where it connects, and what stands in between."""
        settings = self.site.settings
        return {"site": settings.site, "superlink": settings.superlink, "fault": self.fault}

    def on_ready(self, name: str) -> None:
        """Forget what stood in between."""
        if name == "supernode":
            self.fault = ""

    def on_exit(self, name: str) -> None:
        """Find out why, beside the restart; take the next key when the old one is refused."""
        if name != "supernode":
            return
        said = self.said("supernode")
        refused = any(sign in said for sign in REFUSED)
        if refused and self.site.take_next_key():
            self.log("key changed", site=self.site.settings.site)
            return
        self._diagnosis = threading.Thread(target=self._diagnose, args=(refused,), daemon=True)
        self._diagnosis.start()

    def _diagnose(self, refused: bool) -> None:
        settings = self.site.settings
        found = fault(settings.superlink, self.site.authorities, lambda: datetime.now(UTC))
        self.fault = found or (_NOT_REGISTERED if refused else "")
        if self.fault:
            self.log("not connected", level="error", reason=self.fault)

    def check_way(self) -> None:
        """Try the way to the coordinator once, and log what is wrong; the start goes on."""
        self._diagnose(refused=False)
