"""A site's entry point: policy before rows, refusals with reasons, and a log of what left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from federation.conftest import write_site
from flwr.app import Array, ArrayRecord, Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedrisk.errors import DataError, SiteFolderError
from fedrisk.federation import client_app
from fedrisk.federation.client_app import _cohort, handle
from fedrisk.federation.packing import unpack
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.federation.query import MESSAGE_TYPES, Query, read_head
from fedrisk.sites.approvals import approve
from fedrisk.sites.cohort import Cohort
from fedrisk.sites.egress.log import EgressLog
from fedrisk.sites.folder import open_site
from fedrisk.sites.policy import Policy, write_policy
from fedrisk.study import Study

AS_OF = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def folder(tmp_path: Path, study: Study) -> Path:
    """A site's folder with default policy, over rows, the study approved."""
    made = tmp_path / "site"
    made.mkdir()
    make_signing_pair(made, "signing")
    write_policy(made / "policy.toml")
    rows = write_site(tmp_path / "rows.csv", 900, 1)
    (made / "site.toml").write_text(f'site = "north"\ndata = "{rows}"\n', encoding="utf-8")
    approve(made / "approvals.json", study, "Ada", datetime.now(UTC))
    return made


def send(config: dict[str, Any], query: Query, content: RecordDict | None = None) -> RecordDict:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 0
    given = query.content() if content is None else content
    message = Message(given, 1, MESSAGE_TYPES.get(query.kind, "query"))
    message.metadata.__dict__["_message_id"] = uuid4().hex
    return handle(message, Context(1, 1, config, RecordDict(), {})).content


def reason(content: RecordDict) -> str:
    assert not content.array_records
    return str(content.config_records["refusal"]["reason"])


def everything(content: RecordDict) -> str:
    """All text that leaves: reason, hint, class, the log's head."""
    return str([dict(record) for record in content.config_records.values()])


def entries(folder: Path) -> list[dict[str, Any]]:
    return open_site(folder).log.entries()


def test_an_answer_leaves_with_the_log_s_signed_head(folder: Path, study: Study) -> None:
    content = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert "feature_summary/rows" in unpack(content.array_records["arrays"])
    about = content.config_records["site"]
    assert (about["name"], about["study-hash"]) == ("north", study.hash)
    (entry,) = entries(folder)
    assert (entry["outcome"], entry["run"], entry["kind"]) == ("released", "r1", "summary")
    assert entry["groups"]["rows"] == float(content.config_records["site"]["rows"])
    head = read_head(content)
    assert head is not None
    assert head.hash == entry["hash"]


def test_a_refusal_is_logged_with_the_reason_that_leaves(folder: Path, study: Study) -> None:
    query = Query("newton", study, "r1", AS_OF)
    content = send({"folder": str(folder)}, query)
    (entry,) = entries(folder)
    assert entry["outcome"] == "refused"
    assert entry["reason"] == reason(content)
    assert content.config_records["refusal"]["class"] == "DisclosureError"
    assert read_head(content) is not None


def test_no_row_is_opened_for_a_question_that_is_refused_by_itself(
    folder: Path, study: Study
) -> None:
    (folder.parent / "rows.csv").unlink()
    crafted = study.model_copy(update={"title": "Another"})
    content = send({"folder": str(folder)}, Query("summary", crafted, "r1", AS_OF))
    assert "is not approved" in reason(content)
    content = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert reason(content) == "the site's rows cannot be read (DataError)"
    assert str(folder.parent) not in reason(content)


def test_a_refused_question_by_itself_costs_nothing(folder: Path, study: Study) -> None:
    send({"folder": str(folder)}, Query("newton", study, "r1", AS_OF))
    assert open_site(folder).ledger.spent() == []
    send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert open_site(folder).ledger.spent()[0]["cost"] == 1


def test_studies_that_nobody_approved_use_up_the_day_s_refusals(folder: Path, study: Study) -> None:
    write_policy(folder / "policy.toml", Policy(refusals_per_day=3))
    summary = Query("summary", study, "r1", AS_OF)
    for number in range(5):
        crafted = study.model_copy(update={"title": f"Another {number}"})
        send({"folder": str(folder)}, replace(summary, study=crafted))
    content = send({"folder": str(folder)}, summary)
    assert "3 questions were refused" in reason(content)


