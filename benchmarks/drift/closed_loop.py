"""The closed loop in one process: verdict, decision, challengers, gate.

Verdict, decision, comparison and gate are the product's own; only files, messages, registry and
service are left out, so a model that passes the gate serves from the next week on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
from fitting import Part, fit, recalibrated
from policies import Look
from windows import current_windows, reference_of
from world import SiteRows, World, at_midnight

from fedrisk.detectors.calibration import Calibration
from fedrisk.models.comparison.pooling import compare_rows
from fedrisk.models.comparison.rows import ComparedRows, group_memberships
from fedrisk.models.logistic import LogisticModel
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.verdict import Verdict, judge
from fedrisk.profiles.reference import Reference
from fedrisk.retraining.decision import Decision, DecisionRules, Situation, Trigger, decide
from fedrisk.retraining.gate import GateVerdict, choose, judge_all
from fedrisk.retraining.gate_rows import Span, gate_rows
from fedrisk.retraining.margins import Margins, Spending

WEEK = timedelta(weeks=1)
#: Weeks of windows that the sites are asked about at each look.
ASKED = 12
#: Most weeks of matured rows that a gate judges on; nothing is fitted to them.
JUDGED = 8
#: Weeks of rows that a challenger is fitted to which does not begin at the onset of harm.
YEAR = 52
RECALIBRATED, RECENT, WHOLE = "recalibrated", "recent", "year"


@dataclass
class Standing:
    """The champion, and since when it stands."""

    model: LogisticModel
    reference: Reference
    until: date
    memory: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.calibration = Calibration(self.reference)


@dataclass
class ClosedLoop:
    """fedrisk's policy; one object follows one world."""

    standing: Standing
    name: str = "fedrisk"
    trigger: Trigger = "drift"
    verdict_rules: VerdictRules = field(default_factory=VerdictRules)
    decision_rules: DecisionRules = field(default_factory=DecisionRules)
    margins: Margins = field(default_factory=Margins)
    spent: Spending = field(default_factory=Spending)
    judged: tuple[Span, ...] = ()
    retrainings: tuple[datetime, ...] = ()

    def said(self, world: World, now: date) -> dict[str, object]:
        """Judge the last week and decide, and do nothing."""
        return _told(*self._decide(world, now))

    def _decide(self, world: World, now: date) -> tuple[Verdict, Decision]:
        verdict = self._judge(world, now)
        return verdict, decide(verdict, self._situation(world, now), self.decision_rules)

    def look(self, world: World, now: date, model: LogisticModel) -> Look:
        """Judge the last week, and do what the decision says."""
        verdict, decision = self._decide(world, now)
        look = Look(now, model, told=_told(verdict, decision))
        if decision.action in ("retrain", "recalibrate"):
            self.retrainings += (at_midnight(now),)
            since = verdict.harm.since
            self._retrain(world, now, decision, since.date() if since else None, look)
        return look

    def _judge(self, world: World, now: date) -> Verdict:
        standing = self.standing
        since = standing.until
        while since + ASKED * WEEK < now:
            since += WEEK
        verdict = judge(
            world.study,
            standing.reference,
            current_windows(world, standing.model, since, now),
            standing.model.document(),
            standing.memory,
            self.verdict_rules,
            at_midnight(now),
            standing.calibration,
        )
        standing.memory = verdict.memory
        return verdict

    def _situation(self, world: World, now: date) -> Situation:
        later = [_known(rows, self.standing.until, now, now) for rows in world.sites]
        return Situation(
            now=at_midnight(now),
            trigger=self.trigger,
            retrainings=self.retrainings,
            rows=float(sum(len(rows.days) for rows in later)),
            events=float(sum(rows.events.sum() for rows in later)),
        )

    def _retrain(
        self, world: World, now: date, decision: Decision, onset: date | None, look: Look
    ) -> None:
        """Fit challengers up to a day, judge them on later rows of other people.

        Of the matured rows since the onset of harm, the later half at most are the gate's.
        """
        mature = now - world.study.maturity
        changed = max(onset or mature - 2 * JUDGED * WEEK, world.setting.start)
        until = max(mature - JUDGED * WEEK, changed + (mature - changed) / 2)
        allowed = gate_rows(world.study, [at_midnight(until)], at_midnight(now), self.judged)
        broken = _broken(world, changed, now)
        if broken or allowed.span is None:
            look.told["gate"] = f"{broken:,} broken rows" if broken else "no rows left"
            return
        models = {"champion": self.standing.model}
        models |= self._challengers(world, changed, until, now, decision)
        verdict, chosen = self._gate(world, allowed.span.since.date(), now, models)
        look.told |= {"gate": verdict.verdict, "because": list(verdict.sentences)}
        if verdict.verdict in ("pass", "refuse"):
            self.judged += (allowed.span,)
        if chosen is not None:
            look.model, look.retrained, look.told["promoted"] = models[chosen], True, chosen
            since = until - YEAR * WEEK if chosen == WHOLE else changed
            reference = reference_of(world, look.model, since, until)
            self.standing = Standing(look.model, reference, until)

    def _challengers(
        self, world: World, changed: date, until: date, now: date, decision: Decision
    ) -> dict[str, LogisticModel]:
        champion = self.standing.model
        recent = _training(world, changed, until, now)
        models = {RECALIBRATED: recalibrated(world.study, champion, recent)}
        if decision.action == "retrain":
            models[RECENT] = fit(world.study, recent, champion)
            whole = _training(world, until - YEAR * WEEK, until, now)
            models[WHOLE] = fit(world.study, whole, champion)
        return models

    def _gate(
        self, world: World, since: date, now: date, models: Mapping[str, LogisticModel]
    ) -> tuple[GateVerdict, str | None]:
        """The verdict on the challenger that is best off, and who goes on, if any."""
        for untreated in (False, True):
            sites = {
                rows.site: _compared(world, _held_out(rows, since, now), models, untreated)
                for rows in world.sites
            }
            comparison = compare_rows(world.study, list(models), sites)
            moment = at_midnight(now)
            verdicts = judge_all(comparison, world.study, self.margins, self.spent, moment)
            if not any(each.wants == "untreated rows" for each in verdicts.values()):
                break
        alpha = max(each.alpha for each in verdicts.values())
        self.spent = self.spent.after(moment, alpha)
        chosen = choose(comparison, verdicts, simplest=(RECALIBRATED,))
        shown = verdicts[chosen] if chosen else max(verdicts.values(), key=_hope)
        return shown, chosen


