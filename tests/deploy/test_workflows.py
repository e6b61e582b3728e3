"""The pipeline: valid, pinned, with the least rights, and nothing that lives only in YAML."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
ACTIONS = sorted((GITHUB / "actions").glob("*/action.yml"))
TOOLS = ROOT / ".venv-deploy" / "bin"
PINNED = re.compile(r"^\s*-? ?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
#: One command: a chore of the Makefile, or a script with plain arguments.
MAKE = re.compile(r"(?:sudo --preserve-env )?make ([a-z0-9-]+)")
SCRIPT = re.compile(r"(scripts/[\w.-]+)((?: (?:[\w./:=@-]+|\"\$[A-Z_]+\"))*)")
ARGUMENT_SCRIPT = re.compile(r"scripts/[\w.-]+\.sh")
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def document(file: Path) -> dict[Any, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def jobs() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (file.name, name, job) for file in WORKFLOWS for name, job in document(file)["jobs"].items()
    ]


def steps() -> list[tuple[str, dict[str, Any]]]:
    found = [(f"{file}:{name}", step) for file, name, job in jobs() for step in job["steps"]]
    for action in ACTIONS:
        found += [(action.parent.name, step) for step in document(action)["runs"]["steps"]]
    return found


def events(file: str) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    return document(GITHUB / "workflows" / file)[True]


RUNS = [
    pytest.param(line, id=f"{where}: {line}")
    for where, step in steps()
    for line in step.get("run", "").splitlines()
    if line.strip()
]
JOBS = [pytest.param(job, id=f"{file}:{name}") for file, name, job in jobs()]


def why_not(line: str) -> str | None:
    """Why a `run:` is no chore of this repository; None where it is one."""
    if match := MAKE.fullmatch(line):
        return None if match[1] in TARGETS else f"the Makefile has no {match[1]}"
    if not (match := SCRIPT.fullmatch(line)):
        return "neither one make target nor one script with plain arguments"
    named = [match[1], *ARGUMENT_SCRIPT.findall(match[2])]
    missing = [name for name in named if not (ROOT / name).is_file()]
    return f"there is no {missing[0]}" if missing else None


def test_the_pipeline_was_found():
    assert "mlops-ci-cd.yml" in [file.name for file in WORKFLOWS]
    assert len(RUNS) > 20


@pytest.mark.parametrize("line", RUNS)
def test_every_step_is_a_chore_of_this_repository(line):
    assert why_not(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "pip install ruff",
        "make test && make e2e",
        "make no-such-chore",
        "scripts/no-such-script.sh",
        "scripts/check-version.sh ${{ github.ref_name }}",
        "scripts/check-version.sh $(id)",
        "scripts/with-kubeconfig.sh scripts/no-such-script.sh",
        "make check | tee log",
    ],
)
def test_a_step_that_lives_only_in_the_pipeline_is_found(line):
    assert why_not(line)


def test_actions_are_pinned_by_commit_with_the_version_beside():
    found = [
        f"{file.name}: {line.strip()}"
        for file in [*WORKFLOWS, *ACTIONS]
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"\buses:", line) and "./.github/" not in line and not PINNED.match(line)
    ]
    assert found == []


def test_an_action_has_one_version_everywhere():
    lines = {
        line.split("uses: ")[1]
        for file in [*WORKFLOWS, *ACTIONS]
        for line in file.read_text(encoding="utf-8").splitlines()
        if PINNED.match(line)
    }
    names = [line.split("@")[0] for line in lines]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("job", JOBS)
def test_every_job_ends_and_says_what_it_may(job):
    assert 0 < job["timeout-minutes"] <= 360
    assert isinstance(job["permissions"], dict)
    assert job["runs-on"] != "ubuntu-latest"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_grants_nothing_and_runs_once(file):
    workflow = document(file)
    assert workflow["permissions"] == {}
    assert workflow["concurrency"]["group"]


def test_rights_to_write_are_these_and_no_others():
    writing = {
        f"{file}:{name}": {right for right, level in job["permissions"].items() if level == "write"}
        for file, name, job in jobs()
    }
    assert {job: rights for job, rights in writing.items() if rights} == {
        "mlops-ci-cd.yml:publish": {"packages", "id-token"},
        "drift-monitoring.yml:drift": {"issues"},
        "dependencies.yml:locks": {"contents", "pull-requests", "actions"},
        "release.yml:pypi": {"id-token"},
        "release.yml:release": {"contents"},
    }


def test_no_secret_reaches_a_pull_request():
    """What a fork proposes runs without secrets, rights to write, or a cluster."""
    for file, name, job in jobs():
        text = yaml.safe_dump(job)
        holds = "secrets." in text or "write" in job["permissions"].values() or "environment" in job
        if "pull_request" in events(file) and holds:
            assert "github.event_name == 'push'" in job["if"], f"{file}:{name}"
        if "secrets." in text:
            assert "environment" in job, f"{file}:{name}: a secret belongs to an environment"
    assert all("pull_request_target" not in events(file.name) for file in WORKFLOWS)
    assert all("workflow_run" not in events(file.name) for file in WORKFLOWS)


def test_what_a_stranger_can_write_is_no_code():
    """An expression in a `run:` would put a branch's name into a shell."""
    assert [line.values[0] for line in RUNS if "${{" in line.values[0]] == []