def test_a_question_that_is_asked_again_is_counted_once_and_answered_alike(
    folder: Path, study: Study
) -> None:
    """The coordinator asks again where it hears nothing; each answer that leaves is logged."""
    query = Query("summary", study, "r1", AS_OF)
    first, second = (send({"folder": str(folder)}, query) for _ in range(2))
    arrays = [dict(content.array_records["arrays"]) for content in (first, second)]
    assert arrays[0] == arrays[1]
    assert [entry["outcome"] for entry in entries(folder)] == ["released", "released"]
    assert [day["cost"] for day in open_site(folder).ledger.spent()] == [1]


@pytest.mark.parametrize("name", ["policy.toml", "approvals.json", "ledger.db"])
def test_a_damaged_folder_answers_nothing(folder: Path, study: Study, name: str) -> None:
    (folder / name).write_text("{ damaged", encoding="utf-8")
    content = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert reason(content) == "the site's folder, policy or log cannot be used"
    assert str(folder) not in everything(content)


def test_a_damaged_log_answers_nothing(folder: Path, study: Study) -> None:
    query = Query("summary", study, "r1", AS_OF)
    for run in ("r1", "r2"):
        send({"folder": str(folder)}, replace(query, run_id=run))
    log = folder / "egress" / "log.jsonl"
    log.write_text(log.read_text(encoding="utf-8").replace('"run":"r1"', '"run":"r9"'), "utf-8")
    content = send({"folder": str(folder)}, replace(query, run_id="r3"))
    assert "egress log: entry 1" in reason(content)


def test_a_question_that_cannot_be_read_is_refused_and_logged(folder: Path, study: Study) -> None:
    content = Query("summary", study, "r1", AS_OF).content()
    content["arrays"] = ArrayRecord({"a": Array(np.zeros(1)), "b": Array(np.zeros(1))})
    query = Query("summary", study, "r1", AS_OF)
    assert "cannot be read" in reason(send({"folder": str(folder)}, query, content))
    assert entries(folder)[0]["run"] == ""


def test_small_groups_are_hidden_by_a_policy_file_alone(
    folder: Path, tmp_path: Path, study: Study
) -> None:
    rows = str(folder.parent / "rows.csv")
    bare = send({"site": "north", "data": rows}, Query("summary", study, "r1", AS_OF))
    write_policy(tmp_path / "own.toml", Policy(contributors=40))
    config = {"site": "north", "data": rows, "policy": str(tmp_path / "own.toml")}
    told = send(config, Query("summary", study, "r1", AS_OF))

    def bins(content: RecordDict) -> np.ndarray[Any, Any]:
        return unpack(content.array_records["arrays"])["feature_summary/bins"]

    assert 0 < bins(bare)[bins(bare) > 0].min() < 40
    assert bins(told)[bins(told) > 0].min() >= 40
    assert read_head(told) is None  # no folder, no log


def test_a_site_without_rows_in_its_configuration_refuses(study: Study) -> None:
    content = send({}, Query("summary", study, "r1", AS_OF))
    assert "names no rows" in reason(content)


def test_the_open_policy_answers_small_sites(tmp_path: Path, study: Study) -> None:
    rows = write_site(tmp_path / "few.csv", 6, 5)
    content = send({"site": "n", "data": str(rows)}, Query("summary", study, "r1", AS_OF))
    assert content.array_records["arrays"]


def test_a_replaced_file_is_read_again(folder: Path, tmp_path: Path, study: Study) -> None:
    query = Query("summary", study, "r1", AS_OF)
    config = {"folder": str(folder)}
    first = send(config, query).config_records["site"]["rows"]
    write_site(tmp_path / "rows.csv", 600, 2)
    assert "(rule: frozen cohort)" in reason(send(config, query))
    second = send(config, replace(query, run_id="r2")).config_records["site"]["rows"]
    assert first != second


# -- what goes wrong and is no refusal -----------------------------------------------------------

