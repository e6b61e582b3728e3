"""Every script: clean, explained, refusing what it does not know, listed; and what each does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*ROOT.glob("scripts/*.sh"), *ROOT.glob("scripts/*.py")])
SHELL = [file for file in SCRIPTS if file.suffix == ".sh"]
TOOLS = ROOT / ".venv-deploy" / "bin"
PYTHON = ROOT / ".venv" / "bin" / "python"


def run(
    file: Path | str, *arguments: str, cwd: Path = ROOT, **more: str
) -> subprocess.CompletedProcess[str]:
    command = [str(ROOT / "scripts" / file), *arguments]
    if command[0].endswith(".py"):
        command.insert(0, str(PYTHON))
    environment = {**os.environ, **more}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)


def name(file: Path) -> str:
    return file.name


@pytest.mark.parametrize("file", SCRIPTS, ids=name)
def test_help_explains_and_does_nothing(file, tmp_path):
    done = run(file, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert file.stem in done.stdout
    assert len(done.stdout.splitlines()) >= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", SCRIPTS, ids=name)
def test_an_option_that_is_not_known_is_refused(file, tmp_path):
    done = run(file, "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert "error: " in done.stderr.lower()
    assert "--no-such-option" in done.stderr
    if file.suffix == ".sh":
        # What fedrisk itself was handed on, it refuses in its own words.
        assert re.search(r"^(hint: |Try ')\S", done.stderr, re.MULTILINE)


def test_shellcheck_finds_nothing():
    shellcheck = TOOLS / "shellcheck"
    if not shellcheck.is_file():
        pytest.skip("shellcheck is absent: make deploy-tools")
    sourced = [*ROOT.glob("deploy/**/*.*sh"), *ROOT.glob("tests/**/*.sh"), ROOT / ".ci" / "run"]
    command = [shellcheck, "--external-sources", "--severity=style", *SHELL, *sourced]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_readme_lists_every_script_and_no_other():
    text = (ROOT / "scripts" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w.-]+\.(?:sh|py))", text, re.MULTILINE))
    assert listed == {file.name for file in SCRIPTS}


class TestReleaseNotes:
    CHANGELOG = """# Changelog

## [Unreleased]

## [1.10.0] - 2030-02-01

### Added

- **Ten.**

## [1.1.0] - 2030-01-01

- One.

[1.1.0]: somewhere
"""

    @pytest.fixture
    def project(self, tmp_path):
        """A copy of the scripts beside a changelog of our own."""
        shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
        (tmp_path / "CHANGELOG.md").write_text(self.CHANGELOG)
        (tmp_path / "src" / "fedrisk").mkdir(parents=True)
        (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.10.0"\n')
        (tmp_path / "src" / "fedrisk" / "__init__.py").write_text('__version__ = "1.10.0"\n')
        return tmp_path

    def ask(self, project, script, *arguments):
        command = [project / "scripts" / script, *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def test_they_are_the_section_of_the_version_alone(self, project):
        assert self.ask(project, "release-notes.sh", "v1.1.0").stdout == "- One.\n"
        ten = self.ask(project, "release-notes.sh", "1.10.0").stdout
        assert ten == "### Added\n\n- **Ten.**\n"

    @pytest.mark.parametrize("version", ["1.1", "2.0.0", "Unreleased"])
    def test_no_section_or_an_empty_one_is_an_error(self, project, version):
        done = self.ask(project, "release-notes.sh", version)
        assert (done.returncode, done.stdout) == (1, "")
        assert "hint: " in done.stderr

    def test_the_versions_agree(self, project):
        assert self.ask(project, "check-version.sh").stdout == "version 1.10.0\n"
        assert self.ask(project, "check-version.sh", "v1.10.0").returncode == 0

    def test_a_tag_that_is_not_the_version_is_refused(self, project):
        done = self.ask(project, "check-version.sh", "v1.1.0")
        assert done.returncode == 1
        assert "tag v1.10.0" in done.stderr

    @pytest.mark.parametrize(
        ("file", "text"),
        [
            ("pyproject.toml", 'version = "1.11.0"\n'),
            ("src/fedrisk/__init__.py", '__version__ = "1.9.0"\n'),
            ("CHANGELOG.md", "## [1.1.0] - 2030-01-01\n\n- One.\n"),
        ],
    )
    def test_places_that_differ_are_named(self, project, file, text):
        (project / file).write_text(text)
        done = self.ask(project, "check-version.sh")
        assert done.returncode == 1
        assert "1.10.0" in done.stderr
        assert file in done.stderr

    def test_a_release_takes_the_package_and_the_notes(self, project):
        (project / "dist").mkdir()
        (project / "dist" / "fedrisk-1.10.0-py3-none-any.whl").write_text("")
        (project / "dist" / "images.tar.gz.part").write_text("")
        done = self.ask(project, "publish-release.sh", "--dry-run", "v1.10.0")
        assert done.stdout.endswith("dist/fedrisk-1.10.0-py3-none-any.whl\n")
        assert "**Ten.**" in done.stdout

    def test_a_release_of_nothing_is_refused(self, project):
        done = self.ask(project, "publish-release.sh", "--dry-run", "v1.10.0")
        assert done.returncode == 1
        assert "make dist" in done.stderr


class TestCredentials:
    SHOW = """
