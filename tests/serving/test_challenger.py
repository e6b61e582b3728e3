"""The challenger answers its share, is compared in the shadow, and never costs an answer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.profiles import Window
from fedrisk.registry.cache import StoredModel, clear_model, generation, write_model
from fedrisk.registry.trial_control import TrialControl, write_trial
from fedrisk.serving.app import create_app
from fedrisk.serving.capture import Capture
from fedrisk.serving.challenger import TrialRules, in_share
from fedrisk.serving.scoring import Scorer

from .conftest import ROW, STUDY, TestClient, fit, until

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def both(home: Home, stored: StoredModel) -> Home:
    """A home with champion 1 and challenger 2."""
    challenge(home, "2")
    return home


def challenge(home: Home, version: str, study=STUDY) -> None:
    model, bins = fit(study, seed=7)
    document, checks = model.document(), make_checks(model)
    place = home.challenger
    write_model(place, document, bins, checks, name="clinic", version=version, run_id="run7")


@contextmanager
def serving(home: Home, watch: float = 3600, **rules) -> Iterator[TestClient]:
    with TestClient(create_app(home, watch_seconds=watch, trial_rules=TrialRules(**rules))) as app:
        yield app


def answered_by(client: TestClient, **headers: str) -> str:
    answer = client.post("/predict", json=ROW, headers=headers)
    assert answer.status_code == 200
    return str(answer.json()["model"]["version"])


def figure(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_shares_are_stable_nested_and_near_what_was_asked_for() -> None:
    keys = [b"caller-%d" % number for number in range(20_000)]
    chosen = {share: {k for k in keys if in_share(k, share)} for share in (0.0, 0.05, 0.5, 1.0)}
    assert [len(chosen[share]) for share in (0.0, 1.0)] == [0, 20_000]
    assert len(chosen[0.05]) == pytest.approx(1000, abs=130)
    assert len(chosen[0.5]) == pytest.approx(10_000, abs=300)
    assert chosen[0.05] < chosen[0.5]
    assert {k for k in keys if in_share(k, 0.05)} == chosen[0.05]


def test_a_caller_with_a_key_meets_the_same_model(both: Home) -> None:
    with serving(both, share=0.5) as client:
        for number in range(20):
            key = f"caller-{number}"
            expected = "2" if in_share(key.encode(), 0.5) else "1"
            assert {answered_by(client, **{"X-Canary-Key": key}) for _ in range(3)} == {expected}
        identified = [answered_by(client, **{"X-Request-ID": f"r{n}"}) for n in range(40)]
        assert identified == ["2" if in_share(b"r%d" % n, 0.5) else "1" for n in range(40)]
        batch = client.post("/predict/batch", json=[ROW], headers={"X-Canary-Key": "caller-0"})
        expected = "2" if in_share(b"caller-0", 0.5) else "1"
        assert batch.json()["model"]["version"] == batch.headers["x-model-version"] == expected
        assert client.get("/ready").json()["challenger"]["model"]["version"] == "2"


def test_off_nothing_is_read(both: Home) -> None:
    with TestClient(create_app(both, watch_seconds=3600)) as client:
        assert answered_by(client) == "1"
        assert "challenger" not in client.get("/ready").json()
        assert "challenger_" not in client.get("/metrics").text


def test_a_challenger_that_fails_its_test_is_never_used(both: Home) -> None:
    place = generation(both.challenger)
    assert place is not None
    (place / "checks.json").write_text("[]")
    with serving(both, share=1.0, shadow=True) as client:
        assert {answered_by(client) for _ in range(5)} == {"1"}
        assert "damaged" in client.get("/ready").json()["challenger"]["refused"]["reason"]
        assert figure(client, 'challenger_loads_total{result="refused"}') == 1


def test_one_that_is_withdrawn_or_replaced_by_a_bad_one_answers_no_more(both: Home) -> None:
    with serving(both, watch=0.02, share=1.0) as client:
        assert answered_by(client) == "2"
        clear_model(both.challenger)
        until(lambda: answered_by(client) == "1")
        challenge(both, "3")
        until(lambda: answered_by(client) == "3")


def test_one_of_another_study_is_not_asked(both: Home) -> None:
    challenge(both, "4", STUDY.model_copy(update={"title": "Another"}))
    with serving(both, share=1.0, shadow=True) as client:
        assert answered_by(client) == "1"


@pytest.fixture
def raising(monkeypatch) -> None:
    """The challenger passes its tests, and fails in service."""
    risk, risks = Scorer.risk, Scorer.risks

    def row(self, *given):
        return broken(self) if tested and self.model.about["version"] == "2" else risk(self, *given)

    def rows(self, *given):
        return broken(self) if self.model.about["version"] == "2" else risks(self, *given)

    def broken(self):
        raise ZeroDivisionError

    tested: list[bool] = []
    test = Scorer.self_test

    def self_test(self, checks):
        tested.clear()
        test(self, checks)
        tested.append(True)

    monkeypatch.setattr(Scorer, "risk", row)
    monkeypatch.setattr(Scorer, "risks", rows)
    monkeypatch.setattr(Scorer, "self_test", self_test)


def test_one_that_raises_in_service_costs_no_answer(both: Home, raising) -> None:
    with serving(both, share=1.0) as client:
        assert client.get("/ready").json()["challenger"]["model"]["version"] == "2"
        assert answered_by(client) == "1"
        answer = client.post("/predict/batch", json=[ROW, ROW])
        assert (answer.status_code, answer.json()["model"]["version"]) == (200, "1")
        assert figure(client, 'challenger_errors_total{against="1",role="canary",version="2"}') == 2
        assert figure(client, "predictions_total{") == 3


def test_a_bad_row_is_no_fault_of_the_challenger(both: Home) -> None:
    with serving(both, share=1.0) as client:
        assert client.post("/predict", json={**ROW, "age": 130}).status_code == 422
        assert client.post("/predict", content=b"{").status_code == 400
        assert figure(client, "challenger_errors_total{") == 0


def test_the_shadow_compares_every_row(both: Home) -> None:
    with serving(both, shadow=True) as client:
        assert answered_by(client) == "1"
        rows = [{**ROW, "age": 20 + 0.3 * number} for number in range(250)]
        assert client.post("/predict/batch", json=rows).status_code == 200
        done = 'challenger_rows_total{against="1",role="shadow",version="2"}'
        until(lambda: figure(client, done) == 251)
        assert figure(client, 'challenger_risk_difference_count{against="1",version="2"}') == 251
        assert figure(client, 'challenger_risk_difference_sum{against="1",version="2"}') > 0
        assert figure(client, "challenger_dropped_rows_total") == 0


def test_the_shadows_failures_are_counted_and_seen_by_nobody(both: Home, raising) -> None:
    with serving(both, shadow=True) as client:
        assert answered_by(client) == "1"
        failed = 'challenger_errors_total{against="1",role="shadow",version="2"}'
        until(lambda: figure(client, failed) == 1)
        assert answered_by(client) == "1"


def test_what_does_not_fit_the_queue_is_dropped_and_counted(both: Home) -> None:
    with serving(both, shadow=True, most_rows=3) as client:
        assert client.post("/predict/batch", json=[ROW] * 4).status_code == 200
        assert figure(client, "challenger_dropped_rows_total") == 4


def test_windows_are_counted_by_the_version_that_answered(both: Home) -> None:
    windows: list[Window] = []
    capture = Capture("here", windows.extend, lambda: NOON)
    app = create_app(both, watch_seconds=3600, capture=capture, trial_rules=TrialRules(share=0.5))
    with TestClient(app) as client:
        versions = [answered_by(client, **{"X-Request-ID": f"r{n}"}) for n in range(200)]
    counted = {window.version: window.profile.rows for window in windows}
    assert counted == {version: versions.count(version) for version in ("1", "2")}


TENSORS = [
    {"name": name, "datatype": kind, "shape": [1], "data": [ROW[name]]}
    for name, kind in zip(ROW, ("FP64", "FP64", "FP64", "BYTES", "BYTES"), strict=True)
]


def inferred_by(client: TestClient, version: str = "") -> tuple[int, str]:
    """Status and version of an inference; of an error its text."""
    path = f"/versions/{version}" if version else ""
    answer = client.post(f"/v2/models/clinic{path}/infer", json={"inputs": TENSORS})
    return answer.status_code, answer.json().get("model_version") or answer.json()["error"]


def test_inference_takes_part_and_a_named_version_answers_alone(both: Home) -> None:
    with serving(both, share=1.0) as client:
        assert inferred_by(client) == (200, "2")
        assert inferred_by(client, "1") == (200, "1")
        assert inferred_by(client, "2") == (200, "2")
        assert inferred_by(client, "3") == (404, "this version does not serve, 1 and 2 do")
        assert client.get("/v2/models/clinic").json()["versions"] == ["1", "2"]
        assert client.get("/v2/models/clinic/versions/2/ready").status_code == 200
        assert figure(client, 'challenger_rows_total{against="1",role="canary"') == 2


def test_nobody_may_name_a_challenger_in_the_shadow(both: Home) -> None:
    with serving(both, shadow=True) as client:
        assert inferred_by(client) == (200, "1")
        assert inferred_by(client, "2") == (404, "this version does not serve, 1 does")
        assert client.get("/v2/models/clinic").json()["versions"] == ["1"]
        until(lambda: figure(client, 'challenger_rows_total{against="1",role="shadow"') == 1)


def test_a_named_challenger_that_fails_is_not_answered_for(
    both: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(both, share=1.0) as client:
        risks = Scorer.risks

        def failing(self: Scorer, columns):
            if self.model.intercept != fit(STUDY)[0].intercept:
                raise ArithmeticError("challenger")
            return risks(self, columns)

        monkeypatch.setattr(Scorer, "risks", failing)
        assert inferred_by(client) == (200, "1")
        assert inferred_by(client, "2")[0] == 500
        assert figure(client, 'challenger_errors_total{against="1",role="canary"') == 2


def test_the_registry_turns_the_trial_on_and_off_while_requests_go_on(both: Home) -> None:
    def says(share: float, *, shadow: bool) -> None:
        write_trial(both.trial, TrialControl(share, shadow).text())

    app = create_app(both, watch_seconds=0.01, trial_file=both.trial)
    with TestClient(app) as client:
        assert "challenger" not in client.get("/ready").json()
        assert client.get("/trial").status_code == 404
        assert figure(client, 'challenger_loads_total{result="taken"}') == 0
        says(0.0, shadow=True)
        until(lambda: client.get("/trial").status_code == 200)
        assert answered_by(client) == "1"
        until(lambda: client.get("/trial").json()["shadowed"]["rows"] == 1)
        says(1.0, shadow=True)
        until(lambda: answered_by(client) == "2")
        both.trial.write_text("nonsense")
        until(lambda: answered_by(client) == "1")
        says(1.0, shadow=False)
        until(lambda: answered_by(client) == "2")
        both.trial.unlink()
        until(lambda: answered_by(client) == "1")
        assert client.get("/trial").status_code == 404


def test_what_the_registry_says_overrides_the_settings(both: Home) -> None:
    write_trial(both.trial, TrialControl(0.0, shadow=False).text())
    rules = TrialRules(share=1.0)
    with TestClient(create_app(both, trial_rules=rules, trial_file=both.trial)) as client:
        assert answered_by(client) == "1"
