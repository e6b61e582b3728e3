"""FedAdam (Reddi et al., ICLR 2021), Flower's own."""

from __future__ import annotations

from flwr.serverapp.strategy import FedAdam

from fedrisk.federation.strategies.averaging import average, flower_arguments
from fedrisk.federation.strategies.base import Fit, Start

#: Server learning rate unless the request's options name ``eta``.
ETA = 0.1


def fedadam(start: Start) -> Fit:
    """Average, with the server stepping by Adam instead of taking the mean."""
    eta = start.broadcast.request.options.get("eta", ETA)
    return average(start, FedAdam(eta=eta, **flower_arguments()))  # type: ignore[arg-type]
