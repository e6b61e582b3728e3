"""Hold a gate over several challengers: every one is judged, the best that passes is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fedrisk.models.comparison import Comparison
from fedrisk.retraining.gate import GateAnswer, GateVerdict, choose, judge_all
from fedrisk.retraining.gate_rows import Span
from fedrisk.retraining.margins import Spending
from fedrisk.retraining.plan import ChangePlan
from fedrisk.study import Study

#: Answers to no challenger at all, the weightiest first.
_WEIGHT: tuple[GateAnswer, ...] = ("not identifiable", "refuse", "insufficient evidence")


@dataclass(frozen=True)
class Held:
    """What a gate said.

    Attributes
    ----------
    verdict : GateAnswer
    chosen : str or None
        The challenger to go on with.
    reason : str
        The deciding sentences.
    alpha : float
        Error rate that it spent.
    wants_untreated : bool
        Whether rows whose score led to no care could tell more.
    document : dict
        Verdict of each challenger; JSON values.
    """

    verdict: GateAnswer
    chosen: str | None
    reason: str
    alpha: float = 0.0
    wants_untreated: bool = False
    document: Mapping[str, Any] = field(default_factory=dict)


Gate = Callable[
    [Comparison, Study, ChangePlan, Sequence[Mapping[str, Any]], datetime],
    Held,
]


def hold_gate(
    comparison: Comparison,
    study: Study,
    plan: ChangePlan,
    spent: Sequence[Mapping[str, Any]],
    now: datetime,
) -> Held:
    """Judge every challenger of a comparison.

    Parameters
    ----------
    comparison : Comparison
    study : Study
    plan : ChangePlan
        With the margins, set before.
    spent : sequence of dict
        `spending_record` of each earlier gate.
    now : datetime
        With a time zone.
    """
    spending = Spending(plan.spending, spent_alpha(spent))
    verdicts = judge_all(comparison, study, plan.margins, spending, now)
    simplest = tuple(each.name for each in plan.challengers if each.strategy == "recalibrate")
    chosen = choose(comparison, verdicts, simplest)
    verdict: GateAnswer = "pass" if chosen is not None else _overall(verdicts)
    deciding = [
        f"{name}: {sentence}"
        for name, each in verdicts.items()
        if each.verdict == verdict and chosen in (None, name)
        for sentence in each.sentences[:2]
    ]
    return Held(
        verdict,
        chosen,
        "; ".join(deciding) or verdict,
        max(each.alpha for each in verdicts.values()),
        any(each.wants == "untreated rows" for each in verdicts.values()),
        {"challengers": {name: each.document() for name, each in verdicts.items()}},
    )


def spending_record(
    held: Held, since: str | None, until: str | None, now: datetime
) -> dict[str, Any]:
    """What a gate spent: its rows where it came to a verdict, and its error rate."""
    return {
        "at": now.isoformat(),
        "since": since,
        "until": until,
        "verdict": held.verdict,
        "alpha": held.alpha,
    }


def spent_alpha(spent: Sequence[Mapping[str, Any]]) -> tuple[tuple[datetime, float], ...]:
    """When gates judged, and their error rates."""
    return tuple(
        (datetime.fromisoformat(each["at"]), float(each["alpha"]))
        for each in spent
        if each["alpha"]
    )


def spent_rows(spent: Sequence[Mapping[str, Any]]) -> tuple[Span, ...]:
    """Rows that gates came to a verdict on."""
    return tuple(
        Span(datetime.fromisoformat(each["since"]), datetime.fromisoformat(each["until"]))
        for each in spent
        if each["verdict"] in ("pass", "refuse") and each["since"] and each["until"]
    )


def _overall(verdicts: Mapping[str, GateVerdict]) -> GateAnswer:
    answers = {each.verdict for each in verdicts.values()}
    return next((each for each in _WEIGHT if each in answers), "insufficient evidence")
