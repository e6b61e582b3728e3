"""What `fedrisk federation start` and `fedrisk site start` share: one holder, signals, events."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedrisk.logs import JsonLog
    from fedrisk.probes import Place


@dataclass(frozen=True)
class Start:
    """What a supervised start is given.

    Attributes
    ----------
    environment : mapping
        To start processes with.
    resident : bool
        Fork Flower's commands from a resident process.
    log : JsonLog
        Events on standard output.
    stop : threading.Event
        Set by SIGTERM and Ctrl-C.
    metrics_token_file : Path, optional
        Holds what a scrape of figures sends.
    backup_status : Path, optional
        Says how backups went.
    """

    environment: Mapping[str, str]
    resident: bool
    log: JsonLog
    stop: threading.Event
    metrics_token_file: Path | None = None
    backup_status: Path | None = None

    def place(self, listen: str, port: int) -> Place:
        """Where probes are answered, and figures told.

        Beyond loopback without a token the figures are refused, and the log says so once.
        """
        from fedrisk.probes import Place

        place = Place(listen, port, self.metrics_token_file)
        place.check()
        if not place.tells_figures:
            hint = "FEDRISK_METRICS_TOKEN_FILE names a file with a token"
            self.log("figures not told", level="warning", listen=listen, hint=hint)
        return place


@contextmanager
def supervising(held: AbstractContextManager[None]) -> Iterator[Start]:
    """Hold a folder while its processes run.

    Raises
    ------
    HomeError
        When another process holds it.
    """
    from fedrisk.federation.supervision.run import stop_on_signals
    from fedrisk.logs import JsonLog
    from fedrisk.settings import process_environment, read_settings

    settings = read_settings()
    resident = settings.flower_start == "resident"
    log = JsonLog(lambda: datetime.now(UTC))
    with held, stop_on_signals() as stop:
        yield Start(
            process_environment(),
            resident,
            log,
            stop,
            settings.metrics_token_file,
            settings.backup_status,
        )
