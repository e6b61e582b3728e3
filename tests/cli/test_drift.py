"""`fedrisk drift` on files: what it asks, says, stores and exits with."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from fedrisk.cli.drift import CALLS, drift
from fedrisk.cli.federating import Federating
from fedrisk.errors import StudyError, UsageError
from fedrisk.home import Home
from fedrisk.monitoring.store import VerdictStore
from fedrisk.profiles.profile import Profile, Window
from fedrisk.profiles.store import WindowStore
from fedrisk.registry.promotion import promote
from fedrisk.settings import Settings
from fedrisk.study import parse_study
from fedrisk.study.training import TrainingRequest

STUDY = parse_study(
    {
        "name": "small",
        "label": "ill",
        "positive": [1],
        "id": "who",
        "time": "day",
        "horizon": "7d",
        "features": [
            {"name": "heat", "kind": "number", "unit": "degC", "minimum": -50, "maximum": 60},
            {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        ],
    }
)
#: A Monday.
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
TRAINED = 60
AS_OF = FIRST + timedelta(weeks=TRAINED + 8)


def write_rows(path: Path, seed: int, unit=lambda heat: heat) -> Path:
    """Twenty rows a day for 68 weeks; the unit changes after training."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "day", "heat", "sex", "ill"])
        for number in range((TRAINED + 8) * 7):
            season = 8 * np.sin(2 * np.pi * number / 364)
            for _ in range(20):
                heat = random.normal(15 + season, 5)
                ill = int(random.random() < 1 / (1 + np.exp(2 - heat / 15)))
                shown = unit(heat) if number >= TRAINED * 7 else heat
                day = (FIRST + timedelta(days=number)).date().isoformat()
                who = f"{seed}-{random.integers(200)}"
                writer.writerow([who, day, f"{shown:.2f}", random.choice(["f", "m"]), ill])
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rows")
    return {n: write_rows(folder / f"{n}.csv", seed) for seed, n in enumerate(("north", "south"))}


@pytest.fixture(scope="module")
def home(tmp_path_factory, files) -> Path:
    """A home whose champion knows the first sixty weeks."""
    home = tmp_path_factory.mktemp("home") / "home"
    settings = Settings(home=home)
    until = (FIRST + timedelta(weeks=TRAINED)).isoformat()
    asked = TrainingRequest(
        run_id="first", study=STUDY, sites=tuple(files), as_of=AS_OF.isoformat(), until=until
    )
    trained = Federating.local(settings, files, engine="in_memory").train(asked)
    place = Home(home).existing()
    promote(place, settings, trained.version, "first", AS_OF)
    return home


def run(home: Path, files: dict[str, Path], *more: str):
    named = [part for name, path in files.items() for part in ("--site", f"{name}={path}")]
    arguments = ["--home", str(home), *named, "--engine", "in_memory", "--as-of"]
    return CliRunner().invoke(drift, [*arguments, f"{AS_OF:%Y-%m-%d}", *more])


def document(result) -> dict:
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_broken_data_are_told_by_the_exit_code_and_a_dry_run_is_forgotten(home, files, tmp_path):
    """First of all tests: what was judged sound is not judged again."""
    north = write_rows(tmp_path / "north.csv", 0, lambda heat: heat * 1.8 + 32)
    broken = files | {"north": north}
    said = run(home, broken, "--json", "--dry-run", "--exit-code")
    assert said.exit_code == CALLS
    found = json.loads(said.stdout)
    assert (found["verdict"], found["diagnosis"]) == ("quality", "quality")
    assert "degF" in found["per_site"]["north"]["reasons"][0]
    assert found["per_site"]["south"]["status"] != "quality"
    assert run(home, broken, "--dry-run").exit_code == 0
    store = VerdictStore(f"sqlite:///{Home(home).state}")
    assert store.verdicts(STUDY.name) == []
    store.close()


def test_weeks_since_training_are_stable_and_the_verdict_is_kept(home, files):
    said = document(run(home, files, "--json"))
    assert said["verdict"] == "stable"
    assert {"per_site", "per_feature", "harm", "sentences", "model"} <= set(said)
    assert said["per_site"]["north"]["windows"] == 8
    assert {"statistic", "effect", "p_value", "q_value", "drifted"} <= set(
        said["per_feature"]["heat"]
    )
    assert said["harm"]["kind"] == "none"
    store = VerdictStore(f"sqlite:///{Home(home).state}")
    assert store.verdicts(STUDY.name)[0]["verdict"] == "stable"
    assert set(store.memory(STUDY.name, said["model"]["version"]).history) == set(files)
    store.close()
    shown = run(home, files)
    assert "nothing changed" in shown.stdout


