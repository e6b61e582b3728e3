"""`fedrisk study` as a person calls it: exit codes, standard output, standard error."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedrisk.cli.main import main

STUDY = """
name = "small"
label = "ill"
positive = [1]
split = "fold"
[[features]]
name = "age"
kind = "number"
unit = "year"
minimum = 0
maximum = 120
[[features]]
name = "sex"
kind = "category"
levels = ["f", "m"]
missing = "allow"
"""
HEADER = "age,sex,ill,fold\n"
GOOD = HEADER + "50,f,1,train\n60,m,0,train\n70,,1,test\n80,m,0,test\n"


class Answer:
    """What a command ended with."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON object it must be."""
        found: dict[str, Any] = json.loads(self.out)
        return found


Run = Callable[..., Answer]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY, encoding="utf-8")
    (tmp_path / "good.csv").write_text(GOOD, encoding="utf-8")

    def call(*arguments: str) -> Answer:
        with pytest.raises(SystemExit) as ended:
            main(["study", *arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Answer(int(ended.value.code or 0), captured.out, captured.err)

    return call


def write(tmp_path: Path, name: str, rows: str) -> str:
    (tmp_path / name).write_text(HEADER + rows, encoding="utf-8")
    return name


CHECK = ("check", "--study", "study.toml", "--site", "north=good.csv")


def test_data_that_fit(run: Run) -> None:
    answer = run(*CHECK)
    assert answer.code == 0
    assert "north" in answer.out
    assert "sex 25 %" in answer.out
    assert "1 site(s) fit study 'small'" in answer.out
    assert answer.err == ""


def test_json_of_data_that_fit(run: Run) -> None:
    answer = run(*CHECK, "--json")
    assert answer.code == 0
    assert answer.err == ""
    assert answer.document["violations"] == 0
    assert answer.document["warnings"] == []
    assert answer.document["sites"]["north"] == {
        "rows": 4,
        "usable": 4,
        "unlabelled": 0,
        "immature": 0,
        "treated": 0,
        "train": 2,
        "test": 2,
        "events": 2,
        "train_events": 1,
        "test_events": 1,
        "missing": {"age": 0, "sex": 1},
        "implausible": {},
    }


def test_every_site_is_checked_and_every_violation_named(run: Run, tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.csv", "x,f,1,train\n130,q,0,train\n")
    worse = write(tmp_path, "worse.csv", "inf,f,1,train\n")
    sites = ("--site", f"south={bad}", "--site", f"west={worse}")
    answer = run(*CHECK, *sites)
    assert answer.code == 4
    assert "north" in answer.out
    for line in (
        "error: 2 of 3 sites do not fit the study",
        "bad.csv, row 1, column 'age': 'x' must be a number",
        "bad.csv, row 2, column 'age': '130' must be between 0 and 120 year",
        "bad.csv, row 2, column 'sex': 'q' must be one of f, m",
        "worse.csv, row 1, column 'age': 'inf' must be finite",
    ):
        assert line in answer.err
    machine = run(*CHECK, *sites, "--json")
    assert machine.code == 4
    assert machine.document["total"] == 4
    assert machine.document["violations"][0] == {
        "file": "bad.csv",
        "row": 1,
        "column": "age",
        "value": "x",
        "rule": "must be a number",
    }


def test_many_violations_are_cut_on_a_terminal_only(run: Run, tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.csv", "x,f,1,train\n" * 1500)
    arguments = ("check", "--study", "study.toml", "--site", f"south={bad}")
    first = run(*arguments)
    assert first.err.count("must be a number") == 20
    assert "1480 more" in first.err
    whole = run(*arguments, "--all")
    assert (whole.code, whole.err.count("must be a number")) == (4, 1500)
    assert "more" not in whole.err
    machine = run(*arguments, "--json").document
    assert (machine["total"], len(machine["violations"])) == (1500, 1500)


def test_a_faulty_file_does_not_hide_the_others(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    bad = write(tmp_path, "bad.csv", "x,f,1,train\n")
    answer = run(*CHECK, "--site", "a=empty.csv", "--site", f"b={bad}", "--json")
    assert answer.code == 4
    assert "empty.csv: is empty" in answer.document["error"]
    assert [v["value"] for v in answer.document["violations"]] == ["x"]


def test_warnings(run: Run, tmp_path: Path) -> None:
    flat = write(tmp_path, "flat.csv", "50,f,0,train\n50,m,0,train\n50,m,0,test\n")
    arguments = ("check", "--study", "study.toml", "--site", f"flat={flat}")
    said = run(*arguments, "--json").document["warnings"]
    assert len(said) == 4
    answer = run(*arguments)
    assert answer.code == 0
    for text in (
        "warning: label 'ill' has one class",
        "warning: site 'flat' has 0 test events",
        "warning: feature 'age' is constant",
    ):
        assert text in answer.err


def test_maturity_is_judged_at_a_given_time(run: Run, tmp_path: Path) -> None:
    timed = STUDY.replace('split = "fold"', 'split = "fold"\ntime = "day"\nhorizon = "30d"')
    (tmp_path / "timed.toml").write_text(timed, encoding="utf-8")
    (tmp_path / "timed.csv").write_text(
        "age,sex,ill,fold,day\n50,f,1,train,2024-01-01\n60,m,0,train,2024-02-01\n", encoding="utf-8"
    )
    arguments = ("check", "--study", "timed.toml", "--site", "a=timed.csv", "--json", "--as-of")
    assert run(*arguments, "2024-02-15").document["sites"]["a"]["immature"] == 1
    assert run(*arguments, "2024-06-01T00:00Z").document["sites"]["a"]["immature"] == 0
    wrong = run(*arguments, "soon")
    assert (wrong.code, wrong.document["error"][:14]) == (2, "--as-of 'soon'")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("check", "--study", "study.toml"), 2, "no site was named"),
        (("check", "--study", "study.toml", "--site", "a=none.csv"), 2, "no such file"),
        (("check", "--study", "study.toml", "--site", "a=."), 2, "not a regular file: ."),
        ((*CHECK, "--site", "north=good.csv"), 2, "two sites are named 'north'"),
        (("check", "--study", "none.toml", "--site", "a=good.csv"), 3, "no such study file"),
        (("check", "--study", "study.toml", "--site", "a=study.toml"), 4, "format by its name"),
        (("infer", "--label", "ill"), 2, "no site was named"),
        (("infer", "--label", "sick", "--site", "a=good.csv"), 2, "'sick' is not in the file"),
        (("infer", "--label", "age", "--site", "a=good.csv"), 2, "which of them are events"),
    ],
)
def test_wrong_arguments(run: Run, arguments: tuple[str, ...], code: int, message: str) -> None:
    answer = run(*arguments)
    assert answer.code == code
    assert message in answer.err
    assert run(*arguments, "--json").document["error"] in answer.err


def test_a_draft_is_printed(run: Run) -> None:
    answer = run("infer", "--site", "north=good.csv", "--label", "ill")
    assert answer.code == 0
    assert tomllib.loads(answer.out)["label"] == "ill"


def test_a_draft_is_written_once_and_passes_the_check(run: Run, tmp_path: Path) -> None:
    arguments = ("infer", "--site", "north=good.csv", "--label", "ill", "--output", "new.toml")
    assert "2 features" in run(*arguments).out
    assert run("check", "--study", "new.toml", "--site", "north=good.csv").code == 0
    (tmp_path / "new.toml").write_text("mine", encoding="utf-8")
    refused = run(*arguments)
    assert (refused.code, "--force" in refused.err) == (2, True)
    assert (tmp_path / "new.toml").read_text(encoding="utf-8") == "mine"
    assert run(*arguments, "--force").code == 0
    assert "mine" not in (tmp_path / "new.toml").read_text(encoding="utf-8")


def test_a_draft_as_json(run: Run, tmp_path: Path) -> None:
    answer = run("infer", "--site", "north=good.csv", "--label", "ill", "--json")
    found = answer.document
    assert tomllib.loads(found["toml"])["name"] == found["study"]["name"] == "ill"
    assert found["suggested"] == {"split": "fold"}
    assert found["prevalence"] == 0.5
    assert found["output"] is None


def test_an_output_that_cannot_be_written(run: Run) -> None:
    arguments = ("infer", "--site", "north=good.csv", "--label", "ill", "--output", "no/such.toml")
    answer = run(*arguments)
    assert answer.code == 2
    assert "cannot be written" in answer.err


def test_a_declared_identifier_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("who,age,ill\n1,50,1\n,60,0\n", encoding="utf-8")
    answer = run("infer", "--site", "a=ids.csv", "--label", "ill", "--id", "who")
    assert answer.code == 4
    assert "ids.csv, row 2, column 'who': '' must not be missing" in answer.err
