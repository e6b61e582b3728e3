"""`fedrisk retrain` on a small cohort in this process: dry run, refusals, approval, status."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

import pytest

from fedrisk.cli import main
from fedrisk.cli.federating import Federating
from fedrisk.home import Home
from fedrisk.registry.promotion import register_outcome
from fedrisk.settings import Settings
from fedrisk.simulation import write_cohort
from fedrisk.study import load_study
from fedrisk.study.training import TrainingRequest

PLAN = """\
gate_days = 90
[decision]
least_rows = 10
least_events = 1
[[challengers]]
name = "refit"
"""


def _code(*words):
    try:
        main(["retrain", *map(str, words)])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A home whose champion was fitted on the first half of a year; the flags of its sites."""
    folder = tmp_path_factory.mktemp("retrain")
    files = write_cohort(folder / "cohort", 2, 60, 360, 7, date(2024, 1, 1))
    study = load_study(folder / "cohort" / "study.toml")
    settings = Settings(home=folder / "home")
    sites = Federating.local(settings, files, "in_memory")
    request = TrainingRequest(
        run_id="first",
        study=study,
        sites=sites.sites,
        as_of=datetime(2024, 12, 20, tzinfo=UTC).isoformat(),
        until="2024-07-01",
    )
    sites.train(request)
    home = Home(folder / "home")
    register_outcome(home, settings, "first", promote=False, now=datetime.now(UTC))
    home.plan.write_text(PLAN)
    flags = ["--home", home.root, "--engine", "in_memory", "--as-of", "2024-12-20", "--json"]
    return home, [*flags, *(f"--site={name}={file}" for name, file in files.items())]


def _told(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_dry_run_says_what_would_be_done_and_keeps_nothing(trained, capsys):
    home, flags = trained
    assert _code("--trigger", "manual", "--dry-run", *flags) == 0
    told = _told(capsys)
    assert (told["dry_run"], told["state"], told["champion"]) == (True, "frozen", "1")
    assert told["decision"]["action"] == "retrain"
    assert told["verdict"]["per_site"]
    assert "a person's approval" in told["then"]
    assert _code("status", "--home", home.root, "--json") == 0
    assert _told(capsys) == []
    assert not list((home.root / "runs").glob("*refit"))


def test_once_around_with_the_gates_answer_on_record(trained, capsys):
    """On so few events the gate has no evidence: the champion stays, and every step is told."""
    home, flags = trained
    assert _code("--trigger", "manual", "--wait", "0", *flags) == 0
    told = _told(capsys)
    assert told["state"] == "refused"
    assert told["gate"]["verdict"] in ("insufficient evidence", "refuse")
    assert (told["champion"], told["released"]) == ("1", False)
    assert _code("status", told["id"], "--home", home.root, "--json") == 0
    steps = _told(capsys)
    assert [step["state"] for step in steps] == ["frozen", "trained", "closing", "refused"]
    assert set(steps[2]["inputs"]) >= {"champion", "refit", "comparison", "margins"}
    assert _code("approve", told["id"], "--by", "Dr Z", "--home", home.root) == 14
    assert "takes no answer: it is refused" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "no trigger is named"),
        (["--trigger", "manual", "--as-of", "2999-01-01"], "lies ahead"),
        (["--trigger", "manual"], "no site is named"),
        (["--trigger", "manual", "--engine", "deployed"], "no federation is named"),
        (["--trigger", "manual", "--engine", "deployed", "--site", "a=b"], "takes no --site"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(words, reason, tmp_path, capsys):
    assert _code("--home", tmp_path, *words) == 2
    assert reason in capsys.readouterr().err


def test_a_plan_is_begun_shown_and_not_written_over(tmp_path, capsys):
    home = ["--home", tmp_path / "home"]
    assert _code("plan", "init", *home) == 0
    assert _code("plan", "init", *home) == 2
    capsys.readouterr()
    assert _code("plan", "show", *home) == 0
    told = _told(capsys)
    assert (told["signed"], told["plan"]["approval"]) == (False, "person")


def test_a_home_without_a_model_says_so(tmp_path, capsys):
    Home(tmp_path / "home").prepare()
    site = tmp_path / "a.csv"
    site.write_text("x\n")
    words = ["--trigger", "manual", "--engine", "in_memory", f"--site=a={site}"]
    assert _code("--home", tmp_path / "home", *words) == 8
    assert "holds no model" in capsys.readouterr().err
