"""Federated averaging (McMahan et al., AISTATS 2017), Flower's own."""

from __future__ import annotations

from flwr.serverapp.strategy import FedAvg

from fedrisk.federation.strategies.averaging import average, flower_arguments
from fedrisk.federation.strategies.base import Fit, Start


def fedavg(start: Start) -> Fit:
    """Average the sites' parameters, weighted by their training rows."""
    return average(start, FedAvg(**flower_arguments()))  # type: ignore[arg-type]
