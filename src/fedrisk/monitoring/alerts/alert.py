"""What people are told: alerts, made from what commands answer.

Each function is pure: from the JSON of `fedrisk drift` or `fedrisk retrain` to alerts. An alert has
a kind and a subject; the two together are one trouble, however often it is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

Level = Literal["low", "medium", "high"]
Kind = Literal[
    "quality",
    "drift",
    "harm",
    "evidence",
    "site",
    "approval",
    "gate",
    "released",
    "returned",
    "abandoned",
    "command",
]
#: The lowest first.
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
#: What happens once and does not last: nobody is told that it is over.
EVENTS: Final[frozenset[Kind]] = frozenset({"gate", "released", "returned", "abandoned"})
#: Where the runbooks are, unless the rules name another place.
RUNBOOKS: Final = "docs/runbooks"


@dataclass(frozen=True)
class Alert:
    """One trouble.

    Attributes
    ----------
    kind : Kind
    subject : str
        What it is about: a model's name, or a site's.
    level : Level
    title : str
        One line.
    text : str
        Sentences; aggregates and names alone, never a row's value.
    """

    kind: Kind
    subject: str
    level: Level
    title: str
    text: str = ""

    @property
    def key(self) -> str:
        """The trouble's name: what is seen again under it is not told again.

        >>> Alert("quality", "north", "high", "no feed").key
        'quality:north'
        """
        return f"{self.kind}:{self.subject}"


def at_least(level: Level, least: Level) -> bool:
    """Whether a level is as high as another.

    >>> at_least("medium", "low"), at_least("low", "high")
    (True, False)
    """
    return LEVELS.index(level) >= LEVELS.index(least)


def drift_alerts(model: str, verdict: Mapping[str, Any]) -> tuple[Alert, ...]:
    """Alerts of a verdict, as `fedrisk drift --json` answers it; none where all is well.

    Parameters
    ----------
    model : str
        The champion's name.
    verdict : dict
        With verdict, severity, diagnosis, sentences and per_site.
    """
    text = "\n".join(verdict.get("sentences", ()))
    found = _of_status(model, verdict, text)
    sites = [
        Alert("site", site, "medium", f"site {site} is out of line", text)
        for site in verdict.get("sites_out_of_line", ())
    ]
    return (*found, *sites)


def _of_status(model: str, verdict: Mapping[str, Any], text: str) -> tuple[Alert, ...]:
    status, severity = verdict["verdict"], verdict.get("severity", "none")
    level: Level = severity if severity in LEVELS else "low"
    diagnosis = verdict.get("diagnosis", "none")
    if status == "quality":
        return _quality_alerts(model, verdict, text)
    if status == "harm":
        harmed: Level = "high" if level == "high" else "medium"
        return (Alert("harm", model, harmed, f"model {model} does harm: {diagnosis}", text),)
    if status == "drift":
        return (Alert("drift", model, level, f"model {model}: {diagnosis} drift", text),)
    if status == "insufficient evidence":
        return (Alert("evidence", model, "low", f"model {model}: too little to judge by", text),)
    return ()


def _quality_alerts(model: str, verdict: Mapping[str, Any], text: str) -> tuple[Alert, ...]:
    """One alert for each site whose data are broken: its operator is the one who can mend them."""
    broken = {
        site: each
        for site, each in verdict.get("per_site", {}).items()
        if each.get("status") == "quality"
    }
    if not broken:
        return (Alert("quality", model, "high", f"data of model {model} are broken", text),)
    return tuple(
        Alert(
            "quality",
            site,
            "high",
            f"data of site {site} are broken",
            "\n".join(each.get("reasons", ())) or text,
        )
        for site, each in broken.items()
    )


def loop_alerts(model: str, loop: Mapping[str, Any]) -> tuple[Alert, ...]:
    """Alerts of a retraining, as `fedrisk retrain --json` answers it.

    Parameters
    ----------
    model : str
        The registered model's name.
    loop : dict
        With state, reason, champion and challenger.
    """
    reason = str(loop.get("reason", ""))
    challenger = loop.get("challenger")
    told: dict[str, tuple[Kind, Level, str]] = {
        "awaiting approval": ("approval", "medium", f"version {challenger} waits for approval"),
        "refused": ("gate", "medium", f"the gate refused version {challenger}"),
        "returned": ("returned", "high", "the champion was taken back"),
        "abandoned": ("abandoned", "high", "a retraining was given up"),
    }
    if loop.get("released"):
        told["done"] = ("released", "low", f"version {loop.get('champion')} is champion")
    if loop.get("state") not in told:
        return ()
    kind, level, title = told[loop["state"]]
    return (Alert(kind, model, level, f"model {model}: {title}", reason),)


def failure_alert(command: str, code: int, reason: str) -> Alert:
    """A command of the watch that ended by an error."""
    return Alert("command", command, "high", f"`fedrisk {command}` ended with code {code}", reason)
