"""scripts/restore.sh kubernetes starts again what it stopped, and leaves no key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .manifests import ROOT

#: Writes down what it is asked; the file `conditions` holds what has become of the Job.
KUBECTL = """\
#!/usr/bin/env bash
here=$(dirname "$0")
shift 2
printf '%s\\n' "$*" >>"$here/words"
case $* in
  "create job"*) [ -e "$here/no-job" ] && exit 1; printf '%s' "$JOB" ;;
  "create -f -") cat >"$here/job" ;;
  "get job"*) [[ $* == *"\\"$(cat "$here/conditions")\\""* ]] && printf True ;;
esac
exit 0
"""
JOB = '{"spec": {"template": {"spec": {"initContainers": [{}], "containers": [{}]}}}}'
STOP = "scale deployment/federated-server deployment/mlflow --replicas=0"
START = "scale deployment/federated-server deployment/mlflow --replicas=1"


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "conditions").write_text("Complete")
    return tmp_path


def restore(stage: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    path = f"{stage}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [str(ROOT / "scripts" / "restore.sh"), "kubernetes", *words],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PATH": path, "JOB": JOB},
    )  # fmt: skip
    return done, (stage / "words").read_text().splitlines()


def test_it_stops_restores_and_starts_again(stage: Path) -> None:
    done, words = restore(stage, "--backup", "fedrisk-1", "--force")
    assert done.returncode == 0, done.stderr
    assert words.index(STOP) < words.index("create -f -") < words.index(START)
    assert words.count(START) == 1
    assert not any(each.startswith("delete") for each in words)
    assert (stage / "job").read_text().count("fedrisk-1") == 2


def test_where_no_job_can_be_made_what_was_stopped_is_started_again(stage: Path) -> None:
    (stage / "no-job").touch()
    done, words = restore(stage)
    assert done.returncode != 0
    assert words[-1] == START


def test_a_job_that_failed_is_told_and_kept(stage: Path) -> None:
    (stage / "conditions").write_text("Failed")
    done, words = restore(stage)
    assert done.returncode == 1
    assert "did not complete" in done.stderr
    assert not any(each.startswith("delete job") for each in words)
    assert words.count(START) == 1


def test_a_job_that_has_not_ended_is_deleted_before_anything_starts(stage: Path) -> None:
    (stage / "conditions").write_text("")
    done, words = restore(stage, "--timeout", "1")
    assert done.returncode == 1
    (deleted,) = [n for n, each in enumerate(words) if each.startswith("delete job restore-by-")]
    assert deleted < words.index(START)


@pytest.mark.parametrize("job", ["made", "no-job"])
def test_the_key_comes_as_a_file_and_is_gone_afterwards(stage: Path, job: str) -> None:
    if job == "no-job":
        (stage / job).touch()
    key = stage / "a key"
    key.write_text("private")
    _, words = restore(stage, "--key", str(key))
    made = words.index(f"create secret generic fedrisk-backup-key --from-file=key={key}")
    gone = [
        n for n, each in enumerate(words) if each.startswith("delete secret fedrisk-backup-key")
    ]
    assert gone[0] < made < gone[-1]
    assert not any("private" in each for each in words)


def test_a_key_that_is_not_there_stops_nothing(stage: Path) -> None:
    (stage / "empty").touch()
    (stage / "words").touch()
    for file in ("nowhere", "empty"):
        done, words = restore(stage, "--key", str(stage / file))
        assert done.returncode == 1
        assert "cannot be read, or is empty" in done.stderr
        assert words == []
