"""Two answers whose difference is one row: changed files, times, studies; and asking too often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from red_team.conftest import (
    AS_OF,
    FEATURES,
    TARGET,
    Row,
    Site,
    make_rows,
    make_study,
    raw_moments,
    unscaled,
    vector,
)

from fedrisk.federation.query import Query
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.models.summary import FeatureSummary, SiteCounts
from fedrisk.study import Study

ROWS = make_rows()


def difference(study: Study, one: FeatureSummary, other: FeatureSummary) -> dict[str, float]:
    """The rows that the first summary has more than the second, summed up."""
    centres = {"age": 60.0, "crp": 0.0}
    rows = float(one.present[0] - other.present[0])
    sums = dict(zip(("age", "crp"), one.sums - other.sums, strict=True))
    levels = one.levels - other.levels
    return {
        "rows": rows,
        "died": float(one.events - other.events),
        "men": float(levels[1]),
        **{name: float(total) + rows * centres[name] for name, total in sums.items()},
    }


def is_target(found: dict[str, float]) -> bool:
    numbers = all(found[name] == pytest.approx(TARGET[name]) for name in ("age", "crp"))
    return numbers and (found["rows"], found["died"], found["men"]) == (1, 1, 1)


def changed(site: Site, study: Study, run: str) -> tuple[str, FeatureSummary]:
    """Summary with the target, then the file without; the second run's refusal, if any."""
    before = site.summary(study)
    site.has(ROWS)
    site.run = run
    try:
        return "", replace(before, **_minus(before, site.summary(study)))
    except AssertionError as refusal:
        return str(refusal), before


def _minus(one: FeatureSummary, other: FeatureSummary) -> dict[str, Any]:
    return {name: array - other.arrays()[name] for name, array in one.arrays().items()}


@pytest.mark.parametrize(
    ("run", "rule"), [("run-2", "cohort difference"), ("run-1", "frozen cohort")]
)
def test_a_file_that_changed_by_one_row(site: Site, study: Study, run: str, rule: str) -> None:
    reason, _ = changed(site, study, run)
    assert f"(rule: {rule})" in reason


@pytest.mark.parametrize(("run", "keys"), [("run-2", 1), ("run-1", 2)])
def test_a_file_that_changed_by_one_row_gives_it_away(
    site: Site, study: Study, run: str, keys: int
) -> None:
    site.without(*("cohort_difference", "frozen_cohort")[:keys])
    reason, left = changed(site, study, run)
    assert not reason
    assert is_target(difference(study, left, FeatureSummary(**_minus(left, left))))


def test_within_a_run_not_even_many_rows_may_change(site: Site, study: Study) -> None:
    site.summary(study)
    site.has(ROWS[300:])
    assert "(rule: frozen cohort)" in site.refuses(Query("summary", study, "run-1", AS_OF))
    site.run = "run-2"
    site.summary(study)  # a new run, and the difference is of many


def test_an_old_run_s_name_brings_no_old_rows_back(site: Site, study: Study) -> None:
    """Run 1, then new rows and run 2, then run 1's name again."""
    site.summary(study)
    site.has([*ROWS, *make_rows(300, 0, seed=9)])
    site.run = "run-2"
    site.summary(study)
    assert "(rule: frozen cohort)" in site.refuses(Query("summary", study, "run-1", AS_OF))


def dated(rows: Sequence[Row]) -> list[Row]:
    return [row | {"day": "2025-06-01"} for row in rows] + [TARGET | {"day": "2025-06-02"}]


def test_times_between_which_one_row_became_mature(site: Site) -> None:
    """The file stays; the coordinator asks as of the day before the target, and of the day."""
    study = site.approves(make_study(time="day"))
    site.has(dated(ROWS))
    days = ("2025-06-01T12:00:00+00:00", "2025-06-02T12:00:00+00:00")
    before = site.summary(study, as_of=days[0])
    late = Query("summary", study, "run-2", days[1])
    assert "(rule: cohort difference)" in site.refuses(late)
    site.without("cohort_difference")
    site.run = "run-2"
    assert is_target(difference(study, site.summary(study, as_of=days[1]), before))


def test_times_are_not_the_coordinator_s_to_choose(site: Site) -> None:
    """Neither back, nor ahead, nor another one in the same run: so no cohort can be chosen."""
    study = site.approves(make_study(time="day"))
    site.has(dated(ROWS))
    now = datetime.now(UTC)
    times = {hours: (now + timedelta(hours=hours)).isoformat() for hours in (-3, -2, -1, 1)}
    site.summary(study, as_of=times[-2])

    def refused(run: str, hours: int) -> bool:
        reason = site.refuses(Query("summary", study, run, times[hours]))
        return "(rule: time asked about)" in reason

    assert refused("run-2", -3)
    assert refused("run-2", 1)
    assert refused("run-1", -1)
    site.summary(study, as_of=times[-1], run_id="run-2")
    site.summary(study, as_of=times[-2])  # an unfinished run goes on
    site.without("cohort_difference")
    site.summary(study, as_of=times[-3], run_id="run-3")


