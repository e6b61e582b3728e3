"""Models compared on the same test rows of every site, by two messages."""

from __future__ import annotations

from datetime import datetime

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.study.questions import ComparisonRequest, ComparisonResult


def compare(
    broadcast: Broadcast[ComparisonRequest], now: datetime, checkpoints: Checkpoints | None = None
) -> ComparisonResult:
    """Run the request; parameters and errors are those of `train`."""
    raise NotImplementedError
