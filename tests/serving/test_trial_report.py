"""What a trial tells to whoever decides: right figures, of both models, of all workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf

import numpy as np
import pytest
import schemathesis
from schemathesis.python.asgi import get_client, shutdown_lifespans
from schemathesis.specs.openapi.checks import response_schema_conformance

from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel, clear_model
from fedrisk.serving.app import create_app
from fedrisk.serving.challenger import TrialRules, in_share
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.scoring import Scorer
from fedrisk.serving.trial_report import TrialReport, quantile, read_report, timing

from .conftest import ROW, STUDY, TestClient, fit, until
from .test_challenger import challenge


@pytest.fixture
def both(home: Home, stored: StoredModel) -> Home:
    """A home with champion 1 and challenger 2."""
    challenge(home, "2")
    return home


@contextmanager
def serving(home: Home, **rules) -> Iterator[TestClient]:
    patient = Lifecycle(most_lag=60)
    app = create_app(
        home,
        watch_seconds=3600,
        lifecycle=patient,
        trial_rules=TrialRules(**rules) if rules else None,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def report(client: TestClient) -> TrialReport:
    answer = client.get("/trial")
    assert answer.status_code == 200, answer.text
    found = read_report(answer.content)
    assert found.document() == answer.json()
    assert read_report(answer.json()) == found
    return found


def refusal(client: TestClient) -> tuple[int, str]:
    answer = client.get("/trial")
    return answer.status_code, answer.json()["error"]


def test_both_models_requests_rows_and_seconds_are_told(both: Home) -> None:
    with serving(both, share=0.5) as client:
        keys = [f"caller-{number}" for number in range(40)]
        for key in keys:
            client.post("/predict", json=ROW, headers={"X-Canary-Key": key})
        taken = sum(in_share(key.encode(), 0.5) for key in keys)
        key = next(key for key in keys if not in_share(key.encode(), 0.5))
        client.post("/predict/batch", json=[ROW] * 7, headers={"X-Canary-Key": key})
        found = report(client)
    assert (found.name, found.share, found.shadow) == ("clinic", 0.5, False)
    assert (found.champion.version, found.challenger.version) == ("1", "2")
    assert (found.champion.requests, found.champion.rows) == (40 - taken + 1, 40 - taken + 7)
    assert (found.challenger.requests, found.challenger.rows) == (taken, taken)
    assert found.champion.errors == found.challenger.errors == 0
    for side in (found.champion, found.challenger):
        assert side.seconds is not None
        assert 0 < side.seconds.p50 <= side.seconds.p90 <= side.seconds.p99
    assert (found.shadowed.rows, found.compared.rows, found.compared.mean) == (0, 0, None)


def test_the_differences_are_those_of_the_two_models(both: Home) -> None:
    rows = [{**ROW, "age": 20 + 0.3 * number} for number in range(200)]
    with serving(both, shadow=True) as client:
        assert client.post("/predict/batch", json=rows).status_code == 200
        until(lambda: report(client).shadowed.rows == 200)
        found = report(client)
    before, after = (Scorer(fit(STUDY, seed=seed)[0]) for seed in (1, 7))
    risks = [[scorer.risk(row) for row in rows] for scorer in (before, after)]
    differences = np.abs(np.subtract(*risks))
    assert found.compared.rows == 200
    assert found.compared.mean == pytest.approx(differences.mean())
    for bound, share in found.compared.above.items():
        assert share == pytest.approx((differences > bound).mean())
    assert 0 < found.compared.above[0.001] <= 1
    levels = [[before.level(risk) for risk in each] for each in risks]
    pairs = list(zip(*levels, strict=True))
    changed = {pair: pairs.count(pair) for pair in pairs if pair[0] != pair[1]}
    told = {(each.champion, each.challenger): each.rows for each in found.compared.level_changes}
    assert told == changed != {}


def test_what_is_told_is_what_the_document_says(both: Home) -> None:
    rules = TrialRules(share=0.5, shadow=True)
    app = create_app(both, watch_seconds=3600, trial_rules=rules)
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    case = schema["/trial"]["GET"].Case()
    with get_client(app) as client:
        empty = client.get("http://testserver/trial")
        rows = [{**ROW, "age": 20 + number} for number in range(60)]
        for number in range(20):
            client.post(
                "http://testserver/predict", json=ROW, headers={"X-Canary-Key": str(number)}
            )
        client.post("http://testserver/predict/batch", json=rows)
        for answer in (empty, client.get("http://testserver/trial")):
            assert answer.status_code == 200
            case.validate_response(answer, checks=[response_schema_conformance])
        assert read_report(answer.content).champion.seconds is not None
    shutdown_lifespans()


def test_a_fault_is_the_models_that_had_it(both: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    risk = Scorer.risk
    failing: list[float] = []

    def broken(self: Scorer, row):
        if self.model.intercept in failing:
            raise ArithmeticError("broken")
        return risk(self, row)

    monkeypatch.setattr(Scorer, "risk", broken)
    with serving(both, share=1.0) as client:
        failing.append(fit(STUDY, seed=7)[0].intercept)
        assert client.post("/predict", json=ROW).json()["model"]["version"] == "1"
        found = report(client)
        assert (found.challenger.errors, found.champion.errors) == (1, 0)
        assert (found.challenger.requests, found.champion.requests) == (0, 1)
        assert client.post("/predict", json={**ROW, "age": 130}).status_code == 422
        failing.append(fit(STUDY)[0].intercept)
        assert client.post("/predict", json=ROW).status_code == 500
        found = report(client)
    assert (found.challenger.errors, found.champion.errors) == (2, 1)


def test_another_champion_begins_another_trial(both: Home) -> None:
    with serving(both, share=1.0) as client:
        client.post("/predict", json=ROW)
        first = report(client)
        client.app.champion.served = replace(
            client.app.champion.served,
            stored=replace(client.app.champion.served.stored, version="3"),
        )
        second = report(client)
    assert (first.challenger.requests, second.challenger.requests) == (1, 0)
    assert second.champion.version == "3"
    assert second.since >= first.since


def test_without_a_trial_the_reason_is_told(home: Home, stored: StoredModel) -> None:
    with serving(home) as client:
        assert refusal(client) == (404, "no trial is on: this server tries no challenger")
    with serving(home, shadow=True) as client:
        assert refusal(client) == (404, "no trial is on: there is no challenger")


def test_a_challenger_that_cannot_be_tried_is_a_conflict(both: Home) -> None:
    challenge(both, "3", STUDY.model_copy(update={"title": "Another"}))
    with serving(both, shadow=True) as client:
        assert refusal(client)[0] == 409
        assert "another study" in refusal(client)[1]
    (both.challenger / "model.json").write_bytes(b"{")
    with serving(both, shadow=True) as client:
        assert refusal(client)[0] == 409
        assert "the challenger is refused" in refusal(client)[1]
    clear_model(both.champion)
    with serving(both, shadow=True) as client:
        assert refusal(client)[0] == 503


def test_a_quantile_lies_where_the_counts_say() -> None:
    counts = {0.1: 10.0, 0.2: 10.0, 0.5: 40.0, inf: 50.0}
    assert quantile(counts, 0.1) == pytest.approx(0.05)
    assert quantile(counts, 0.5) == pytest.approx(0.2 + 0.3 * 15 / 30)
    assert quantile(counts, 0.8) == pytest.approx(0.5)
    assert quantile(counts, 0.99) == 0.5
    assert timing({inf: 0.0}, 0.0) is None
    assert timing({}, 0.0) is None


@pytest.mark.parametrize("document", [b"", b"{}", b'{"name": 3}', {"error": "no trial"}])
def test_what_is_no_report_is_refused(document) -> None:
    with pytest.raises(UsageError, match="no trial's report"):
        read_report(document)