# -- files that grew, between runs -----------------------------------------------------------------


def hessians_apart(site: Site, study: Study, more: Sequence[Row]) -> tuple[DesignMatrix, Any]:
    """What the file's new rows add to the Hessian, and of which columns it is."""
    site.has([*ROWS, TARGET])
    site.run = f"{site.run}-before"
    design = site.design(study)
    before = site.sums(site.query(study, design, vector(design, 0.0))).hessian[0]
    site.has([*ROWS, TARGET, *more])
    site.run = f"{site.run}-after"
    after = site.sums(site.query(study, design, vector(design, 0.0))).hessian[0]
    return design, 4 * (after - before)


WOMEN = [row | {"sex": "f"} for row in make_rows(49, 0, seed=11)]
SOUGHT: Row = TARGET | {"age": 61.25, "crp": 77.5, "died": 0}


def test_one_training_row_behind_many_test_rows(site: Site, study: Study) -> None:
    more = [SOUGHT, *({**row, "fold": "test"} for row in make_rows(199, 0, seed=11))]
    with pytest.raises(AssertionError, match="cohort difference"):
        hessians_apart(site, study, more)
    site.without("cohort_difference")
    design, left = hessians_apart(site, study, more)
    assert left[0, 0] == pytest.approx(1)
    found = unscaled(design, left[0, 1:])
    assert (found["age"], found["crp"]) == (pytest.approx(61.25), pytest.approx(77.5))


def test_one_man_among_new_women(site: Site, study: Study) -> None:
    """Fifty rows are enough, but not a level that one of them has: its moments are his values."""
    with pytest.raises(AssertionError, match="cohort difference"):
        hessians_apart(site, study, [*WOMEN, SOUGHT])
    site.without("cohort_difference")
    design, left = hessians_apart(site, study, [*WOMEN, SOUGHT])
    men = raw_moments(design, left)[1 + design.names.index("sex=m")]
    assert men[0] == pytest.approx(1)
    assert men[1 + design.names.index("age")] == pytest.approx(61.25)


def test_many_new_rows_without_small_groups_are_answered(site: Site, study: Study) -> None:
    _, left = hessians_apart(site, study, make_rows(300, 100, seed=11))
    assert left[0, 0] == pytest.approx(300)


# -- two studies over the same rows ---------------------------------------------------------------


def test_two_plausible_bounds_with_one_person_between(site: Site) -> None:
    """Both counts are large; their difference is the one person between 64 and the next age."""
    ages = sorted({row["age"] for row in ROWS} | {TARGET["age"]}, reverse=True)
    edges = [(ages[place] + ages[place + 1]) / 2 for place in (30, 31)]
    studies = [
        site.approves(
            make_study(
                [{**FEATURES[0], "plausible": [0, edge]}, *FEATURES[1:]], name=f"w{edge:.0f}"
            )
        )
        for edge in edges
    ]

    def above(study: Study) -> float:
        query = Query("summary", study, study.hash, AS_OF)
        return float(site.ask(query).record(SiteCounts, query.dimensions).implausible[0])

    first = above(studies[0])
    second = Query("summary", studies[1], "run-2", AS_OF)
    assert "(rule: related studies)" in site.refuses(second)
    site.without("related_studies")
    assert above(studies[1]) - first == 1


def test_two_labels_that_one_person_tells_apart(site: Site) -> None:
    """The target's outcome is 2: an event in one study and none in the other."""
    site.has([*ROWS, TARGET | {"died": 2}])
    first, second = (site.approves(make_study(positive=p)) for p in ([1], [1, 2]))
    design = site.design(first)

    def gradient(study: Study, run: str) -> Any:
        site.run = run
        return site.sums(site.query(study, design, vector(design, 0.0))).gradient[0]

    before = gradient(first, "run-1")
    question = replace(site.query(second, design, vector(design, 0.0)), run_id="run-2")
    assert "(rule: related studies)" in site.refuses(question)
    # A second approval says yes to both studies, and still not to rows that differ by one.
    site.approves(second)
    assert "(rule: cohort difference)" in site.refuses(question)

    site.without("related_studies", "cohort_difference")
    row = before - gradient(second, "run-3")
    found = unscaled(design, row[1:] / row[0])
    assert found["age"] == pytest.approx(TARGET["age"])
    assert found["crp"] == pytest.approx(TARGET["crp"])


def test_the_same_study_under_another_title_brings_no_second_budget(site: Site) -> None:
    site.set(site.policy.model_copy(update={"queries_per_day": 3}))
    one, other = (site.approves(make_study(title=title)) for title in ("One", "Other"))
    design = site.design(one)
    points = [vector(design, level) for level in (0.1, 0.2)]
    site.sums(site.query(one, design, *points))
    third = site.query(other, design, vector(design, 0.3))
    assert "(rule: related studies)" in site.refuses(third)
    site.approves(other)  # a second look at it: the study may be answered, from the same budget
    assert "(rule: questions a day)" in site.refuses(third)
    site.set(site.policy.model_copy(update={"queries_per_day": 100}))
    site.sums(third)


