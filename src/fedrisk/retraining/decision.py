"""From a verdict to what is done about it: a pure function."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from fedrisk.monitoring.verdict import Verdict

#: Seconds.
_DAY = 86_400.0

Trigger = Literal["drift", "scheduled", "manual"]
Action = Literal[
    "none",
    "quality block",
    "monitor",
    "investigate",
    "retrain",
    "recalibrate",
    "site out of line",
]


class DecisionRules(BaseModel):
    """Rules of `decide`; unknown keys are errors.

    Parameters
    ----------
    cooldown_days : float
        After a retraining none is begun for so long, unless a person asks for it.
    budget, budget_days : int, float
        Retrainings that may begin within so many days: each spends rows of the gate.
    least_rows, least_events : float
        Mature rows and events since the champion's last row, without which a retraining or a
        recalibration has nothing to learn from.
    approval : {"person", "plan"}
        Who lets a retraining begin that was not asked for by a person.
    act_on_estimate : bool
        Whether harm that was estimated without labels is enough to retrain.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cooldown_days: float = Field(default=14.0, ge=0)
    budget: int = Field(default=6, ge=0)
    budget_days: float = Field(default=180.0, gt=0)
    least_rows: float = Field(default=1_000.0, ge=0)
    least_events: float = Field(default=50.0, ge=0)
    approval: Literal["person", "plan"] = "plan"
    act_on_estimate: bool = False


@dataclass(frozen=True)
class Situation:
    """What a decision depends on besides the verdict.

    Attributes
    ----------
    now : datetime
        With a time zone.
    trigger : {"drift", "scheduled", "manual"}
        Why somebody asks: the watch, the calendar, a person.
    retrainings : tuple of datetime
        When earlier retrainings began, in any order.
    running : bool
        Whether one is under way, or waits for approval.
    rows, events : float
        Mature rows and events since the champion's last row.
    """

    now: datetime
    trigger: Trigger = "drift"
    retrainings: tuple[datetime, ...] = ()
    running: bool = False
    rows: float = 0.0
    events: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What to do.

    Attributes
    ----------
    action : Action
    reason : str
        A sentence.
    wanted : Action
        What would be done if cooldown, budget, rows and runs under way allowed it.
    needs_approval : bool
        Whether a person must say yes before it begins.
    sites : tuple of str
        Whom it is about; empty for all.
    """

    action: Action
    reason: str
    wanted: Action
    needs_approval: bool = False
    sites: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The decision as JSON values."""
        return asdict(self) | {"sites": list(self.sites)}


def decide(verdict: Verdict, situation: Situation, rules: DecisionRules) -> Decision:
    """Decide what a verdict leads to; the same arguments give the same decision.

    Broken data block everything, whoever asks. Drift alone is looked into; measured harm is acted
    upon, by recalibration where ranks still hold and by retraining where they do not. Cooldown and
    budget bind the watch and the calendar, not a person; rows that do not suffice bind everybody.

    Parameters
    ----------
    verdict : Verdict
    situation : Situation
    rules : DecisionRules
    """
    wanted, reason = _wanted(verdict, situation.trigger, rules)
    sites = _sites_meant(verdict, wanted)
    if wanted not in ("retrain", "recalibrate"):
        return Decision(wanted, reason, wanted, sites=sites)
    hindrance = _hindrance(situation, rules)
    if hindrance:
        # Harm that cannot be mended now must reach a person; a calendar can wait for its next day.
        instead: Action = "investigate" if verdict.status == "harm" else "monitor"
        return Decision(instead, f"{reason}; but {hindrance}", wanted)
    needs_approval = rules.approval == "person" and situation.trigger != "manual"
    return Decision(wanted, reason, wanted, needs_approval)


def _wanted(verdict: Verdict, trigger: Trigger, rules: DecisionRules) -> tuple[Action, str]:
    """What the verdict calls for by itself, and why."""
    if verdict.status == "quality":
        return "quality block", "data are broken: nothing is fitted on them before they are mended"
    changed = verdict.status in ("drift", "harm")
    if changed and verdict.sites_out_of_line and trigger != "manual":
        named = ", ".join(verdict.sites_out_of_line)
        return "site out of line", f"{named} changed and the other sites did not"
    if verdict.status == "harm":
        mended = _mending_harm(verdict, rules)
        if mended[0] != "investigate":
            return mended
    if trigger != "drift":
        return _asked(verdict, trigger)
    return mended if verdict.status == "harm" else _watched(verdict)


def _mending_harm(verdict: Verdict, rules: DecisionRules) -> tuple[Action, str]:
    kind = verdict.harm.kind
    if kind != "measured" and not (kind == "estimated" and rules.act_on_estimate):
        return "investigate", "harm is estimated, not measured: mature labels have to confirm it"
    if verdict.diagnosis in ("prevalence", "calibration"):
        return "recalibrate", f"{kind} harm by a change of {verdict.diagnosis}: ranks still hold"
    return "retrain", f"{kind} harm, diagnosed as {verdict.diagnosis}"


def _asked(verdict: Verdict, trigger: Trigger) -> tuple[Action, str]:
    """What the calendar or a person gets that no harm calls for."""
    if trigger == "manual":
        return "retrain", "a person asked for it"
    if verdict.status == "insufficient evidence":
        return "monitor", "nothing is known of the current data, so the calendar waits"
    return "retrain", "the calendar asked for it; the gate judges whether it is better"


def _watched(verdict: Verdict) -> tuple[Action, str]:
    """What the watch leads to where no harm is seen."""
    if verdict.status == "insufficient evidence":
        return "monitor", "the evidence does not suffice for more"
    if verdict.status == "drift":
        return "investigate", f"drift without measured harm, diagnosed as {verdict.diagnosis}"
    if verdict.status == "monitor":
        return "monitor", "something moved, yet not enough or not for long enough"
    return "none", "nothing changed beyond what the reference's own blocks show"


def _hindrance(situation: Situation, rules: DecisionRules) -> str:
    """Why no retraining may begin now; empty where one may."""
    if situation.running:
        return "a retraining is under way already"
    if situation.rows < rules.least_rows or situation.events < rules.least_events:
        return (
            f"{situation.rows:,.0f} mature rows with {situation.events:,.0f} events since the "
            f"champion's last row are fewer than {rules.least_rows:,.0f} and "
            f"{rules.least_events:,.0f}"
        )
    if situation.trigger == "manual":
        return ""
    # One that seems to lie ahead, by a clock that was wrong, must not bar others until then.
    ages = [abs(situation.now - began).total_seconds() / _DAY for began in situation.retrainings]
    if any(age < rules.cooldown_days for age in ages):
        return f"the last retraining began {min(ages):.1f} of {rules.cooldown_days:g} days ago"
    spent = sum(age < rules.budget_days for age in ages)
    if spent >= rules.budget:
        return f"{spent} of {rules.budget} retrainings in {rules.budget_days:g} days are spent"
    return ""


def _sites_meant(verdict: Verdict, action: Action) -> tuple[str, ...]:
    if action == "site out of line":
        return verdict.sites_out_of_line
    if action == "quality block":
        return tuple(s for s, each in verdict.per_site.items() if each.status == "quality")
    return ()
