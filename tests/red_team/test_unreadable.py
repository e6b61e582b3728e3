"""Questions that nobody approved, or that are not what they say: refused, and nothing leaves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from red_team.conftest import AS_OF, Site, make_study, vector

from fedrisk.federation.query import Query
from fedrisk.models.design_matrix import DesignMatrix
from fedrisk.study import Study


def test_a_study_that_nobody_approved(site: Site, study: Study) -> None:
    crafted = make_study(title="Another")
    query = Query("summary", crafted, "run-1", AS_OF)
    assert "is not approved at this site (rule: approved study)" in site.refuses(query)
    site.without("approved_studies_only")
    assert float(site.summary(crafted).rows) == 601


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_parameters_that_are_no_numbers(site: Site, study: Study, bad: float) -> None:
    design = site.design(study)
    query = site.query(study, design, vector(design, 0.0, age=bad))
    assert "a parameter is not finite" in site.refuses(query)


@pytest.mark.parametrize("shape", [(1, 2), (1, 9), (0, 7), (9, 7), (1, 7, 1), (2, 7, 7)])
def test_parameters_of_other_shapes(site: Site, study: Study, shape: tuple[int, ...]) -> None:
    query = site.query(study, site.design(study), np.zeros(7))
    content = replace(query, parameters=np.zeros((1, 7))).content()
    content["arrays"] = ArrayRecord({"parameters": Array(np.zeros(shape))})
    assert refusal(site, query, content)


@pytest.mark.parametrize(
    "change",
    [
        {"fill": 1e9},
        {"mean": float("nan")},
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": float("inf")},
        {"scale": "1"},
        {"mean": None},
        {"name": "Age"},
        {"feature": "crp"},
        {"kind": "missing"},
        {"level": 2},
    ],
    ids=str,
)
def test_a_design_matrix_of_the_coordinator_s_own(
    site: Site, study: Study, change: dict[str, object]
) -> None:
    design = site.design(study)
    age = replace(design.columns[0], **change)  # type: ignore[arg-type]
    crafted = DesignMatrix((age, *design.columns[1:]))
    query = site.query(study, crafted, np.zeros(7))
    assert "(rule: declared design)" in site.refuses(query)


def test_a_design_matrix_with_a_column_more(site: Site, study: Study) -> None:
    design = site.design(study)
    crafted = DesignMatrix((*design.columns, design.columns[0]))
    reason = site.refuses(site.query(study, crafted, np.zeros(8)))
    assert "other columns than follow from the study" in reason


def test_a_time_that_is_none(site: Site, study: Study) -> None:
    query = Query("summary", study, "run-1", "yesterday")
    assert "(rule: readable time)" in site.refuses(query)


def test_kinds_that_are_not_answered(site: Site, study: Study) -> None:
    query = site.query(study, design := site.design(study), vector(design, 0.0))
    assert "'rows' are not answered" in site.refuses(replace(query, kind="rows"))
    assert "'forest' are not fitted" in site.refuses(replace(query, model="forest"))


@pytest.mark.parametrize("left_out", ["arrays", "config", "study", "study-hash", "as-of", "design"])
def test_a_message_that_lacks_something(site: Site, study: Study, left_out: str) -> None:
    query = site.query(study, site.design(study), np.zeros(7))
    content = query.content()
    if left_out in content:
        del content[left_out]
    else:
        config = dict(content.config_records["config"])
        del config[left_out]
        content["config"] = ConfigRecord(config)
    assert "cannot be read" in refusal(site, query, content)


def test_a_study_under_another_s_hash(site: Site, study: Study) -> None:
    content = Query("summary", make_study(title="Another"), "run-1", AS_OF).content()
    config = dict(content.config_records["config"]) | {"study-hash": study.hash}
    content["config"] = ConfigRecord(config)
    query = Query("summary", study, "run-1", AS_OF)
    assert "does not match its hash" in refusal(site, query, content)


def test_rows_that_break_a_bound_are_not_counted_out(site: Site) -> None:
    """A hard bound just below the oldest: how many rows break it stays at the site."""
    bounded = {"name": "age", "kind": "number", "minimum": 0, "maximum": 117}
    study = site.approves(make_study([bounded]))
    reason = site.refuses(Query("summary", study, "run-1", AS_OF))
    assert reason == "the site's rows break the study in column(s) 'age'"


def refusal(site: Site, query: Query, content: RecordDict) -> str:
    """The reason for which the site refuses this content."""

    class Sent(Query):
        def content(self) -> RecordDict:
            return content

    sent = Sent(query.kind, query.study, query.run_id, query.as_of)
    return site.refuses(sent)
