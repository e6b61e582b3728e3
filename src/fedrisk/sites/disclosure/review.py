"""Disclosure control of an answer: judge the question, recode small groups, hide small cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fedrisk.errors import DisclosureError
from fedrisk.models.comparison import (
    ComparedRows,
    ComparisonCounts,
    PlacementSums,
    PooledScores,
    comparison_counts,
    placement_sums,
)
from fedrisk.models.descent import LocalUpdate
from fedrisk.models.metrics import (
    EvaluationSums,
    SiteEvaluation,
    evaluation_sums,
    site_evaluation,
)
from fedrisk.models.summary import FeatureSummary, SiteCounts
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.compared import compared_rows
from fedrisk.sites.disclosure.case import Case
from fedrisk.sites.disclosure.cells import (
    group_scores,
    hide_small_bins,
    hide_small_counts,
    recode,
    withheld,
)
from fedrisk.sites.disclosure.compared_cells import (
    group_compared_scores,
    hide_comparison,
    nothing_of,
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
    for part in case.parts:
        for rule in RULES if rules is None else rules:
            if reason := rule(part):
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
    if isinstance(record, ComparisonCounts):
        return _compared(case)[1] if tested else nothing_of(record)
    if isinstance(record, PlacementSums):
        return _placed(case) if tested else nothing_of(record)
    if isinstance(record, SiteEvaluation):
        scores = _scores(case)
        return site_evaluation(*scores) if tested else site_evaluation(scores[0][:0], scores[1][:0])
    return record


def _scores(case: Case) -> tuple[FloatArray, BoolArray]:
    events, policy = case.rows[1], case.policy
    least, outcomes = policy.contributors, policy.pair_contributors
    return group_scores(case.logits[0], events, least, outcomes), events


def _compared(case: Case) -> tuple[ComparedRows, ComparisonCounts]:
    """Test rows with the scores of groups, and what the first message tells of them."""
    if case.cohort is None:
        raise ValueError("the rows are not open")
    question, policy = case.question, case.policy
    untreated = bool(question.options.get("untreated"))
    least, outcomes = policy.contributors, policy.pair_contributors
    rows = compared_rows(case.cohort, question.contenders, untreated=untreated)
    rows = group_compared_scores(rows, least, outcomes)
    counts = hide_comparison(question.study, comparison_counts(rows), least, outcomes)
    return rows, counts


def _placed(case: Case) -> PlacementSums:
    """The second message, about scores of all sites that the first one's can be among.

    Raises
    ------
    DisclosureError
        When they cannot: invented scores could single rows out.
    """
    rows, counts = _compared(case)
    pooled = PooledScores.from_array(case.question.parameters)
    sums = placement_sums(rows, pooled)
    if not counts.rows[0]:
        return nothing_of(sums)
    if not pooled.hold(counts):
        raise DisclosureError(
            "the scores over all sites lack this site's own (rule: pooled scores)",
            hint="compare the same models on the same rows as in the first message",
        )
    return sums


def group_sizes(case: Case) -> dict[str, float]:
    """Rows and events behind an answer, and the effective sample size of its weights."""
    if case.cohort is None:
        return {}
    _, events = case.cohort.part(test=case.judges)
    sizes = {"rows": float(len(events)), "events": float(events.sum())}
    if case.parts[0].design is None:
        return sizes
    return sizes | {"effective": round(min(part.effective_rows for part in case.parts), 1)}
