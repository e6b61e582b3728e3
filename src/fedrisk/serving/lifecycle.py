"""Whether this process takes requests: not while it drains, and not while it is overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fedrisk.errors import OverloadedError

#: Seconds between two looks at the event loop's lag.
LOOK_SECONDS = 0.02


@dataclass(slots=True)
class Lifecycle:
    """State of one serving process.

    Attributes
    ----------
    most_lag : float
        Seconds that the event loop may be late before new requests are turned away. A request
        that waits longer than a caller does is work for nobody.
    draining : bool
        Told to end: running requests are answered, probes say that no more should come.
    lag : float
        Seconds that the event loop was late when last looked at.
    shed : int
        Requests that were turned away.
    connection_ended : callable
        Told why a connection was refused or ended before its caller wanted to.
    """

    most_lag: float = 0.25
    draining: bool = False
    lag: float = 0.0
    shed: int = 0
    connection_ended: Callable[[str], None] = lambda _: None

    def admit(self) -> None:
        """Raise OverloadedError while the process is late."""
        if self.lag > self.most_lag:
            self.shed += 1
            raise OverloadedError(
                f"the server is {self.lag:.2f} s behind", hint="come again in a second"
            )

    async def watch(self, now: Callable[[], float]) -> None:
        """Measure the event loop's lag for ever.

        Parameters
        ----------
        now : callable
            Monotonic seconds.
        """
        while True:
            before = now()
            await asyncio.sleep(LOOK_SECONDS)
            self.lag = max(0.0, now() - before - LOOK_SECONDS)
