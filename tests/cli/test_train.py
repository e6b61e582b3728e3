"""Arguments that do not fit together are told before anything starts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.cli import main
from fedrisk.cli.training import kept_request, new_request
from fedrisk.errors import UsageError
from fedrisk.federation.progress import Progress
from fedrisk.home import Home
from fedrisk.study import find_study
from fedrisk.study.training import TrainingRequest

BUILT_IN = "air-wearables"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]):
    """Run `fedrisk train`; its complaint."""

    def run(*words: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["train", *map(str, words)])
        assert ended.value.code == UsageError.exit_code
        return capsys.readouterr().err

    return run


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that knows one run, of the site north."""
    home = Home(tmp_path / "home").prepare()
    study = find_study(BUILT_IN)
    request = TrainingRequest(run_id="r1", study=study, sites=("north",), as_of="2026-01-01")
    Progress(home.run("r1")).ask(request)
    return home


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    file.write_text("a\n")
    return file


def test_a_run_needs_a_study_and_sites(refused) -> None:
    assert "no study is named" in refused()
    assert "no site is named" in refused("--study", BUILT_IN)


def test_a_quorum_that_cannot_be_met(refused, rows: Path) -> None:
    words = ("--study", BUILT_IN, "--site", f"a={rows}", "--quorum", 2)
    assert "a quorum of 2 sites cannot be met by 1" in refused(*words)
    assert "quorum" in refused(*words[:-1], 0)


def test_a_deadline_is_positive(refused, rows: Path) -> None:
    assert "deadline" in refused("--study", BUILT_IN, "--site", f"a={rows}", "--deadline", 0)


@pytest.mark.parametrize(
    "words",
    [
        ("--study", BUILT_IN),
        ("--model", "logistic"),
        ("--strategy", "fedavg"),
        ("--rounds", 5),
        ("--option", "a=1"),
        ("--quorum", 1),
        ("--deadline", 5),
    ],
    ids=lambda words: words[0],
)
def test_a_run_is_taken_up_as_it_began(refused, home: Home, words: tuple[object, ...]) -> None:
    told = refused("--home", home.root, "--resume", "r1", *words)
    assert f"leave out {words[0]}" in told


def test_an_unknown_run_is_told_with_those_there_are(refused, home: Home) -> None:
    told = refused("--home", home.root, "--resume", "r2")
    assert "no run 'r2'" in told
    assert "r1" in told


def test_a_run_is_taken_up_with_its_own_sites(refused, home: Home, rows: Path) -> None:
    told = refused("--home", home.root, "--resume", "r1", "--site", f"south={rows}")
    assert "of the sites north" in told


def test_the_request_that_was_kept(home: Home) -> None:
    request = kept_request(home, "r1")
    assert request.study == find_study(BUILT_IN)
    assert request.sites == ("north",)


@pytest.mark.parametrize("words", [("--site", "a=b"), ("--home", "h"), ("--policy", __file__)])
def test_a_federation_brings_its_own_sites_home_and_policies(
    refused, tmp_path: Path, words: tuple[str, str]
) -> None:
    engine = ("--study", BUILT_IN, "--engine", "deployed", "--federation", tmp_path)
    assert f"--engine deployed takes no {words[0]}" in refused(*engine, *words)


def test_a_deployed_run_needs_a_federation(refused) -> None:
    assert "no federation is named" in refused("--study", BUILT_IN, "--engine", "deployed")


@pytest.mark.parametrize("engine", ["local", "simulation"])
def test_other_engines_take_no_federation(refused, tmp_path: Path, engine: str) -> None:
    told = refused("--study", BUILT_IN, "--engine", engine, "--federation", tmp_path)
    assert f"--engine {engine} takes no --federation" in told
    assert "takes no --only" in refused("--study", BUILT_IN, "--engine", engine, "--only", "a")


def test_the_simulation_has_no_policies(refused, rows: Path) -> None:
    words = ("--study", BUILT_IN, "--engine", "simulation", "--policy", rows)
    assert "simulation takes no --policy" in refused(*words)


@pytest.mark.parametrize("seconds", ["inf", "nan", "86401"])
def test_a_wait_without_an_end(refused, rows: Path, seconds: str) -> None:
    words = ("--study", BUILT_IN, "--site", f"a={rows}", "--deadline", seconds)
    assert "a deadline is above 0 and at most 86400 s" in refused(*words)


def test_quorum_and_deadline_reach_the_request(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    given = {"model": "logistic", "strategy": "exact", "rounds": None, "options": {}}
    study = find_study(BUILT_IN)
    request = new_request(study, ("a", "b"), now, **given, quorum=1, deadline=7.0)
    assert (request.quorum, request.deadline, request.sites) == (1, 7.0, ("a", "b"))
    usual = new_request(study, ("a", "b"), now, **given)
    assert (usual.quorum, usual.deadline) == (None, 600.0)


def test_a_window_of_time_reaches_the_request() -> None:
    study, now = find_study(BUILT_IN), datetime.now(UTC)
    given = {"model": "logistic", "strategy": "exact", "rounds": None, "options": {}}
    request = new_request(study, ("a",), now, **given, since="2025-01-01", until="2025-06-01")
    assert request.since == "2025-01-01T00:00:00+00:00"
    assert request.until == "2025-06-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--since", "yesterday"), "yesterday"),
        (("--since", "2025-06-01", "--until", "2025-01-01"), "is empty"),
        (("--strategy", "recalibrate"), "needs a base model"),
    ],
)
def test_a_window_or_a_strategy_that_cannot_be(refused, rows: Path, words, reason) -> None:
    assert reason in refused("--study", BUILT_IN, "--site", f"a={rows}", *words)
