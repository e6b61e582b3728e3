"""Strategies by name: a new one costs a file, a test and a line here."""

from fedrisk.federation.strategies.base import Fit, Start, Strategy
from fedrisk.federation.strategies.exact import exact
from fedrisk.federation.strategies.fedadam import fedadam
from fedrisk.federation.strategies.fedavg import fedavg
from fedrisk.federation.strategies.fedprox import fedprox

STRATEGIES: dict[str, Strategy] = {
    "exact": exact,
    "fedavg": fedavg,
    "fedprox": fedprox,
    "fedadam": fedadam,
}

__all__ = ["STRATEGIES", "Fit", "Start", "Strategy"]