def test_checkouts_keep_no_credentials():
    keeping = [
        where
        for where, step in steps()
        if "actions/checkout@" in step.get("uses", "")
        and step.get("with", {}).get("persist-credentials") is not False
    ]
    assert keeping == []


def test_drift_is_judged_every_six_hours():
    assert events("drift-monitoring.yml")["schedule"] == [{"cron": "0 */6 * * *"}]


def test_training_takes_the_three_triggers():
    inputs = events("training.yml")["workflow_dispatch"]["inputs"]
    assert set(inputs["trigger"]["options"]) == {"drift", "scheduled", "manual"}
    assert inputs["environment"]["type"] == "environment"


def test_production_comes_from_a_tag_staging_from_develop_and_both_from_what_was_tested():
    pipeline = document(GITHUB / "workflows" / "mlops-ci-cd.yml")["jobs"]
    assert "refs/tags/v" in pipeline["production"]["if"]
    assert "refs/heads/develop" in pipeline["staging"]["if"]
    for name in ("staging", "production"):
        assert pipeline[name]["environment"] == name
        assert pipeline[name]["needs"] == "publish"
    before = {"check", "test", "coverage", "federation", "supply-chain", "e2e-kind", "e2e-compose"}
    assert set(pipeline["publish"]["needs"]) == before


def test_who_logs_in_where_the_images_go():
    """GitHub's own registry by the job's token, another by what its variables name."""
    workflow = document(GITHUB / "workflows" / "mlops-ci-cd.yml")
    (given,) = [
        step["with"]
        for step in workflow["jobs"]["publish"]["steps"]
        if "login" in step.get("uses", "")
    ]
    assert given["registry"] == "${{ vars.IMAGE_REGISTRY_HOST || 'ghcr.io' }}"
    page = (ROOT / "DEPLOYMENT.md").read_text(encoding="utf-8")
    for name in re.findall(r"(?:vars|secrets)\.(\w+)", " ".join(map(str, given.values()))):
        assert f"`{name}`" in page


def test_pypi_trusts_the_workflow_and_no_token():
    job = document(GITHUB / "workflows" / "release.yml")["jobs"]["pypi"]
    assert job["permissions"] == {"id-token": "write"}
    publish = job["steps"][-1]["with"]
    assert publish["attestations"] is True
    assert "password" not in publish


def tool(name: str) -> str:
    if not (TOOLS / name).is_file():
        pytest.skip(f"{name} is absent: make deploy-tools")
    return str(TOOLS / name)


def test_actionlint_finds_nothing():
    lint = [tool("actionlint"), "-shellcheck", tool("shellcheck"), "-pyflakes", "", *WORKFLOWS]
    done = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_zizmor_finds_nothing():
    audit = [tool("zizmor"), "--offline", "--no-progress", "--quiet", GITHUB]
    done = subprocess.run(audit, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-actions", ACTIONS),
        ("vendor.dependabot", [GITHUB / "dependabot.yml"]),
    ],
)
def test_the_files_keep_github_s_schemas(schema, files):
    command = [tool("check-jsonschema"), "--builtin-schema", schema, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
