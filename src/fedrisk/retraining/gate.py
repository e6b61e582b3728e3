"""The gate: whether a challenger may take the champion's place, from one comparison.

Pure: the same comparison, margins and spending give the same verdict. Design and reasons of every
number: docs/gate.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from fedrisk.errors import FederationError
from fedrisk.models.comparison import Comparison
from fedrisk.retraining.gate_checks import Check, every_check
from fedrisk.retraining.identifiability import Identifiability, identifiability
from fedrisk.retraining.margins import Margins, Spending
from fedrisk.study import Study

GateAnswer = Literal["pass", "refuse", "insufficient evidence", "not identifiable"]
#: What would let a gate say more: rows whose score led to no care, or more of any.
Wants = Literal["", "untreated rows", "more events"]


@dataclass(frozen=True)
class GateVerdict:
    """What the gate says about one challenger.

    Attributes
    ----------
    verdict : GateAnswer
        Only "pass" lets a challenger go on.
    challenger : str
    checks : tuple of Check
        Empty where nothing could be judged.
    sentences : tuple of str
        Why, the deciding ones first.
    alpha : float
        Error rate that this verdict spends (`Spending.after`), for this and the other challengers
        of the same comparison together; 0 where nothing was judged.
    wants : Wants
    """

    verdict: GateAnswer
    challenger: str
    checks: tuple[Check, ...]
    sentences: tuple[str, ...]
    alpha: float = 0.0
    wants: Wants = ""

    @property
    def passed(self) -> bool:
        """Whether the challenger may go on."""
        return self.verdict == "pass"

    def document(self) -> dict[str, Any]:
        """The verdict as JSON values."""
        return asdict(self) | {
            "checks": [each.document() for each in self.checks],
            "sentences": list(self.sentences),
        }


def judge_gate(
    comparison: Comparison,
    study: Study,
    margins: Margins,
    spent: Spending,
    now: datetime,
    challenger: str | None = None,
) -> GateVerdict:
    """Judge one challenger.

    Parameters
    ----------
    comparison : Comparison
        On rows that `fedrisk.retraining.gate_rows` allows.
    study : Study
    margins : Margins
        Set before the comparison was made.
    spent : Spending
        By earlier gates of this model.
    now : datetime
        With a time zone.
    challenger : str, optional
        Which one; the only one by default.

    Raises
    ------
    FederationError
        When the comparison is of another study, or has no such challenger.
    """
    name = _challenger(comparison, study, challenger)
    known = identifiability(comparison, margins)
    if not known.identifiable:
        return _unidentifiable(name, known)
    alpha = spent.alpha(now)
    too_little = _too_little(comparison, margins, alpha)
    if too_little:
        wants: Wants = "more events" if alpha else ""
        return GateVerdict(
            "insufficient evidence", name, (), (*too_little, *known.sentences), 0.0, wants
        )
    checks = every_check(comparison, study, margins, alpha / len(comparison.challengers), name)
    return _verdict(name, checks, alpha, known)


def judge_all(
    comparison: Comparison, study: Study, margins: Margins, spent: Spending, now: datetime
) -> dict[str, GateVerdict]:
    """Judge every challenger of a comparison; they share one error rate (Bonferroni)."""
    return {
        name: judge_gate(comparison, study, margins, spent, now, name)
        for name in comparison.challengers
    }


def choose(
    comparison: Comparison, verdicts: Mapping[str, GateVerdict], simplest: tuple[str, ...] = ()
) -> str | None:
    """The challenger to go on with: the simplest of those that pass and are as good as the best.

    The best has the lowest log loss. As good is who is not worse than it by more than one standard
    error of their difference on the same rows (Breiman et al., Classification and Regression Trees,
    1984, 3.4.3).

    Parameters
    ----------
    comparison : Comparison
    verdicts : mapping of challenger to GateVerdict
    simplest : tuple of str
        Challengers from the simplest on, such as a recalibration first; those that it does not
        name come after, in the comparison's order.

    Returns
    -------
    str or None
        None where none passes.
    """
    passing = [
        name for name in comparison.challengers if name in verdicts and verdicts[name].passed
    ]
    losses = {name: _log_loss(comparison, name) for name in passing}
    if not losses:
        return None
    best = min(losses, key=lambda name: losses[name])
    order = {name: place for place, name in enumerate((*simplest, *comparison.challengers)[::-1])}
    good = [
        name for name in passing if losses[name] - losses[best] <= _error(comparison, name, best)
    ]
    return max(good, key=lambda name: order[name])


def _log_loss(comparison: Comparison, name: str) -> float:
    told = comparison.models[name].log_loss
    return float("inf") if told is None else told.value


def _error(comparison: Comparison, one: str, other: str) -> float:
    """Standard error of the difference between two models' log losses."""
    table = comparison.log_loss_covariance
    if not table:
        return 0.0
    variance = table[one][one] + table[other][other] - 2 * table[one][other]
    return math.sqrt(max(variance, 0.0))


def _challenger(comparison: Comparison, study: Study, name: str | None) -> str:
    if comparison.study != study.hash:
        raise FederationError(
            f"the comparison is of study {comparison.study[:12]}, not {study.hash[:12]}",
            hint="compare the models again on the study that they are judged for",
        )
    if name is None and len(comparison.challengers) == 1:
        return comparison.challengers[0]
    if name is None or name not in comparison.challengers:
        raise FederationError(f"no challenger {name!r} among {list(comparison.challengers)}")
    return name


def _unidentifiable(name: str, known: Identifiability) -> GateVerdict:
    wants: Wants = "untreated rows" if known.ask_untreated else ""
    return GateVerdict("not identifiable", name, (), known.sentences, 0.0, wants)


def _too_little(comparison: Comparison, margins: Margins, alpha: float) -> tuple[str, ...]:
    """Why nothing can be judged; empty where it can."""
    reasons = []
    others = comparison.effective_rows - comparison.effective_events
    fewer = min(comparison.effective_events, others)
    if comparison.effective_rows < margins.least_rows:
        reasons.append(
            f"{comparison.effective_rows:,.0f} rows are fewer than the {margins.least_rows:,.0f} "
            "that a judgement needs"
        )
    if fewer < margins.least_events:
        reasons.append(
            f"{fewer:,.0f} rows of the rarer outcome are fewer than the "
            f"{margins.least_events:,.0f} that a judgement needs"
        )
    if not alpha:
        reasons.append("earlier gates have spent the error rate; it comes back as they age")
    return tuple(reasons)


def _verdict(
    name: str, checks: tuple[Check, ...], alpha: float, known: Identifiability
) -> GateVerdict:
    failed = [check.sentence for check in checks if check.outcome == "fail"]
    undecided = [check.sentence for check in checks if check.outcome == "undecided"]
    held = [check.sentence for check in checks if check.outcome in ("pass", "not judged")]
    sentences = (*failed, *undecided, *held, *known.sentences)
    if failed:
        return GateVerdict("refuse", name, checks, sentences, alpha)
    if undecided:
        return GateVerdict("insufficient evidence", name, checks, sentences, alpha, "more events")
    return GateVerdict("pass", name, checks, sentences, alpha)
