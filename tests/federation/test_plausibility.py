"""Honest answers are believed, whatever the rows and the disclosure rules; false ones are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrisk.errors import EgressError, FedriskError
from fedrisk.federation.answers import answer
from fedrisk.federation.plausibility import Known, check_reply
from fedrisk.federation.query import Query, Reply
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.summary import FeatureSummary, SiteCounts, better_centres
from fedrisk.sites.cohort import Cohort, CohortCounts
from fedrisk.sites.disclosure.review import Case, examine, hide, protect
from fedrisk.sites.egress.gate import release
from fedrisk.sites.policy import OPEN, Policy
from fedrisk.study import Study, parse_study

AS_OF = "2026-01-01"
#: Hides and recodes as a real site does, and refuses nothing else.
HIDING = OPEN.model_copy(update={"contributors": 4, "test_rows": 6, "test_events": 2})


def number(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], np.ndarray]:
    """A number of any size: spread, constant, nearly constant, missing here and there or at all."""
    scale, centre = 10.0 ** rng.uniform(-8, 8), 0.0
    if rng.random() < 0.5:
        centre = scale * 10.0 ** rng.uniform(0, 6.4) * rng.choice([-1, 1])
    values = centre + scale * rng.normal(size=rows)
    if rng.random() < 0.15:
        values = np.full(rows, centre)
    if rng.random() < 0.1:
        values = values * 10.0 ** rng.uniform(60, 80)
    entry: dict[str, Any] = {"name": "", "kind": "number"}
    low, high = float(values.min()), float(values.max())
    if rng.random() < 0.4 and low < high:
        entry |= {"minimum": low, "maximum": high}  # values stand on the bounds themselves
        if rng.random() < 0.5:
            middle = [float(v) for v in np.quantile(values, [0.25, 0.75])]
            entry |= {"plausible": middle} if middle[0] < middle[1] else {}
    elif rng.random() < 0.3:
        entry["minimum"] = low
    if rng.random() < 0.5:
        entry["missing"] = "allow"
        values[rng.random(rows) < rng.choice([0.05, 0.5, 1.0])] = np.nan
    return entry, values


def category(rng: np.random.Generator, rows: int) -> tuple[dict[str, Any], np.ndarray]:
    levels = [f"level {place}" for place in range(rng.integers(2, 5))]
    weights = rng.dirichlet(np.full(len(levels), 0.5))
    codes = rng.choice(len(levels), rows, p=weights).astype(np.int32)
    codes[rng.random(rows) < rng.choice([0.0, 0.1, 1.0])] = -1
    missing = "allow" if (codes < 0).any() else rng.choice(["allow", "reject"])
    return {"name": "", "kind": "category", "levels": levels, "missing": str(missing)}, codes


#: An answer, what was asked, and what was known.
Told = tuple[Reply, Query, Known]


def cohorts(seed: int, rows: int) -> list[Cohort]:
    """Random rows at three sites; one may have no row, one class, or no test row."""
    rng = np.random.default_rng(seed)
    made = [number(rng, rows) for _ in range(rng.integers(1, 4))]
    made += [category(rng, rows) for _ in range(rng.integers(0, 3))]
    for place, (entry, _) in enumerate(made):
        entry["name"] = f"f{place}"
    features = [entry for entry, _ in made]
    study = parse_study({"name": "random", "label": "y", "positive": [1], "features": features})
    columns = {entry["name"]: values for entry, values in made}
    events = rng.random(rows) < rng.choice([0.02, 0.5, 0.98])
    test, site = (
        rng.random(rows) < rng.choice([0.05, 0.3]),
        rng.choice(3, rows, p=[0.7, 0.25, 0.05]),
    )
    return [
        cohort(
            study,
            f"site {place}",
            {n: v[site == place] for n, v in columns.items()},
            events[site == place],
            test[site == place],
            rng,
        )
        for place in range(3)
    ]


def cohort(
    study: Study,
    name: str,
    columns: dict[str, Any],
    events: Any,
    test: Any,
    rng: np.random.Generator,
) -> Cohort:
    unlabelled, immature = (int(rng.integers(0, 8)) for _ in range(2))
    usable = len(events)
    counts = CohortCounts(
        rows=usable + unlabelled + immature,
        usable=usable,
        train=int((~test).sum()),
        test=int(test.sum()),
        unlabelled=unlabelled,
        immature=immature,
        treated=int(rng.integers(0, usable + 1)),
        implausible={f.name: int(rng.integers(0, usable + 1)) for f in study.numbers},
    )
    return Cohort(name, study, columns, events, test, counts)


def reply(own: Cohort, query: Query, policy: Policy) -> Reply | None:
    """A site's honest answer as the coordinator reads it; None where its gate refuses."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            if policy is OPEN:
                records = answer(own, query)
            else:
                case = Case(policy, query, protect(policy, own))
                examine(case)
                records = hide(case, answer(case.cohort, query))  # type: ignore[arg-type]
            arrays = release(records, query.dimensions).arrays
    except FedriskError:
        return None
    return Reply(own.site, arrays, own.counts.train)


