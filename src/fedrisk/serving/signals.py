"""What SIGTERM and SIGINT mean to the serving process."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def end_well_on_signals() -> None:
    """Let SIGTERM and SIGINT mean success; call it before anything takes long."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        sys.exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