def test_what_will_be_known_later_is_not_judged_today(home, files):
    told = run(home, files, "--as-of", f"{datetime.now(UTC) + timedelta(days=3):%Y-%m-%d}")
    assert "lies ahead" in str(told.exception)


def test_the_plan_says_how_long_windows_are_and_what_counts(home, files):
    plan = Home(home).plan
    plan.write_text("window_days = 14.0\n[verdict]\nleast_rows = 5000.0\n")
    try:
        said = document(run(home, files, "--json", "--dry-run"))
        assert said["verdict"] == "insufficient evidence"
        assert "fewer than 5,000" in str(said)
        weekly = document(run(home, files, "--json", "--dry-run", "--window", "7"))
        refused = [str(each).count("fewer than 5,000") for each in (said, weekly)]
        assert refused[1] > refused[0] > 0
        plan.write_text("colour = 1")
        assert "colour" in str(run(home, files, "--dry-run").exception)
    finally:
        plan.unlink()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "no site is named"),
        (["--engine", "deployed"], "no federation is named"),
        (["--serving", "--site", "a=b"], "takes no site"),
        (["--engine", "deployed", "--site", "a=b"], "takes no --site"),
        (["--only", "a", "--site", "a=b"], "takes no --federation and no --only"),
    ],
)
def test_arguments_that_do_not_fit_together_are_refused(home, arguments, told):
    result = CliRunner().invoke(drift, ["--home", str(home), *arguments])
    assert isinstance(result.exception, UsageError)
    assert told in result.exception.message


def test_no_whole_window_since_training_is_told(home, files):
    result = run(home, files, "--until", f"{FIRST + timedelta(weeks=TRAINED, days=3):%Y-%m-%d}")
    assert isinstance(result.exception, UsageError)
    assert "no whole window" in result.exception.message
    assert "--since" in result.exception.hint


@pytest.mark.parametrize("serving", [False, True])
def test_in_a_champions_first_days_there_is_too_little_and_no_error(home, files, serving):
    early = f"{FIRST + timedelta(weeks=TRAINED, days=3):%Y-%m-%d}"
    more = ("--as-of", early, "--dry-run", "--json", "--exit-code")
    said = (
        CliRunner().invoke(drift, ["--home", str(home), "--serving", *more])
        if serving
        else run(home, files, *more)
    )
    assert document(said)["verdict"] == "insufficient evidence"
    assert said.exit_code == 0


def test_what_the_server_was_asked_is_judged(home):
    store = WindowStore(f"sqlite:///{Home(home).state}")
    start = FIRST + timedelta(weeks=TRAINED)
    empty = Profile.empty(STUDY)
    store.add([Window("w", STUDY.name, "1", "r", start, start + timedelta(days=7), empty)])
    store.close()
    arguments = ["--home", str(home), "--serving", "--as-of", f"{AS_OF:%Y-%m-%d}", "--json"]
    said = document(CliRunner().invoke(drift, [*arguments, "--dry-run"]))
    assert said["verdict"] == "insufficient evidence"
    assert "is empty" in said["per_site"]["serving"]["reasons"][0]


def test_a_model_without_blocks_is_told(home, files, monkeypatch):
    from fedrisk.profiles import reference

    def without(_document, _study):
        raise StudyError("has no blocks")

    monkeypatch.setattr(reference, "read_reference", without)
    assert isinstance(run(home, files).exception, StudyError)


def test_rows_without_times_are_one_window_that_nothing_can_be_said_of(tmp_path, files):
    """Neither are there weeks of the reference, nor any windows to choose."""
    study = STUDY.model_copy(update={"time": None, "horizon": "0d"})
    settings = Settings(home=tmp_path / "home")
    sites = Federating.local(settings, files, engine="in_memory")
    as_of = AS_OF.isoformat()
    asked = TrainingRequest(run_id="plain", study=study, sites=tuple(files), as_of=as_of)
    trained = sites.train(asked)
    promote(Home(settings.home).existing(), settings, trained.version, "first", AS_OF)
    said = document(run(settings.home, files, "--json"))
    assert said["verdict"] in ("insufficient evidence", "monitor")
    arguments = ["--home", str(settings.home), "--serving"]
    assert "have times" in CliRunner().invoke(drift, arguments).exception.message