test -z "${KUBECONFIG_CONTENT:-}"
stat -c %a "$KUBECONFIG"
cat "$KUBECONFIG"
echo "$KUBECONFIG"
exit 7
"""

    def test_the_command_gets_a_file_that_is_gone_afterwards(self):
        secret = "clusters: []"
        done = run("with-kubeconfig.sh", "bash", "-euc", self.SHOW, KUBECONFIG_CONTENT=secret)
        mode, content, path = done.stdout.splitlines()
        assert (done.returncode, mode, content) == (7, "600", secret)
        assert not Path(path).exists()

    def test_no_credentials_are_an_error(self):
        done = run("with-kubeconfig.sh", "true", KUBECONFIG_CONTENT="")
        assert done.returncode == 1
        assert "hint: " in done.stderr


def fake(folder: Path, command: str, body: str) -> None:
    """A command that notes how it was called in FOLDER/calls, then does what BODY says."""
    folder.mkdir(exist_ok=True)
    file = folder / command
    calls = folder / "calls"
    file.write_text(f'#!/usr/bin/env bash\necho "{command} $*" >>"{calls}"\n{body}\n')
    file.chmod(0o755)


def calls(folder: Path) -> list[str]:
    file = folder / "calls"
    return file.read_text().splitlines() if file.exists() else []


class TestDriftMonitoring:
    GH = 'if [[ "$1 $2" == "issue list" ]]; then echo "$OPEN"; fi'

    def watch(self, tmp_path, code, open_issue="", token="t", place=("--kubernetes",)):
        fake(tmp_path / "bin", "gh", self.GH)
        fake(tmp_path / "bin", "kubectl", f"echo a verdict; exit {code}")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        return run("drift-monitoring.sh", *place, PATH=path, OPEN=open_issue, GH_TOKEN=token)

    def told(self, tmp_path):
        return "\n".join(call for call in calls(tmp_path / "bin") if call.startswith("gh issue"))

    def test_all_is_well(self, tmp_path):
        done = self.watch(tmp_path, 0)
        assert (done.returncode, done.stdout) == (0, "a verdict\n")
        assert self.told(tmp_path) == ""
        asked = calls(tmp_path / "bin")[0]
        assert asked.startswith("kubectl --namespace fedrisk exec deployment/federated-server ")
        assert "fedrisk trigger drift --exit-code " in asked

    def test_a_verdict_fails_and_opens_one_issue(self, tmp_path):
        assert self.watch(tmp_path, 20).returncode == 20
        told = self.told(tmp_path)
        title = "gh issue create --title Drift: the verdict needs a person --label drift "
        assert title in told
        assert "a verdict" in "\n".join(calls(tmp_path / "bin"))

    def test_a_later_verdict_is_a_comment(self, tmp_path):
        assert self.watch(tmp_path, 20, open_issue="7").returncode == 20
        told = self.told(tmp_path)
        assert "gh issue comment 7" in told
        assert "issue create" not in told

    def test_what_could_not_be_judged_is_another_issue(self, tmp_path):
        assert self.watch(tmp_path, 14).returncode == 14
        assert "--label drift-monitoring" in self.told(tmp_path)

    def test_where_nobody_can_be_told_the_exit_code_is_still_the_verdict(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(self.__class__, "GH", "echo away >&2; exit 4")
        done = self.watch(tmp_path, 20)
        assert done.returncode == 20
        assert "warning: no issue could be opened" in done.stderr
        assert "error: Drift: the verdict needs a person" in done.stderr

    def test_without_a_token_the_exit_code_tells(self, tmp_path):
        assert self.watch(tmp_path, 20, token="").returncode == 20
        assert self.told(tmp_path) == ""

    @pytest.mark.parametrize("place", [(), ("--at", "http://127.0.0.1:1")])
    def test_a_place_that_is_not_whole_is_refused(self, tmp_path, place):
        done = self.watch(tmp_path, 0, place=place)
        assert done.returncode == 2
        assert calls(tmp_path / "bin") == []


class TestProposedLocks:
    @pytest.fixture
    def project(self, tmp_path):
        """A repository with locks, a remote, and gh that notes what it is asked."""
        remote, work = tmp_path / "remote.git", tmp_path / "work"
        subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
        subprocess.run(["git", "clone", "--quiet", remote, work], check=True, capture_output=True)
        (work / "scripts").mkdir()
        (work / "locks").mkdir()
        shutil.copy(ROOT / "scripts" / "propose-locks.sh", work / "scripts")
        (work / "requirements.lock").write_text("numpy==2.4.0 \\\n    --hash=sha256:aa\n")
        (work / "locks" / "deploy.txt").write_text("yamllint==1.0 \\\n    --hash=sha256:bb\n")
        self.git(work, "add", ".")
        self.git(work, "commit", "--quiet", "--message", "Begin")
        self.git(work, "push", "--quiet", "origin", "HEAD")
        fake(tmp_path / "bin", "gh", 'if [[ "$1 $2" == "pr list" ]]; then echo "${OPEN:-}"; fi')
        return work

    def git(self, work, *arguments):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org"]
        command = ["git", *identity, *arguments]
        done = subprocess.run(command, cwd=work, check=True, capture_output=True, text=True)
        return done.stdout

    def propose(self, work, *arguments, **more):
        path = f"{work.parent / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, **more}
        command = [work / "scripts" / "propose-locks.sh", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    def refresh(self, work):
        (work / "requirements.lock").write_text("numpy==2.5.0 \\\n    --hash=sha256:cc\n")

    def test_nothing_new_is_nothing_done(self, project):
        assert self.propose(project).stdout == "the locks are the newest\n"
        assert calls(project.parent / "bin") == []

    def test_pins_that_changed_are_shown(self, project):
        self.refresh(project)
        assert self.propose(project, "--dry-run").stdout == "- numpy==2.4.0\n+ numpy==2.5.0\n"

    def test_they_become_a_pull_request_with_its_checks(self, project):
        self.refresh(project)
        done = self.propose(project)
        assert done.returncode == 0, done.stderr
        told = "\n".join(calls(project.parent / "bin"))
        assert "gh pr create --head dependencies/locks" in told
        assert "+ numpy==2.5.0" in told
        assert "gh workflow run mlops-ci-cd.yml --ref dependencies/locks" in told
        pushed = self.git(project, "show", "origin/dependencies/locks:requirements.lock")
        assert "numpy==2.5.0" in pushed

    def test_an_open_one_is_renewed(self, project):
        self.refresh(project)
        assert self.propose(project, OPEN="3").returncode == 0
        told = "\n".join(calls(project.parent / "bin"))
        assert "gh pr edit dependencies/locks" in told
        assert "pr create" not in told


class TestKind:
    """The cluster's script, with kind and kubectl that answer what the test says."""

    KUBECTL = """
case "$*" in
  *" connect "*) test -z "${ENFORCED:-}" || ! grep -q NetworkPolicy "$0.applied" 2>/dev/null ;;
  *"apply --filename -"*) cat >>"$0.applied" ;;
  *"get pod server"*) echo 10.0.0.9 ;;
esac"""

    def cluster(self, tmp_path, *arguments, clusters="", **more):
        fake(tmp_path / "bin", "kubectl", self.KUBECTL)
        kind = f"""
case "$1 $2" in
  "get clusters") echo "{clusters}" ;;
  "get kubeconfig") echo config ;;
  "create cluster") cat >"{tmp_path}/config" ;;
esac"""
        fake(tmp_path / "bin", "kind", kind)
        fake(tmp_path / "bin", "sleep", "")
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        return run("kind-cluster.sh", *arguments, PATH=path, TMPDIR=str(tmp_path), **more)

    def test_it_is_made_with_calico_and_proven(self, tmp_path):
        environment = tmp_path / "github"
        done = self.cluster(tmp_path, "up", ENFORCED="yes", GITHUB_ENV=str(environment))
        assert done.returncode == 0, done.stderr
        assert "disableDefaultCNI: true" in (tmp_path / "config").read_text()
        assert any("calico.yaml" in call for call in calls(tmp_path / "bin"))
        kubeconfig = tmp_path / "kubeconfig-fedrisk"
        assert done.stdout.splitlines()[-1] == f"export KUBECONFIG={kubeconfig}"
        assert kubeconfig.read_text() == "config\n"
        assert kubeconfig.stat().st_mode & 0o777 == 0o600
        assert f"KUBECONFIG={kubeconfig}\n" in environment.read_text()

    def test_a_plugin_that_enforces_nothing_is_found(self, tmp_path):
        done = self.cluster(tmp_path, "up", "--network", "kindnet")
        assert done.returncode == 1
        assert "kindnet does not enforce NetworkPolicy" in done.stderr

    def test_one_that_is_there_is_kept(self, tmp_path):
        assert self.cluster(tmp_path, "up", clusters="fedrisk", ENFORCED="yes").returncode == 0
        assert not any("create cluster" in call for call in calls(tmp_path / "bin"))

    @pytest.mark.parametrize("arguments", [[], ["fly"], ["up", "--network", "none"], ["load"]])
    def test_what_it_does_not_know_is_refused(self, tmp_path, arguments):
        done = self.cluster(tmp_path, *arguments)
        assert done.returncode == 2
        assert "hint: " in done.stderr

    def test_a_machine_without_kind_is_told_so(self, tmp_path):
        folder = tmp_path / "bin"
        folder.mkdir()
        for command in ("bash", "sed", "dirname", "env"):
            (folder / command).symlink_to(shutil.which(command))
        done = run("kind-cluster.sh", "up", PATH=str(folder))
        assert done.returncode == 1
        assert "kind is not installed" in done.stderr
