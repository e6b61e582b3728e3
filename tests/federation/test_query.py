"""A query survives its travel, and a site believes the hash, not the sender."""

from __future__ import annotations

import numpy as np
import pytest

from fedrisk.errors import EgressError, FederationError, StudyError
from fedrisk.federation.answers import ANSWERS, answer
from fedrisk.federation.query import MESSAGE_TYPES, Query
from fedrisk.models.design_matrix import DesignColumn, DesignMatrix
from fedrisk.study import Study


def test_round_trip(study: Study) -> None:
    design = DesignMatrix((DesignColumn("age", "age", "value", -1, 50.0, 51.5, 20.25, False),))
    query = Query("newton", study, "r1", "2026-01-01", design, np.array([[0.1, 1 / 3]]), {"a": 2.0})
    back = Query.from_content(query.content())
    assert (back.kind, back.study, back.design, back.options) == (
        "newton",
        study,
        design,
        {"a": 2.0},
    )
    assert back.parameters.tolist() == query.parameters.tolist()


def test_study_that_does_not_match_its_hash_is_refused(study: Study) -> None:
    content = Query("summary", study, "r1", "2026-01-01").content()
    config = content.config_records["config"]
    config["study"] = str(config["study"]).replace('"penalty":1.0', '"penalty":0.0')
    with pytest.raises(EgressError, match="does not match its hash"):
        Query.from_content(content)


def test_study_of_another_contract_is_refused(study: Study) -> None:
    content = Query("summary", study, "r1", "2026-01-01").content()
    content.config_records["config"]["study"] = '{"name": "x"}'
    with pytest.raises(StudyError, match="the coordinator's study"):
        Query.from_content(content)


@pytest.mark.parametrize("name", ["kind", "run-id", "as-of", "model"])
@pytest.mark.parametrize("value", ["x" * 65, "", "a b", "a\nb", "é"], ids=ascii)
def test_names_that_a_site_writes_down_are_short_and_plain(
    study: Study, name: str, value: str
) -> None:
    content = Query("summary", study, "r" * 64, "2026-01-01T00:00:00.000000+00:00").content()
    Query.from_content(content)
    content.config_records["config"][name] = value
    with pytest.raises(EgressError, match=f"the question's '{name}' is not") as refused:
        Query.from_content(content)
    assert len(str(refused.value)) < 100


def test_every_kind_has_an_answer_and_unknown_kinds_have_none(study: Study) -> None:
    assert set(ANSWERS) | {"profile"} == set(MESSAGE_TYPES)  # that one is not about a cohort
    with pytest.raises(FederationError, match="unknown query 'rows'"):
        answer(None, Query("rows", study, "r1", "2026-01-01"))  # type: ignore[arg-type]


def test_only_numbers_pass_as_options(study: Study) -> None:
    content = Query("descent", study, "r1", "2026-01-01").content()
    content.config_records["config"].update({"server-round": 3, "word": "x"})
    assert Query.from_content(content).options == {"server-round": 3.0}


def test_a_window_of_time_travels_and_counts_as_another_question(study: Study) -> None:
    whole = Query("summary", study, "r1", "2026-01-01")
    part = Query("summary", study, "r1", "2026-01-01", since="2025-01-01", until="2025-06-01")
    back = Query.from_content(part.content())
    assert (back.since, back.until) == ("2025-01-01", "2025-06-01")
    assert Query.from_content(whole.content()).since == ""
    other = Query("summary", study, "r1", "2026-01-01", since="2025-01-01", until="2025-06-02")
    assert len({whole.digest, part.digest, other.digest}) == 3
    assert back.digest == part.digest
