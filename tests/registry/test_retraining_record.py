"""A retraining is one MLflow run, whatever happens in between, and versions lead to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.home import Home
from fedrisk.registry.model_card import model_card
from fedrisk.registry.record import record_training
from fedrisk.registry.retraining_record import RETRAINING, record_retraining
from fedrisk.registry.store import open_store
from fedrisk.registry.verification import verify
from fedrisk.registry.versions import get_version
from fedrisk.settings import Settings

NOW = datetime(2026, 1, 5, tzinfo=UTC)


def step(state: str, **evidence: object) -> dict:
    return {"state": state, "evidence": evidence, "chain": f"chain of {state}"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def test_one_retraining_is_one_run_that_is_kept_up_to_date(home: Home, result) -> None:
    settings = Settings(home=home.root)
    version = record_training(result, home, settings)
    figures = {"challenger": {"auroc": {"value": 0.75, "se": 0.01}, "brier": None}}
    steps = [
        step("frozen", champion="1", split="2026-01-01", until="2026-02-01", sites=["a", "b"]),
        step("trained", fitted={"exact": {"version": version, "run_id": "r"}}),
    ]
    chosen = {"version": version, "verdict": {"verdict": "harm", "sentences": ["PM2.5 | more"]}}
    loop = {
        "id": "20260105T000000-abc",
        "scope": "heart",
        "trigger": "drift",
        "state": "trained",
        "reason": "fitted",
        "transitions": steps,
    }
    first = record_retraining(home, settings, loop, "<p>one</p>", ended=False)
    store = open_store(home, settings)
    assert store.client.get_run(first).info.status == "RUNNING"
    gated = step("gated", gate={"verdict": "pass"}, comparison={"models": figures}, **chosen)
    steps.append(gated)
    again = loop | {"state": "done", "reason": "released", "transitions": steps}
    assert record_retraining(home, settings, again, "<p>two</p>", ended=True) == first
    run = store.client.get_run(first)
    tags = run.data.tags
    assert run.info.status == "FINISHED"
    assert {name: tags[f"fedrisk.{name}"] for name in ("state", "gate", "champion", "sites")} == {
        "state": "done",
        "gate": "pass",
        "champion": "1",
        "sites": "a b",
    }
    assert tags["fedrisk.rows_judged"] == "2026-01-01 to 2026-02-01"
    assert tags["fedrisk.chain"] == "chain of gated"
    assert run.data.metrics == {"challenger/auroc": 0.75}
    folder = Path(store.client.download_artifacts(first, ""))
    assert (folder / "report.html").read_text() == "<p>two</p>"
    assert json.loads((folder / "retraining.json").read_text()) == again
    linked = store.client.get_model_version("heart", version)
    assert linked.tags[RETRAINING] == loop["id"]
    for _ in range(2):  # the section is written anew, not added once more
        record_retraining(home, settings, again, "<p>two</p>", ended=True)
    folder = Path(store.client.download_artifacts(linked.run_id, "model"))
    card = (folder / "model_card.md").read_text()
    assert card.count("## How it came to serve") == 1
    assert card.startswith(model_card(result).rstrip())
    assert "The gate said *pass* on rows from 2026-01-01 to 2026-02-01" in card
    assert "| challenger | 0.75 |" in card
    verify(store, get_version(store, "heart", version))


def test_two_retrainings_are_two_runs(home: Home) -> None:
    settings = Settings(home=home.root)
    loop = {"scope": "heart", "trigger": "manual", "state": "refused", "transitions": []}
    runs = {
        record_retraining(home, settings, loop | {"id": name}, "", ended=True)
        for name in ("a", "b", "a")
    }
    assert len(runs) == 2