CANARY = "CANARY-71.250419"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make the reading of rows raise an error as a library would."""

    def breaks(error: Exception) -> None:
        def load(*_: object, **__: object) -> Cohort:
            raise error.with_traceback(None)

        _cohort.cache_clear()
        monkeypatch.setattr(client_app, "load_cohort", load)

    return breaks


FAULTS = [
    ValueError(f"could not convert string to float: '{CANARY}'"),
    KeyError(CANARY),
    OSError(28, CANARY, f"/{CANARY}/rows.csv"),
    DataError(f"/{CANARY}/rows.csv, row 3: {CANARY}", hint=CANARY),
    SiteFolderError(f"/{CANARY}/ledger.db: disk full", hint=CANARY),
]
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)


@each_fault
def test_a_fault_leaves_without_its_text_and_the_site_s_own_log_has_it(
    folder: Path,
    study: Study,
    broken: Callable[[Exception], None],
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
) -> None:
    broken(fault)
    content = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert reason(content)
    assert CANARY not in everything(content)
    assert "rows.csv" not in everything(content)
    (entry,) = entries(folder)
    assert entry["outcome"] == "refused"
    assert entry["reason"] == reason(content)
    assert CANARY not in str(entry)
    assert CANARY in caplog.text
    assert read_head(content) is not None


def test_a_fault_s_stack_trace_stays_in_the_site_s_own_log(
    folder: Path,
    study: Study,
    broken: Callable[[Exception], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken(FAULTS[0])
    content = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert reason(content) == "the site cannot answer (ValueError)"
    assert "Traceback" in caplog.text
    assert "Traceback" not in everything(content)


def test_a_fault_that_the_rows_cause_counts_as_a_refusal(
    folder: Path, study: Study, broken: Callable[[Exception], None]
) -> None:
    policy = Policy(refusals_per_day=2)
    write_policy(folder / "policy.toml", policy)
    broken(FAULTS[0])
    query = Query("summary", study, "r1", AS_OF)
    times = [AS_OF, AS_OF.replace("2026", "2025"), AS_OF.replace("2026", "2024")]
    for time in times[:2]:
        assert "ValueError" in reason(send({"folder": str(folder)}, replace(query, as_of=time)))
    content = send({"folder": str(folder)}, replace(query, as_of=times[2]))
    assert "(rule: questions a day)" in reason(content)


@each_fault
def test_one_s_own_rows_are_told_of_in_full(
    tmp_path: Path, study: Study, broken: Callable[[Exception], None], fault: Exception
) -> None:
    rows = write_site(tmp_path / "own.csv", 60, 5)
    broken(fault)
    content = send({"site": "n", "data": str(rows)}, Query("summary", study, "r1", AS_OF))
    assert CANARY in reason(content)


def test_a_policy_file_alone_keeps_texts_back(
    folder: Path, tmp_path: Path, study: Study, broken: Callable[[Exception], None]
) -> None:
    write_policy(tmp_path / "own.toml", Policy())
    config = {"site": "n", "data": str(folder.parent / "rows.csv")}
    config |= {"policy": str(tmp_path / "own.toml")}
    broken(FAULTS[0])
    content = send(config, Query("summary", study, "r1", AS_OF))
    assert CANARY not in everything(content)
    (tmp_path / "own.toml").write_text(f"{CANARY} = 1\n", encoding="utf-8")
    content = send(config, Query("summary", study, "r1", AS_OF))
    assert CANARY not in everything(content)
    assert str(tmp_path) not in everything(content)


def test_a_fault_of_the_log_itself_leaves_no_text_either(
    folder: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError(CANARY)

    monkeypatch.setattr(EgressLog, "append", fails)
    content = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert reason(content) == "the site cannot answer (RuntimeError)"
    assert CANARY not in everything(content)


def test_a_strategy_that_the_policy_does_not_name_is_refused_before_rows_are_opened(
    folder: Path, study: Study
) -> None:
    (folder / "policy.toml").write_text('strategies = ["exact"]\n', encoding="utf-8")
    (folder.parent / "rows.csv").unlink()
    query = Query("summary", study, "r1", AS_OF, strategy="fedavg")
    told = reason(send({"folder": str(folder)}, query))
    assert told == "strategy 'fedavg' is not taken part in here (rule: known kind)"
    allowed = replace(query, strategy="exact")
    assert "cannot be read" in reason(send({"folder": str(folder)}, allowed))


def test_very_many_refusals_a_day_leave_their_number_alone_in_the_log(
    folder: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_app, "LOGGED_REFUSALS", 3)
    unknown = Query("nonsense", study, "r1", AS_OF)
    replies = [send({"folder": str(folder)}, unknown) for _ in range(20)]
    logged = entries(folder)
    assert [entry["reason"].partition(";")[0] for entry in logged[3:]] == [
        "4 refusals today",
        "8 refusals today",
        "16 refusals today",
    ]
    assert len(logged) == 6
    assert all("'nonsense'" in reason(content) for content in replies[:3])
    assert all("only their number is logged" in reason(content) for content in replies[3:])
    assert "egress" not in replies[4].config_records, "what is not logged carries no head"
    assert list(open_site(folder).ledger.told().values()) == [20]
    answered = send({"folder": str(folder)}, Query("summary", study, "r1", AS_OF))
    assert "feature_summary/rows" in unpack(answered.array_records["arrays"])
    assert entries(folder)[-1]["outcome"] == "released"
