"""The three questions in this process: what they bring, and that nothing is asked twice."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedrisk.cli.federating import Federating
from fedrisk.errors import DataError, SiteRefusedError, UsageError
from fedrisk.home import Home
from fedrisk.models.comparison import Comparison
from fedrisk.models.logistic import LogisticModel
from fedrisk.profiles.profile import score_edges
from fedrisk.profiles.reference import read_reference
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.registry.store import open_store
from fedrisk.registry.versions import list_versions
from fedrisk.settings import Settings
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.policy import Policy, write_policy
from fedrisk.study import parse_study
from fedrisk.study.questions import ComparisonRequest, ProfileRequest
from fedrisk.study.training import TrainingRequest

STUDY = parse_study(
    {
        "name": "small",
        "label": "ill",
        "positive": [1],
        "id": "who",
        "time": "day",
        "horizon": "7d",
        "treated": "acted",
        "subgroups": ["sex"],
        "features": [
            {"name": "heat", "kind": "number", "minimum": -50, "maximum": 60},
            {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        ],
    }
)
FIRST = datetime(2025, 1, 1, tzinfo=UTC)
AS_OF = "2025-12-01T00:00:00Z"


def write_rows(path: Path, seed: int, rows: int = 600, people: int = 150) -> Path:
    random = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["who", "day", "heat", "sex", "acted", "ill"])
        for row in range(rows):
            heat, sex = random.normal(20, 8), random.choice(["f", "m"])
            risk = 1 / (1 + np.exp(1 - (heat - 20) / 6))
            day = (FIRST + timedelta(days=int(row * 300 / rows))).date().isoformat()
            acted = "yes" if random.random() < 0.1 else "no"
            who = f"{seed}-{random.integers(people)}"
            writer.writerow([who, day, f"{heat:.2f}", sex, acted, int(random.random() < risk)])
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rows")
    return {n: write_rows(folder / f"{n}.csv", seed) for seed, n in enumerate(("north", "south"))}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home") / "home")


@pytest.fixture(scope="module")
def sites(settings: Settings, files: dict[str, Path]) -> Federating:
    return Federating.local(settings, files, engine="in_memory")


def training(**changes: Any) -> TrainingRequest:
    fields = {"run_id": "fit", "study": STUDY, "sites": ("north", "south"), "as_of": AS_OF}
    return TrainingRequest(**fields | {"until": "2025-06-01"} | changes)


def test_a_fit_is_registered_without_an_alias_and_not_done_again(
    sites: Federating, settings: Settings
) -> None:
    trained = sites.train(training())
    assert sum(count["train"] for count in trained.result.rows.values()) > 400
    assert trained.result.model["about"]["until"] == "2025-06-01T00:00:00+00:00"
    again = sites.train(training())
    assert (again.version, again.result) == (trained.version, trained.result)
    versions = list_versions(open_store(Home(settings.home), settings), STUDY.name)
    assert [(v.version, tuple(v.aliases)) for v in versions] == [(trained.version, ())]


def test_models_are_compared_on_later_rows_of_other_people(sites: Federating) -> None:
    champion = sites.train(training()).result.model
    challenger = sites.train(training(run_id="later", until="2025-08-01")).result.model
    models = {"champion": champion, "challenger": challenger}
    asked = ComparisonRequest(
        run_id="gate", study=STUDY, as_of=AS_OF, models=models, since="2025-08-01"
    )
    result = sites.compare(asked)
    comparison = Comparison.from_document(result.comparison)
    assert list(comparison.models) == ["champion", "challenger"]
    assert comparison.rows > 30
    assert result.refused == {}
    assert [record.kind for record in result.rounds] == ["comparison", "placement"]
    assert sites.compare(asked) == result


def test_windows_of_rows_are_counted_with_the_scores_of_a_model(
    sites: Federating, files: dict[str, Path]
) -> None:
    model = sites.train(training()).result.model
    weeks = (("2025-08-04", "2025-08-11"), ("2025-08-11", "2025-08-18"))
    asked = ProfileRequest(run_id="weeks", study=STUDY, as_of=AS_OF, model=model, windows=weeks)
    result = sites.profile(asked)
    windows = [SiteWindow.from_document(document) for document in result.windows]
    assert [w.site for w in windows] == ["north", "north", "south", "south"]
    fitted = LogisticModel.from_document(model)
    for window in windows:
        cohort = load_cohort(
            STUDY,
            window.site,
            files[window.site],
            datetime.fromisoformat(AS_OF),
            since=window.start,
            until=window.end,
        )
        places = np.searchsorted(score_edges(), fitted.logit(cohort.columns), side="right")
        scores = np.bincount(places, minlength=len(score_edges()) + 1)
        assert window.profile.scores.tolist() == scores.tolist()
        assert window.profile.rows == window.profile.labelled.sum() == len(cohort.events) > 0
        assert window.profile.events.sum() == cohort.events.sum()
        assert window.days == 7
    assert result.refused == {}
    assert sites.profile(asked) == result


def test_a_site_that_breaks_the_study_is_counted_all_the_same_and_one_that_is_gone_is_told(
    settings: Settings, files: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text(files["north"].read_text().replace(",f,", ",x,"))
    places = {"north": broken, "south": tmp_path / "gone.csv"}
    sites = Federating.local(settings, places, engine="in_memory")
    asked = ProfileRequest(
        run_id="gone", study=STUDY, as_of=AS_OF, windows=(("2025-08-04", "2025-08-11"),)
    )
    result = sites.profile(asked)
    (window,) = [SiteWindow.from_document(document) for document in result.windows]
    assert window.profile.outside["sex"] > 0
    assert list(result.refused) == ["south"]
    assert "rows cannot be opened" in result.refused["south"]


def test_the_reference_is_the_weeks_of_the_training_period(
    sites: Federating, files: dict[str, Path]
) -> None:
    reference = read_reference(sites.train(training()).result.reference, STUDY)
    assert {block.start.weekday() for block in reference.blocks} == {0}
    assert {block.end - block.start for block in reference.blocks} == {timedelta(weeks=1)}
    for site, file in files.items():
        with file.open(encoding="utf-8") as rows:
            days = [row["day"] for row in csv.DictReader(rows)]
        profile = reference.of(site)
        assert profile.rows == sum(day < "2025-06-01" for day in days)
        assert profile.labelled.sum() == profile.scores.sum() == profile.rows
        assert len(reference.blocks_of(site, "MAM")) == 13


def test_of_many_sites_fewer_weeks_are_kept(
    sites: Federating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedrisk.federation.run.BLOCKS", 8)
    found = read_reference(sites.train(training(run_id="few-weeks")).result.reference, STUDY)
    assert [len(found.blocks_of(site)) for site in found.sites] == [4, 4]
    assert max(block.end for block in found.blocks) > datetime(2025, 6, 1, tzinfo=UTC)


def test_a_run_s_name_stands_for_one_question(sites: Federating) -> None:
    sites.train(training())
    with pytest.raises(UsageError, match="asked for something else"):
        sites.train(training(until="2025-07-01"))


def test_sites_that_are_not_there_are_named(sites: Federating) -> None:
    with pytest.raises(UsageError, match="no site is named east"):
        sites.train(training(run_id="east", sites=("north", "east")))


def test_rows_that_break_the_study_end_a_fit_before_it_begins(
    settings: Settings, files: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text(files["north"].read_text().replace(",f,", ",x,", 1))
    sites = Federating.local(settings, files | {"north": broken}, engine="in_memory")
    with pytest.raises(DataError, match="north"):
        sites.train(training(run_id="broken"))
    assert not Home(settings.home).run("broken").exists()


def test_no_site_is_no_federation(settings: Settings) -> None:
    with pytest.raises(UsageError, match="no site is named"):
        Federating.local(settings, {}, engine="in_memory")


def test_sites_under_a_policy_answer_what_it_allows(
    settings: Settings, files: dict[str, Path], tmp_path: Path
) -> None:
    policy = tmp_path / "policy.toml"
    write_policy(policy)
    sites = Federating.local(settings, files, engine="in_memory", policy=policy)
    champion = sites.train(training(run_id="kept", until="2025-07-28")).result.model
    gate = sites.compare(
        ComparisonRequest(
            run_id="gate-kept",
            study=STUDY,
            as_of=AS_OF,
            models={"champion": champion, "same": champion},
            since="2025-01-06",
        )
    )
    assert gate.refused == {}
    comparison = Comparison.from_document(gate.comparison)
    assert comparison.rows > 100
    drift = sites.profile(
        ProfileRequest(
            run_id="drift-kept",
            study=STUDY,
            as_of=AS_OF,
            model=champion,
            windows=(("2025-07-28", "2025-09-01"),),
        )
    )
    assert {window["site"] for window in drift.windows} == {"north", "south"}
    write_policy(policy, Policy(queries=("profile",)))
    with pytest.raises(SiteRefusedError, match="questions of kind 'summary'"):
        sites.train(training(run_id="refused"))
