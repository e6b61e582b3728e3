"""What `--option NAME=NUMBER` may say to each strategy, with the range of every number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedrisk.errors import UsageError


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; none but whole ones where ``whole``."""

    low: float
    high: float
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and (not self.whole or value == int(value))

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.low:g} to {self.high:g}"


#: Of every strategy that averages local steps. Sites accept no wider ranges, and fewer steps
#: (`fedrisk.sites.disclosure.rules.OPTIONS`, and a policy's ``local_steps``).
_AVERAGING = {"local-steps": Range(1, 10_000, whole=True), "learning-rate": Range(1e-6, 1.0)}

#: Options by strategy; one that is not named here has none.
OPTIONS: Mapping[str, Mapping[str, Range]] = {
    "fedavg": _AVERAGING,
    "fedprox": {**_AVERAGING, "proximal-mu": Range(0.0, 1e6)},
    "fedadam": {**_AVERAGING, "eta": Range(1e-6, 1e3)},
}


def check_options(strategy: str, options: Mapping[str, float]) -> None:
    """Raise UsageError on an option that the strategy does not have, or outside its range."""
    known = OPTIONS.get(strategy, {})
    for name, value in options.items():
        if name not in known:
            raise UsageError(
                f"strategy {strategy!r} has no option {name!r}",
                hint="; ".join(f"{each}: {known[each]}" for each in known) or "it takes none",
            )
        if value not in known[name]:
            raise UsageError(f"option {name!r} must be {known[name]}, not {value:g}")