def figures(answered: Reply, query: Query) -> dict[str, int]:
    arrays = answered.record(SiteCounts, query.dimensions).arrays()
    return {name: int(value) for name, value in arrays.items() if name != "implausible"}


def conversation(
    sites: list[Cohort], policy: Policy, seed: int
) -> list[tuple[Reply, Query, Known]]:
    """Every answer of a run at random parameters, with what is known when it comes."""
    rng, study = np.random.default_rng(seed), sites[0].study
    query = Query("summary", study, "r", AS_OF)
    first = {own.site: reply(own, query, policy) for own in sites}
    told = [(found, query, Known()) for found in first.values() if found is not None]
    sites = [own for own in sites if first[own.site] is not None]
    summaries = [found.record(FeatureSummary, query.dimensions) for found, _, _ in told]
    summary = reduce(add, summaries) if summaries else None
    if summary is None or not summary.rows > 0:
        return told
    known = Known({f.site: figures(f, query) for f, _, _ in told}, float(summary.rows))
    centres = better_centres(study, summary)
    if centres is not None:
        again = replace(query, parameters=centres[None])
        answers = [reply(own, again, policy) for own in sites]
        told += [(found, again, known) for found in answers if found is not None]
        summary = reduce(add, (f.record(FeatureSummary, query.dimensions) for f in answers if f))
    with np.errstate(over="ignore", invalid="ignore"):
        design = design_from_summary(study, summary, centres)
    size = 1 + len(design.columns)
    options = {"local-steps": 5.0, "learning-rate": 1.0, "ridge": 0.01}
    for kind in ("newton", "descent", "evaluation"):
        for scale in (0.0, 1.0, 30.0):
            beta = scale * rng.normal(size=(1, size))
            chosen = options if kind == "descent" else {}
            asked = Query(kind, study, "r", AS_OF, design, beta, chosen)
            answers = [reply(own, asked, policy) for own in sites]
            told += [(found, asked, known) for found in answers if found is not None]
    return told


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 120))
def test_honest_answers_are_never_called_implausible(seed: int, rows: int) -> None:
    for answered, query, known in conversation(cohorts(seed, rows), OPEN, seed):
        check_reply(answered, query, known)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 120),
    least=st.integers(0, 12),
    tested=st.integers(0, 15),
)
def test_nor_are_answers_that_hide_small_groups(
    seed: int, rows: int, least: int, tested: int
) -> None:
    bounds = {"contributors": least, "test_rows": tested, "test_events": tested // 4}
    policy = OPEN.model_copy(update=bounds)
    for answered, query, known in conversation(cohorts(seed, rows), policy, seed):
        check_reply(answered, query, known)


def test_the_property_sees_answers_of_every_kind_under_both_policies() -> None:
    for policy in (OPEN, HIDING):
        found = [
            (
                query.kind + " again" * (query.kind == "summary" and query.centres is not None),
                answered.rows,
            )
            for seed in range(20)
            for answered, query, _ in conversation(cohorts(seed, 100), policy, seed)
        ]
        kinds = {"summary", "summary again", "newton", "descent", "evaluation"}
        assert {kind for kind, _ in found} == kinds
        assert min(rows for _, rows in found) < 5


def plain_site(test_rows: int, seed: int = 1) -> Cohort:
    """Sixty training rows of one number, and so many test rows."""
    rng = np.random.default_rng(seed)
    study = parse_study(
        {
            "name": "plain",
            "label": "y",
            "positive": [1],
            "features": [{"name": "age", "kind": "number", "minimum": 0, "maximum": 120}],
        }
    )
    rows = 60 + test_rows
    test = np.arange(rows) >= 60
    return cohort(
        study, "here", {"age": rng.uniform(20, 90, rows)}, np.arange(rows) % 2 == 0, test, rng
    )


def answers(policy: Policy, test_rows: int) -> dict[str, tuple[Reply, Query, Known]]:
    return {q.kind: (r, q, k) for r, q, k in conversation([plain_site(test_rows)], policy, 3)}


def test_an_evaluation_may_be_withheld_as_a_whole() -> None:
    told = answers(OPEN, 7)
    withheld = answers(OPEN.model_copy(update={"test_rows": 8}), 7)
    _, query, known = told["evaluation"]
    assert known.counts["here"]["test"] == 7
    check_reply(withheld["evaluation"][0], query, known)


def test_feature_bins_may_be_withheld_as_a_whole() -> None:
    answered, query, known = answers(OPEN, 7)["summary"]
    arrays = {
        **answered.arrays,
        "feature_summary/bins": 0 * answered.arrays["feature_summary/bins"],
    }
    check_reply(replace(answered, arrays=arrays), query, known)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("bin_rows", lambda a: a + 1, "bins do not sum to the rows"),
        ("bin_events", lambda a: a * 0, "bins do not sum to the events"),
        ("bin_events", lambda a: a + 99, "more events than rows in a bin"),
        ("bin_logits", lambda a: a + 1, "scores in a bin without rows"),
        ("events", lambda a: a + 99, "more events than rows"),
        ("expected", lambda a: a + 99, "expected is outside 0 to rows"),
        ("squared_error", lambda a: -a, "squared_error is outside 0 to rows"),
        ("log_loss", lambda a: -a, "log loss is negative"),
        ("log_loss", lambda a: a * 1e3, "beyond its rows"),
    ],
)
def test_an_evaluation_that_no_rows_give_is_refused(
    name: str, change: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    answered, query, known = answers(OPEN, 30)["evaluation"]
    place = f"evaluation_sums/{name}"
    arrays = {**answered.arrays, place: change(answered.arrays[place])}
    with pytest.raises(EgressError, match=f"'here': implausible answer: .*{reason}"):
        check_reply(replace(answered, arrays=arrays), query, known)


def test_an_evaluation_of_other_rows_than_before_is_refused() -> None:
    answered, query, known = answers(OPEN, 30)["evaluation"]
    counts: Mapping[str, int] = {**known.counts["here"], "test": 31}
    with pytest.raises(EgressError, match="other test rows or events than before"):
        check_reply(answered, query, Known({"here": counts}, known.rows))


def test_the_bounds_on_a_fit_are_those_of_the_rows_and_no_wider() -> None:
    """A site that holds every row comes up to its bound."""
    _, query, known = answers(OPEN, 7)["newton"]
    query = replace(query, parameters=np.zeros((1, 2)))
    exact = reply(plain_site(7), query, OPEN)
    assert exact is not None
    check_reply(exact, query, known)
    hessian = exact.arrays["newton_sums/hessian"]
    assert hessian[0, 1, 1] == pytest.approx(known.rows / 4)
    arrays = {**exact.arrays, "newton_sums/hessian": hessian * 1.2}
    with pytest.raises(EgressError, match="beyond its rows"):
        check_reply(replace(exact, arrays=arrays), query, known)