def _hope(verdict: GateVerdict) -> int:
    order = ("refuse", "not identifiable", "insufficient evidence", "pass")
    return order.index(verdict.verdict)


def _broken(world: World, since: date, now: date) -> int:
    """Rows that no site would train on: its file would be refused."""
    return sum(int((~rows.between(since, now).valid).sum()) for rows in world.sites)


def _told(verdict: Verdict, decision: Decision) -> dict[str, object]:
    return {
        "status": verdict.status,
        "diagnosis": verdict.diagnosis,
        "action": decision.action,
        "wanted": decision.wanted,
        "reason": decision.reason,
        "harm": verdict.harm.kind,
        "severity": verdict.severity,
        "sentences": list(verdict.sentences[:6]),
    }


def _known(rows: SiteRows, since: date, until: date, now: date) -> SiteRows:
    """Rows of days from ``since`` until before ``until`` whose outcome is known now."""
    inside = rows.between(since, until)
    return inside.chosen(inside.known(now))


def _training(world: World, since: date, until: date, now: date) -> list[Part]:
    parts: list[Part] = []
    for rows in world.sites:
        known = _known(rows, since, until, now)
        known = known.chosen(~known.test & known.valid)
        parts.append((known.written, known.events))
    return parts


def _held_out(rows: SiteRows, since: date, now: date) -> SiteRows:
    """Matured rows from ``since`` on, of people who are never fitted to."""
    known = _known(rows, since, now, now)
    return known.chosen(known.test & known.valid)


def _compared(
    world: World, rows: SiteRows, models: Mapping[str, LogisticModel], untreated: bool
) -> ComparedRows:
    study = world.study
    months = rows.days.astype("datetime64[M]").astype(np.int64) % 12 + 1
    if study.bands is None:
        raise ValueError("the study has bands")
    return ComparedRows(
        bands=study.bands,
        logits=np.stack([model.logit(rows.written) for model in models.values()]),
        events=rows.events,
        treated=rows.treated,
        people=rows.people,
        days=rows.days.astype(np.int64),
        groups=group_memberships(study, rows.written, months),
        untreated=untreated,
    )
