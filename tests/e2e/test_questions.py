"""Train, profile and compare over real SuperNodes: the same answers as in this process."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from running import processes_of, wait_until

from fedrisk.cli.federating import Federating
from fedrisk.models.comparison import Comparison
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.settings import Settings
from fedrisk.study import load_study
from fedrisk.study.questions import ComparisonRequest, ProfileRequest
from fedrisk.study.training import TrainingRequest

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


def test_all_three_questions_over_real_sites(cohort: dict[str, Path], tmp_path: Path) -> None:
    study = load_study(next(iter(cohort.values())).parent / "study.toml")
    now = datetime.now(UTC)
    places = {
        n: Federating.local(Settings(home=tmp_path / n), cohort, n) for n in ("local", "in_memory")
    }
    cut = (now - timedelta(days=90)).date().isoformat()
    fields = {"study": study, "as_of": now.isoformat(), "deadline": 60.0}
    answers = {}
    for name, sites in places.items():
        fields["sites"] = sites.sites
        champion = sites.train(TrainingRequest(run_id="fit", until=cut, **fields)).result.model
        repaired = TrainingRequest(
            run_id="again", until=cut, strategy="recalibrate", base=champion, **fields
        )
        challenger = sites.train(repaired).result.model
        models = {"champion": champion, "challenger": challenger}
        gate = ComparisonRequest(run_id="gate", models=models, since=cut, **fields)
        week = (cut, (now - timedelta(days=83)).date().isoformat())
        drift = ProfileRequest(run_id="drift", model=champion, windows=(week,), **fields)
        answers[name] = (champion, sites.compare(gate), sites.profile(drift))
    (model, gate, drift), (other, same_gate, same_drift) = answers.values()
    assert model["columns"] == other["columns"]
    assert gate.comparison == same_gate.comparison
    assert Comparison.from_document(gate.comparison).rows > 100
    assert drift.windows == same_drift.windows
    assert sum(SiteWindow.from_document(each).profile.rows for each in drift.windows) > 0
    assert gate.refused == drift.refused == {}
    assert wait_until(lambda: not processes_of(tmp_path), 25), processes_of(tmp_path)
