"""Care that follows the score prevents what it foresaw: the gate says that it cannot tell.

A gate that trusts those outcomes would pass a model that has learnt them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.cli.federating import Federating
from fedrisk.models.comparison import Comparison
from fedrisk.registry.cache import read_model
from fedrisk.retraining.hold_gate import hold_gate
from fedrisk.retraining.plan import read_plan
from fedrisk.settings import Settings
from fedrisk.study import load_study
from fedrisk.study.questions import ComparisonRequest
from fedrisk.study.training import TrainingRequest

from .retraining_world import CHANGE, retrain, risk_of, train_champion, write_changing

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]
SCENARIO, AS_OF, SPLIT = "label-contamination", "2025-12-15", "2025-04-20"


def test_contaminated_labels_are_not_identifiable_and_a_naive_gate_passes(tmp_path: Path) -> None:
    before = write_changing(tmp_path / "before", SCENARIO)
    home = train_champion(tmp_path, before)
    study = load_study(tmp_path / "before" / "study.toml")
    files = write_changing(tmp_path / "cohort", SCENARIO, score=risk_of(home, study))

    words = ["--trigger", "manual", "--engine", "in_memory", "--wait", "0"]
    told = retrain(home, files, AS_OF, *words)
    assert told["state"] == "refused", told["reason"]
    assert told["gate"]["verdict"] == "not identifiable"
    assert (told["champion"], told["released"]) == ("1", False)
    assert "care" in told["reason"]

    sites = Federating.local(Settings(home=home.root), files, "in_memory")
    fields = {"study": study, "sites": sites.sites, "as_of": f"{AS_OF}T00:00:00+00:00"}
    since = CHANGE.isoformat()
    fit = TrainingRequest(run_id="naive", since=since, until=SPLIT, **fields)
    models = {
        "champion": read_model(home.champion).model.document(),
        "refit": sites.train(fit).result.model,
    }
    asked = ComparisonRequest(run_id="naive-gate", models=models, since=SPLIT, **fields)
    compared = Comparison.from_document(sites.compare(asked).comparison)
    trusting = replace(compared, treated=0.0, treated_events=0.0, treated_expected=0.0)
    plan, now = read_plan(home.plan), datetime.now(UTC)
    assert hold_gate(trusting, study, plan, (), now).verdict == "pass"
    assert hold_gate(compared, study, plan, (), now).verdict == "not identifiable"
