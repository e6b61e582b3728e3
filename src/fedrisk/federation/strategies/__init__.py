"""Strategies by name: a new one costs a file, a test and a line here."""

from fedrisk.federation.strategies.base import Fit, Start, Strategy
from fedrisk.federation.strategies.exact import exact
from fedrisk.federation.strategies.fedadam import fedadam
from fedrisk.federation.strategies.fedavg import fedavg
from fedrisk.federation.strategies.fedprox import fedprox
from fedrisk.federation.strategies.recalibrate import recalibrate

STRATEGIES: dict[str, Strategy] = {
    "exact": exact,
    "fedavg": fedavg,
    "fedprox": fedprox,
    "fedadam": fedadam,
    "recalibrate": recalibrate,
}
#: Strategies that start from a model that is, and need the request's ``base``.
FROM_BASE = frozenset({"recalibrate"})

__all__ = ["FROM_BASE", "STRATEGIES", "Fit", "Start", "Strategy"]
