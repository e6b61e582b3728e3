"""`fedrisk site drift-report`: periods, places, scores, and refusals."""

from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import pytest

from fedrisk.cli.main import main
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.summary import summarise
from fedrisk.sites.folder import open_site
from fedrisk.sites.policy import write_policy
from fedrisk.study import parse_study

STUDY = {
    "name": "s",
    "label": "y",
    "positive": [1],
    "time": "day",
    "features": [{"name": "heat", "kind": "number", "minimum": -40, "maximum": 60}],
}
PERIODS = ["--reference", "2024-01-01..2024-04-01", "--current", "2024-04-01..2024-07-01"]


@pytest.fixture
def study_file(tmp_path):
    file = tmp_path / "study.toml"
    feature = 'name = "heat"\nkind = "number"\nminimum = -40\nmaximum = 60\n'
    roles = 'name = "s"\nlabel = "y"\npositive = [1]\ntime = "day"\n'
    file.write_text(f"{roles}[[features]]\n{feature}", encoding="utf-8")
    return file


@pytest.fixture
def rows_file(tmp_path):
    """Half a year of ten rows a day; from April on it is 10 degrees warmer, some values are °F."""
    rng = np.random.default_rng(1)
    lines = ["day,heat,y"]
    for number in range(182):
        day = date(2024, 1, 1) + timedelta(days=number)
        warmer = 10.0 if day >= date(2024, 4, 1) else 0.0
        lines += [f"{day},{rng.normal(10 + warmer, 5):.2f},0" for _ in range(9)]
        lines.append(f"{day},{75.0 if warmer else 12.0},1")
    file = tmp_path / "site-1.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def model_file(tmp_path):
    study = parse_study(STUDY)
    heat = np.random.default_rng(0).normal(10, 5, 100)
    design = design_from_summary(study, summarise(study, {"heat": heat}, heat > 12))
    model = LogisticModel(study, design, -3.0, np.array([0.5]), np.eye(2))
    file = tmp_path / "model.json"
    file.write_text(json.dumps(model.document()), encoding="utf-8")
    return file


def run(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["site", "drift-report", *map(str, arguments)])
    told = capsys.readouterr()
    return int(end.value.code or 0), told.out, told.err


def test_the_report_is_written_beside_the_rows_and_says_what_it_found(
    capsys, rows_file, study_file
):
    code, out, _ = run(capsys, "--data", rows_file, "--study", study_file, *PERIODS, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["site"] == "site-1"
    assert found["drifted"] == ["heat"]
    assert found["outside"] == {"heat": 91}
    assert (found["reference_rows"], found["current_rows"]) == (910, 910)
    assert found["file"] == str(rows_file.parent / "reports" / "drift-2024-04-01-2024-07-01.html")


def test_a_sites_folder_names_the_rows_and_keeps_the_report_and_nothing_is_logged(
    capsys, tmp_path, rows_file, study_file
):
    """The report is the site's own, so it is no answer: neither log nor ledger knows of it."""
    folder = tmp_path / "north"
    folder.mkdir()
    make_signing_pair(folder, "signing")
    write_policy(folder / "policy.toml")
    (folder / "site.toml").write_text(f'site = "north"\ndata = "{rows_file}"\n', encoding="utf-8")
    code, out, _ = run(capsys, "--folder", folder, "--study", study_file, *PERIODS, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["site"] == "north"
    assert found["file"] == str(folder / "reports" / "drift-2024-04-01-2024-07-01.html")
    assert open_site(folder).check_log() == 0


def test_scores_of_a_model_are_compared_too(capsys, rows_file, model_file, tmp_path):
    output = tmp_path / "here.html"
    code, out, _ = run(
        capsys, "--data", rows_file, "--model", model_file, *PERIODS, "--output", output
    )
    assert code == 0
    assert "risk_score: drifted" in out
    assert "must not leave" in out
    assert "91 of 910 values" in out
    assert output.is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--study", "STUDY"], "either --folder or --data"),
        (["--data", "ROWS"], "give --study"),
        (["--data", "ROWS", "--study", "STUDY", "--model", "nowhere.json"], "cannot be read"),
    ],
)
def test_what_is_lacking_is_said(capsys, rows_file, study_file, arguments, told):
    names = {"ROWS": rows_file, "STUDY": study_file}
    given = [names.get(each, each) for each in arguments]
    code, out, err = run(capsys, *given, *PERIODS)
    assert code != 0
    assert told in err
    assert out == ""


def test_rows_of_a_study_without_time_are_of_no_period(capsys, rows_file, study_file):
    study_file.write_text(study_file.read_text().replace('time = "day"', ""), encoding="utf-8")
    code, _, err = run(capsys, "--data", rows_file, "--study", study_file, *PERIODS)
    assert code != 0
    assert "no time column" in err


def test_a_period_without_rows_names_the_days_there_are(capsys, rows_file, study_file):
    periods = ["--reference", "2023-01-01..2023-02-01", "--current", "2024-04-01..2024-05-01"]
    code, _, err = run(capsys, "--data", rows_file, "--study", study_file, *periods)
    assert code != 0
    assert "has no rows from 2023-01-01" in err
    assert "2024-01-01" in err


@pytest.mark.parametrize("period", ["2024-01-01", "2024-02-01..2024-01-01", "spring..summer"])
def test_a_period_that_is_none_is_refused(capsys, rows_file, period):
    code, _, err = run(capsys, "--data", rows_file, "--reference", period, "--current", period)
    assert code == 2
    assert period in err


def test_a_model_of_another_study_is_refused(capsys, rows_file, model_file, study_file):
    study_file.write_text(study_file.read_text() + "missing = 'allow'\n", encoding="utf-8")
    code, _, err = run(
        capsys, "--data", rows_file, "--study", study_file, "--model", model_file, *PERIODS
    )
    assert code != 0
    assert "the model is of study" in err
