"""Bin counts of the sites' rows by windows of time, asked in one message."""

from __future__ import annotations

from datetime import datetime

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.study.questions import ProfileRequest, ProfileResult


def profile(
    broadcast: Broadcast[ProfileRequest], now: datetime, checkpoints: Checkpoints | None = None
) -> ProfileResult:
    """Run the request; parameters and errors are those of `train`."""
    raise NotImplementedError
