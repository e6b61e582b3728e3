"""scripts/run-local.sh says what went wrong, with an engine and an API that are played."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Every image is there, every service well, every site joined; `joined` holds a site's rows' name.
DOCKER = """\
#!/usr/bin/env bash
here=$(dirname "$0")
printf '%s\\n' "$*" >>"$here/words"
case $* in
  "volume inspect"*) exit 1 ;;
  "run --rm"*) printf 'key\\nmetrics\\n{}\\n' ;;
  compose*) printf '%s\\n' "$FEDRISK_TAG" >>"$here/tags" ;;
  "ps "*) printf 'id-%s' "${*##*service=}" ;;
  inspect*) echo healthy ;;
  *sites.json*) echo approved ;;
  *"site.toml 2>"*) printf '%s' "$(cat "$here/joined")" ;;
  exec*cat*) cat >/dev/null ;;
esac
"""
CURL = """\
#!/usr/bin/env bash
here=$(dirname "$0")
case $* in
  */ready*) exit 0 ;;
  *"--config -"*) cat >/dev/null ;;&
  */model*) cat "$here/model" && printf '\\n200' ;;
  */predict*) cat "$here/prediction" && printf '\\n%s' "$(cat "$here/code")" ;;
esac
"""


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A folder with the scripts, and the played commands in `bin`."""
    for name in ("scripts", "deploy/compose"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".*"))
    (tmp_path / "bin").mkdir()
    for name, text in (("docker", DOCKER), ("curl", CURL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    serves(tmp_path, "air-wearables")
    (tmp_path / "bin" / "prediction").write_text('{"risk_score": 0.1}')
    (tmp_path / "bin" / "code").write_text("200")
    (tmp_path / "bin" / "joined").write_text("")
    return tmp_path


def serves(stage: Path, study: str) -> None:
    """Let the played API describe its model, in lines as the real one does."""
    model = {"name": study, "study": {"name": study, "title": ""}, "about": {"study": "x"}}
    (stage / "bin" / "model").write_text(json.dumps(model, indent=2))


def run(stage: Path, *words: str, tag: str = "any") -> subprocess.CompletedProcess[str]:
    left_out = {"COMPOSE", "COMPOSE_FILE", "FEDRISK_TAG"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"PATH": f"{stage / 'bin'}:{environment['PATH']}", "CONTAINER_TOOL": "docker"}
    return subprocess.run(
        [str(stage / "scripts" / "run-local.sh"), *words],
        capture_output=True, text=True, timeout=120, check=False, cwd=stage,
        env=environment | ({"FEDRISK_TAG": tag} if tag else {}),
    )  # fmt: skip


def words_of(stage: Path) -> str:
    return (stage / "bin" / "words").read_text()


def test_it_ends_with_a_prediction(stage: Path) -> None:
    done = run(stage, "--no-build")
    assert done.returncode == 0, done.stderr
    assert 'a prediction: {"risk_score": 0.1}' in done.stderr


def test_an_answer_that_is_an_error_is_no_prediction(stage: Path) -> None:
    (stage / "bin" / "prediction").write_text('{"error": "no such feature"}')
    (stage / "bin" / "code").write_text("422")
    done = run(stage, "--no-build")
    assert done.returncode == 1
    assert "gave no prediction" in done.stderr
    assert "no such feature" in done.stderr


def test_another_study_than_the_one_that_serves_is_refused_before_a_site_approves_it(
    stage: Path,
) -> None:
    serves(stage, "clinic")
    done = run(stage, "--no-build")
    assert done.returncode == 1
    assert "serves study clinic, not air-wearables" in done.stderr
    assert "site approve" not in words_of(stage)
    (stage / "study.toml").write_text('title = "A"\nname = "clinic"\n')
    done = run(stage, "--no-build", "--study", "study.toml")
    assert done.returncode == 0, done.stderr


def test_rows_of_another_kind_than_the_site_joined_with_change_nothing(stage: Path) -> None:
    (stage / "bin" / "joined").write_text("/var/lib/fedrisk/rows.csv")
    (stage / "rows.parquet").write_text("PAR1")
    done = run(stage, "--no-build", "--site", f"north={stage / 'rows.parquet'}")
    assert done.returncode == 2
    assert "has joined with rows of .csv" in done.stderr
    assert "rows.part" not in words_of(stage)


def test_what_runs_is_taken_down_where_there_is_no_git(stage: Path) -> None:
    assert run(stage, "--no-build").returncode == 0
    done = run(stage, "--down", tag="")
    assert done.returncode == 0, done.stderr
    assert (stage / "bin" / "tags").read_text().splitlines()[-1] == "any"


def test_an_empty_file_of_rows_replaces_nothing(stage: Path) -> None:
    (stage / "rows.csv").write_text("")
    done = run(stage, "--no-build", "--site", f"north={stage / 'rows.csv'}")
    assert done.returncode == 2
    assert "is empty" in done.stderr
    assert not (stage / "bin" / "words").exists()
