"""What runs of each kind do: one entry for a server app that is handed a request of any kind."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.questions.comparison import compare
from fedrisk.federation.questions.profile import profile
from fedrisk.federation.training import train
from fedrisk.study.questions import ComparisonRequest, ProfileRequest, Request, Result
from fedrisk.study.training import TrainingRequest


def ask(
    broadcast: Broadcast[Request], now: datetime, checkpoints: Checkpoints | None = None
) -> Result:
    """Run a request of any kind; parameters and errors are those of `train`."""
    match broadcast.request:
        case TrainingRequest():
            return train(cast("Broadcast[TrainingRequest]", broadcast), now, checkpoints)
        case ProfileRequest():
            return profile(cast("Broadcast[ProfileRequest]", broadcast), now, checkpoints)
        case ComparisonRequest():
            return compare(cast("Broadcast[ComparisonRequest]", broadcast), now, checkpoints)
