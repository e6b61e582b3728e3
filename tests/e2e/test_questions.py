"""Train, profile and compare over real SuperNodes: the same answers as in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from running import COMMAND, environment, processes_of, running, wait_until

from fedrisk.cli.federating import Federating, Place
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.folders import is_held
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.models.comparison import Comparison
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.settings import Settings
from fedrisk.sites.approvals import approve
from fedrisk.sites.ledger import Ledger
from fedrisk.study import load_study
from fedrisk.study.questions import (
    ComparisonRequest,
    ComparisonResult,
    ProfileRequest,
    ProfileResult,
)
from fedrisk.study.training import TrainingRequest

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]


Answers = tuple[dict[str, Any], ComparisonResult, ProfileResult]


def ask(sites: Federating, cohort: dict[str, Path], now: datetime) -> Answers:
    """Fit, compare with a model that is off on later rows, count a later week."""
    study = load_study(next(iter(cohort.values())).parent / "study.toml")
    cut, end = ((now - timedelta(days=days)).date().isoformat() for days in (90, 83))
    fields = {"study": study, "as_of": now.isoformat(), "sites": sites.sites, "deadline": 120.0}
    champion = sites.train(TrainingRequest(run_id="fit", until=cut, **fields)).result.model
    models = {
        "champion": champion,
        "shifted": {**champion, "intercept": champion["intercept"] + 0.2},
    }
    gate = ComparisonRequest(run_id="gate", models=models, since=cut, **fields)
    drift = ProfileRequest(run_id="drift", model=champion, windows=((cut, end),), **fields)
    return champion, sites.compare(gate), sites.profile(drift)


# Ray leaves its processes to the end of the interpreter.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("engine", ["local", "simulation"])
def test_every_engine_answers_as_this_process_does(
    cohort: dict[str, Path], tmp_path: Path, engine: Place
) -> None:
    now, answers = datetime.now(UTC), {}
    for name in ("in_memory", engine):
        place = Federating.local(Settings(home=tmp_path / name), cohort, name)
        with place.kept() as sites:
            answers[name] = ask(sites, cohort, now)
    (model, gate, drift), (other, same_gate, same_drift) = answers.values()
    assert model["columns"] == other["columns"]
    assert gate.comparison == same_gate.comparison
    assert Comparison.from_document(gate.comparison).rows > 100
    assert drift.windows == same_drift.windows
    assert sum(SiteWindow.from_document(each).profile.rows for each in drift.windows) > 0
    assert gate.refused == drift.refused == {}
    if engine == "local":
        assert wait_until(lambda: not processes_of(tmp_path), 25), processes_of(tmp_path)


@pytest.fixture
def federation(cohort: dict[str, Path], tmp_path: Path) -> Iterator[Path]:
    """A running coordinator and a site for each file, each with the default policy."""
    now, (port,) = datetime.now(UTC), free_ports(1)
    settings = new_settings(["127.0.0.1"], port, listen="127.0.0.1")
    made = Federation.create(tmp_path / "coordinator", settings, now)
    study = load_study(next(iter(cohort.values())).parent / "study.toml")
    commands = [["federation", "start", "--federation", str(made.folder)]]
    for name, file in cohort.items():
        site = SiteFolder.create(tmp_path / name, made.invite(name, now), file)
        made.approve(name, site.request(), now)
        approve(site.folder / "approvals.json", study, "Dr Example", now)
        commands.append(["site", "start", "--folder", str(site.folder)])
    with ExitStack() as stack:
        for command in commands:
            stack.enter_context(running([*COMMAND, *command], env=environment()))
        assert wait_until(lambda: is_held(made.folder), 150)
        yield made.folder


def test_sites_with_a_policy_answer_a_deployed_federation(
    cohort: dict[str, Path], federation: Path, tmp_path: Path
) -> None:
    study = load_study(next(iter(cohort.values())).parent / "study.toml")
    sites = Federating.deployed(federation, Settings())
    now = datetime.now(UTC)
    cut = (now - timedelta(days=120)).date().isoformat()
    fields = {"study": study, "as_of": now.isoformat(), "sites": sites.sites}
    fitted = sites.train(TrainingRequest(run_id="fit", until=cut, **fields))
    champion = fitted.result.model
    models = {"champion": champion, "same": champion}
    gate = sites.compare(ComparisonRequest(run_id="gate", models=models, since=cut, **fields))
    assert gate.refused == {}
    assert Comparison.from_document(gate.comparison).rows > 100
    week = (cut, (now - timedelta(days=92)).date().isoformat())
    drift = sites.profile(ProfileRequest(run_id="drift", model=champion, windows=(week,), **fields))
    assert drift.refused == {}
    assert {window["site"] for window in drift.windows} == set(sites.sites)
    for name in cohort:
        spent = Ledger(tmp_path / name / "ledger.db").spent()
        assert sum(day["runs"] for day in spent) == 3
