"""Disclosure control of an answer: judge the question, recode small groups, hide small cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedrisk.errors import DisclosureError
from fedrisk.models.descent import LocalUpdate
from fedrisk.models.metrics import (
    EvaluationSums,
    SiteEvaluation,
    evaluation_sums,
    site_evaluation,
)
from fedrisk.models.summary import FeatureSummary, SiteCounts
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.disclosure.case import Case
from fedrisk.sites.disclosure.cells import (
    group_scores,
    hide_small_bins,
    hide_small_counts,
    recode,
    withheld,
)
from fedrisk.sites.disclosure.rules import ANSWER_RULES, RULES, Rule
from fedrisk.sites.policy import Policy
from fedrisk.study.records import BoolArray, FloatArray, Record


def examine(case: Case, rules: Sequence[Rule] | None = None) -> None:
    """Judge a case: what is asked alone, or also the rows that it is asked of.

    Raises
    ------
    DisclosureError
        With the reason of the first rule that the case breaks.
    """
    for rule in RULES if rules is None else rules:
        if reason := rule(case):
            name = rule.__name__.replace("_", " ")
            raise DisclosureError(
                f"{reason} (rule: {name})", hint="the site's policy.toml sets its bounds"
            )


def protect(policy: Policy, cohort: Cohort) -> Cohort:
    """The cohort with small groups among its training rows recoded."""
    least, pairs = policy.contributors, policy.pair_contributors
    if max(least, pairs) <= 1 or not len(cohort.events):
        return cohort
    train = ~cohort.test
    columns, _ = cohort.part(test=False)
    recoded = recode(cohort.study, columns, least, pairs).columns
    changed = dict(cohort.columns)
    for name, values in recoded.items():
        if values is not columns[name]:
            changed[name] = changed[name].copy()
            changed[name][train] = values
    return replace(cohort, columns=changed)


def hide(case: Case, records: Sequence[Record]) -> list[Record]:
    """The answer with small bins merged, small counts left out, and scores of groups alone.

    Raises
    ------
    DisclosureError
        When local steps ended where no sum would be computed.
    """
    return [_hidden(case, record) for record in records]


def _hidden(case: Case, record: Record) -> Record:
    least, tested = case.policy.contributors, case.enough_test_rows
    if isinstance(record, FeatureSummary):
        return hide_small_bins(case.question.study, record, least)
    if isinstance(record, SiteCounts):
        return hide_small_counts(record, least, test=tested)
    if isinstance(record, LocalUpdate):
        examine(case.moved(record.parameters), ANSWER_RULES)
    if isinstance(record, EvaluationSums):
        return evaluation_sums(*_scores(case)) if tested else withheld(record)
    if isinstance(record, SiteEvaluation):
        scores = _scores(case)
        return site_evaluation(*scores) if tested else site_evaluation(scores[0][:0], scores[1][:0])
    return record


def _scores(case: Case) -> tuple[FloatArray, BoolArray]:
    events, policy = case.rows[1], case.policy
    least, outcomes = policy.contributors, policy.pair_contributors
    return group_scores(case.logits[0], events, least, outcomes), events


def group_sizes(case: Case) -> dict[str, float]:
    """Rows and events behind an answer, and the effective sample size of its weights."""
    if case.cohort is None:
        return {}
    _, events = case.cohort.part(test=case.question.kind == "evaluation")
    sizes = {"rows": float(len(events)), "events": float(events.sum())}
    if case.question.design is None:
        return sizes
    return sizes | {"effective": round(case.effective_rows, 1)}