def test_the_same_study_under_another_title_lets_no_other_cohort_in(site: Site) -> None:
    one, other = (site.approves(make_study(title=title)) for title in ("One", "Other"))
    before = site.summary(one)
    site.has(ROWS)
    site.run = "run-2"
    question = Query("summary", other, "run-2", AS_OF)
    assert "(rule: related studies)" in site.refuses(question)
    site.without("related_studies")
    assert "(rule: cohort difference)" in site.refuses(question)
    site.without("related_studies", "cohort_difference")
    assert is_target(difference(one, before, site.summary(other)))


def test_studies_that_share_no_column_are_not_related(site: Site) -> None:
    rows = [row | {"bmi": 20 + row["age"] / 10, "stroke": row["died"]} for row in ROWS]
    site.has(rows)
    site.summary(site.approves(make_study(split=None)))
    site.run = "run-2"
    bmi = [{"name": "bmi", "kind": "number"}]
    site.summary(site.approves(make_study(bmi, label="stroke", split=None)))


# -- asking again and again ------------------------------------------------------------------------


def test_averaging_brings_nothing_and_costs_nothing(site: Site, study: Study) -> None:
    query = site.query(study, design := site.design(study), vector(design, 0.1))
    first = site.ask(query).arrays
    for _ in range(3):
        again = site.ask(query).arrays
        assert all(np.array_equal(again[name], first[name]) for name in first)
    assert site_cost(site) == 2  # the summary and one vector


def site_cost(site: Site) -> float:
    from fedrisk.sites.folder import open_site

    return sum(float(entry["cost"]) for entry in open_site(site.folder).ledger.spent())


def test_the_day_s_budget_ends(site: Site, study: Study) -> None:
    design = site.design(study)
    levels = iter(np.linspace(-0.5, 0.5, 200))
    for _ in range(12):
        site.sums(site.query(study, design, *(vector(design, next(levels)) for _ in range(8))))
    for _ in range(3):
        site.sums(site.query(study, design, vector(design, next(levels))))
    last = site.query(study, design, vector(design, next(levels)))
    assert site_cost(site) == 100
    assert "more than 100 parameter vectors" in site.refuses(last)
    site.without("queries_per_day")
    site.sums(last)


def test_evaluations_have_a_smaller_budget(site: Site, study: Study) -> None:
    site.set(site.policy.model_copy(update={"evaluations_per_day": 2}))
    design = site.design(study)

    def question(level: float) -> Query:
        points = vector(design, 0.0, age=level)[None]
        return Query("evaluation", study, "run-1", AS_OF, design, points)

    for level in (0.1, 0.2):
        site.ask(question(level))
    assert "more than 2 evaluations" in site.refuses(question(0.3))
    site.without("evaluations_per_day")
    site.ask(question(0.3))


def oldest(site: Site, study: Study, questions: int) -> float:
    """Bisect the coefficient at which the site begins to refuse: it tells an old person's age."""
    design = site.design(study)
    low, high = 0.01, 5.0
    for _ in range(questions):
        middle = (low + high) / 2
        content = site.content(site.query(study, design, vector(design, 15.0, age=middle)))
        refused = "refusal" in content.config_records
        if refused and "log-odds" not in str(content.config_records["refusal"]["reason"]):
            raise AssertionError(str(content.config_records["refusal"]["reason"]))
        low, high = (low, middle) if refused else (middle, high)
    return design.columns[0].mean + design.columns[0].scale * (20 - 15) / low


def test_refusals_are_counted_for_each_tells_something(site: Site, study: Study) -> None:
    """Whether a row's log-odds pass a bound is one bit of it; some twenty are its value."""
    site.set(site.policy.model_copy(update={"refusals_per_day": 3, "effective_rows": 0}))
    with pytest.raises(AssertionError, match="3 questions were refused for these rows today"):
        oldest(site, study, 25)


def test_refusals_find_the_oldest_person_without_the_rules(site: Site, study: Study) -> None:
    site.without("contributors", "refusals_per_day", "effective_rows")
    assert oldest(site, study, 25) == pytest.approx(TARGET["age"], abs=1e-3)


def test_refusals_find_the_tenth_oldest_at_most(site: Site, study: Study) -> None:
    """Whose age that is, nobody knows; the bound does not look at the most extreme row."""
    site.without("refusals_per_day", "effective_rows")
    ages = sorted(row["age"] for row in [*ROWS, TARGET] if row["fold"] == "train")
    assert oldest(site, study, 25) == pytest.approx(ages[-10], abs=1e-3)
