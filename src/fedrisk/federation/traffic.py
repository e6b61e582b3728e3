"""Which sites the gateway has heard, when, and whom it refused: ``traffic.json`` in the folder.

The gateway writes it every few seconds; the coordinator's figures read it. It holds names and
counts alone, and outlives a restart.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from fedrisk.durable import replace

#: Whoever has no approved key, in `Traffic.refused`.
STRANGER = "stranger"
#: A SuperNode asks every few seconds and beats every thirty: two beats, and the writing of a file.
ONLINE_SECONDS = 75.0
FILE = "traffic.json"


@dataclass
class Traffic:
    """What came through the door.

    Attributes
    ----------
    seen : dict of site to float
        When its last admitted call came, seconds since 1970.
    refused : Counter
        Calls that were refused, by site, or by `STRANGER`.
    """

    seen: dict[str, float] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, folder: Path) -> Traffic:
        """What was written last; nothing where it cannot be read: it is not worth failing for."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            found = json.loads((folder / FILE).read_text(encoding="utf-8"))
            seen = {str(site): float(time) for site, time in found["seen"].items()}
            refused = Counter({str(who): int(count) for who, count in found["refused"].items()})
            return cls(seen, refused)
        return cls()

    def write(self, folder: Path) -> None:
        """Put it in place of what was written before; a full disk keeps no call out."""
        document = {"seen": dict(self.seen), "refused": dict(self.refused)}
        with suppress(OSError):
            replace(folder / FILE, json.dumps(document).encode() + b"\n", durable=False)

    def admitted(self, site: str, now: float) -> None:
        """Note a site's call."""
        self.seen[site] = now

    def turned_away(self, caller: str) -> None:
        """Note a call that was refused; an empty name is a stranger's."""
        self.refused[caller or STRANGER] += 1
