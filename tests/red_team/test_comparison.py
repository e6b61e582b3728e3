"""A comparison under a site's policy: honest ones are answered, by groups; others are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from red_team.conftest import Row, Site, make_site, vector

from fedrisk.federation.plausibility import Known, check_reply
from fedrisk.federation.query import Query
from fedrisk.models.comparison import ComparisonCounts, PlacementSums, PooledScores
from fedrisk.models.comparison.counts import figure_place
from fedrisk.models.contender import Contender
from fedrisk.models.design_matrix import DesignMatrix, design_from_summary
from fedrisk.models.summary import summarise
from fedrisk.sites.policy import Policy
from fedrisk.study import Study, parse_study

AS_OF = "2026-01-01T00:00:00+00:00"
FEATURES = [
    {"name": "age", "kind": "number", "minimum": 0, "maximum": 120},
    {"name": "sex", "kind": "category", "levels": ["f", "m"]},
]
STUDY = parse_study(
    {
        "name": "ward",
        "label": "died",
        "positive": [1],
        "id": "who",
        "time": "day",
        "treated": "acted",
        "split": "fold",
        "subgroups": ["sex"],
        "features": FEATURES,
    }
)


def make_rows(train: int = 400, test: int = 400, acted: float = 0.3, seed: int = 1) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        {
            "who": f"p{place}",
            "day": f"2025-{1 + place % 12:02d}-{1 + place % 28:02d}",
            "age": round(float(np.clip(random.normal(50, 8), 30, 70)), 2),
            "sex": str(random.choice(["f", "m"])),
            "acted": int(random.random() < acted),
            "died": int(random.random() < 0.3),
            "fold": "train" if place < train else "test",
        }
        for place in range(train + test)
    ]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = make_site(tmp_path / "site", "ward", Path("rows.csv"))
    made.approves(STUDY)
    return made.has(make_rows())


def design(rows: list[Row] | None = None) -> DesignMatrix:
    held = [row for row in rows or make_rows() if row["fold"] == "train"]
    columns = {
        "age": np.array([row["age"] for row in held]),
        "sex": np.array(["fm".index(row["sex"]) for row in held], np.int32),
    }
    events = np.array([row["died"] == 1 for row in held])
    return design_from_summary(STUDY, summarise(STUDY, columns, events))


def contenders(*slopes: float) -> tuple[Contender, ...]:
    made = design()
    return tuple(
        Contender(f"model-{place}", made, vector(made, -0.9, age=slope))
        for place, slope in enumerate(slopes or (0.4, 0.6))
    )


def question(**changes: object) -> Query:
    asked = Query("comparison", STUDY, "run-1", AS_OF, contenders=contenders())
    return replace(asked, **changes)  # type: ignore[arg-type]


def counts(site: Site, query: Query) -> ComparisonCounts:
    reply = site.ask(query)
    rows = int(site.folder.joinpath("rows.csv").read_text().count("train"))
    check_reply(replace(reply, rows=rows), query, Known())
    return reply.record(ComparisonCounts, query.dimensions)


def placement(site: Site, query: Query, pooled: PooledScores) -> Query:
    return replace(query, kind="placement", parameters=pooled.array())


@pytest.mark.parametrize("untreated", [False, True])
def test_an_honest_comparison_is_answered_by_groups(site: Site, untreated: bool) -> None:
    query = question(options={"untreated": 1.0} if untreated else {})
    told = counts(site, query)
    assert told.rows[0] > 200
    held = told.bin_weights[told.bin_weights > 0]
    assert held.min() >= Policy().contributors
    second = placement(site, query, PooledScores.of(told))
    reply = site.ask(second)
    check_reply(reply, second, Known())
    sums = reply.record(PlacementSums, second.dimensions)
    assert np.abs(sums.totals[::3]).max() < 1e-9  # one site alone: they sum to zero
    assert sums.moments.any()


def test_groups_tell_nearly_what_rows_do(site: Site) -> None:
    told = counts(site, question())
    site.without(*Policy.model_fields)
    exact = counts(site, question())
    assert told.rows.tolist() == exact.rows.tolist()
    places = [
        figure_place(figure, 2, model)
        for figure in ("squared_error", "log_loss", "expected")
        for model in (0, 1)
    ]
    shown = (told.totals[0, places], exact.totals[0, places])
    assert shown[0] == pytest.approx(shown[1], rel=0.01)


def test_a_small_test_side_tells_nothing(site: Site) -> None:
    site.has(make_rows(test=40))
    told = counts(site, question())
    assert not any(array.any() for array in told.arrays().values())


def test_few_treated_rows_cannot_be_found_by_leaving_them_out(site: Site) -> None:
    site.has(make_rows(acted=0.0)[:-4] + [row | {"acted": 1} for row in make_rows(acted=0.0)[-4:]])
    assert "too few test rows were treated" in site.refuses(question(options={"untreated": 1.0}))
    counts(site, question())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"contenders": ()}, "0 models"),
        ({"contenders": contenders(*[0.4] * 9)}, "9 models"),
        ({"contenders": contenders(0.4, 40.0)}, "a coefficient is beyond"),
        ({"contenders": contenders(0.4, np.inf)}, "not finite"),
        ({"design": design()}, "a design matrix for each"),
        ({"parameters": np.zeros((2, 3))}, "begins without parameters"),
        ({"options": {"weeks": 3.0}}, "option 'weeks' is unknown"),
        ({"kind": "placement"}, "no finite table of the declared shape"),
        ({"kind": "evaluation", "contenders": contenders()}, "where none are compared"),
    ],
)
def test_what_no_honest_comparison_asks_is_refused(
    site: Site, changes: dict[str, object], reason: str
) -> None:
    assert reason in site.refuses(question(**changes))


def test_a_model_made_to_single_a_row_out_is_refused_whichever_it_is(site: Site) -> None:
    made = design()
    far = replace(made.columns[0], mean=119.0, scale=0.01)
    wrong = Contender("far", DesignMatrix((far, *made.columns[1:])), vector(made, -0.9, age=1.0))
    for models in ((wrong, *contenders()), (*contenders(), wrong)):
        assert "plausible design" in site.refuses(question(contenders=models))


def test_scores_of_all_sites_that_lack_one_s_own_are_refused(site: Site) -> None:
    query = question()
    pooled = PooledScores.of(counts(site, query))
    invented = replace(pooled, cases=np.zeros_like(pooled.cases))
    assert "pooled scores" in site.refuses(placement(site, query, invented))


def test_a_kind_that_the_policy_strikes_off_is_not_answered(site: Site) -> None:
    site.set(Policy(queries=("summary", "newton", "evaluation")))
    assert "questions of kind 'comparison'" in site.refuses(question())


def test_a_comparison_fits_nothing_whatever_strategy_is_allowed(site: Site) -> None:
    site.set(Policy(strategies=("fedavg",)))
    counts(site, question())


def test_comparisons_count_as_evaluations_by_their_models(site: Site) -> None:
    site.set(Policy(evaluations_per_day=5))
    query = question()
    told = counts(site, query)
    counts(site, query)  # the same question again is free
    site.ask(placement(site, query, PooledScores.of(told)))
    other = question(contenders=contenders(0.5, 0.7))
    assert "more than 5 evaluations" in site.refuses(other)


def test_a_window_is_compared_on_its_rows(site: Site) -> None:
    whole = counts(site, question())
    half = counts(site, question(since="2025-07-01T00:00:00+00:00", run_id="run-2"))
    assert 0 < half.rows[0] < whole.rows[0]


def test_study_of_the_questions(site: Site) -> None:
    other: Study = parse_study(STUDY.model_dump(mode="json") | {"penalty": 2.0})
    assert "is not approved" in site.refuses(question(study=other))
