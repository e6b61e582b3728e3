"""FedProx (Li et al., MLSys 2020), Flower's own."""

from __future__ import annotations

from flwr.serverapp.strategy import FedProx

from fedrisk.federation.strategies.averaging import average, flower_arguments
from fedrisk.federation.strategies.base import Fit, Start

#: Weight of the proximal term unless the request's options name ``proximal-mu``.
PROXIMAL_MU = 0.1


def fedprox(start: Start) -> Fit:
    """Average, with each site held near the federation's parameters by a proximal term."""
    weight = start.broadcast.request.options.get("proximal-mu", PROXIMAL_MU)
    return average(start, FedProx(proximal_mu=weight, **flower_arguments()))  # type: ignore[arg-type]
