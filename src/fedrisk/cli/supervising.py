"""What `fedrisk federation start` and `fedrisk site start` share: one holder, signals, events."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedrisk.logs import JsonLog


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
    """

    environment: Mapping[str, str]
    resident: bool
    log: JsonLog
    stop: threading.Event


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

    resident = read_settings().flower_start == "resident"
    log = JsonLog(lambda: datetime.now(UTC))
    with held, stop_on_signals() as stop:
        yield Start(process_environment(), resident, log, stop)
