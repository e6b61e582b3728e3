"""What the images are made of: locks, Dockerfiles, and the small programs that run in them."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import distribution
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "deploy" / "docker"
LOCKS = ROOT / "locks" / "images"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
#: Locks of images, and the extras that they are made of.
IMAGES: dict[str, list[str]] = PYPROJECT["tool"]["fedrisk"]["images"]
ROLES = ("server", "client", "inference", "mlflow")
BUILD = ROOT / "scripts" / "build-images.sh"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)
#: Not a requirement of the package: what starts it in a container.
FIRST_PROCESS = "dumb-init"
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}


class Pin(NamedTuple):
    """One entry of a lock: a version for where its marker holds."""

    name: str
    version: str
    hashes: frozenset[str]
    marker: str

    def counts(self) -> bool:
        """Whether it is installed on Linux."""
        return not self.marker or Marker(self.marker).evaluate(LINUX)


def pins(file: Path) -> list[Pin]:
    """The entries of a lock; a package may have one for each of several Pythons."""
    text = re.sub(r"^#.*\n", "", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        name, version = PIN.match(block).groups()
        marker = block.split("\n")[0].partition(";")[2].rstrip("\\ ")
        hashes = frozenset(re.findall(r"--hash=(sha256:[0-9a-f]{64})", block))
        found.append(Pin(canonicalize_name(name), version, hashes, marker))
    return found


def names(file: Path) -> set[str]:
    """The packages of a lock."""
    return {pin.name for pin in pins(file)}


def needed(lines: list[str]) -> set[str]:
    """Everything that requirements bring with them on Linux, as this environment tells it."""
    waiting, seen = [(Requirement(line), "") for line in lines], set()
    names = set()
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker and not wanted.marker.evaluate({**LINUX, "extra": extra}):
            continue
        name = canonicalize_name(wanted.name)
        for asked in ("", *sorted(wanted.extras)):
            if (name, asked) in seen:
                continue
            seen.add((name, asked))
            if name == "fedrisk":
                more = PYPROJECT["project"]["optional-dependencies"].get(asked, [])
                more = more if asked else PYPROJECT["project"]["dependencies"]
                waiting += [(Requirement(line), "") for line in more]
                continue
            names.add(name)
            waiting += [(Requirement(r), asked) for r in distribution(name).requires or []]
    return names


@pytest.mark.parametrize("image", IMAGES)
def test_a_lock_holds_what_its_extras_need_by_the_pins_of_the_projects_lock(image):
    project = {pin[:3] for pin in pins(ROOT / "requirements.lock")}
    ours = [pin for pin in pins(LOCKS / f"{image}.txt") if pin.name != FIRST_PROCESS]
    assert [pin for pin in ours if pin[:3] not in project] == [], "run `make lock-images`"
    brought = needed([f"fedrisk[{','.join(IMAGES[image])}]"])
    assert {pin.name for pin in ours if pin.counts()} == brought, "run `make lock-images`"
    assert FIRST_PROCESS in names(LOCKS / f"{image}.txt")


@pytest.mark.parametrize("lock", sorted(LOCKS.glob("*.txt")), ids=lambda file: file.name)
def test_a_lock_has_hashes_and_no_address(lock):
    text = lock.read_text(encoding="utf-8")
    assert all(pin.hashes for pin in pins(lock))
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text


def test_there_is_a_lock_for_every_role_and_no_other():
    assert set(ROLES) <= set(IMAGES)
    assert {file.stem for file in LOCKS.glob("*.txt")} == {*IMAGES, "build"}


def test_the_inference_image_holds_no_library_of_training():
    forbidden = {"flwr", "mlflow", "mlflow-skinny", "pandas", "evidently", "scikit-learn", "scipy"}
    assert forbidden & names(LOCKS / "inference.txt") == set()
    assert {"mlflow", "mlflow-skinny", "evidently"} & names(LOCKS / "client.txt") == set()


def instructions(role: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile, comments gone and lines joined."""
    text = (DOCKER / f"Dockerfile.{role}").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(word, re.sub(r"\s+", " ", rest)) for word, rest in lines]


def last_stage(role: str) -> list[tuple[str, str]]:
    """The instructions of the stage that becomes the image."""
    found = instructions(role)
    start = max(number for number, (word, _) in enumerate(found) if word == "FROM")
    return found[start:]


def test_there_is_a_dockerfile_for_every_role():
    assert {file.suffix[1:] for file in DOCKER.glob("Dockerfile.*")} == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_an_image_runs_as_nobodys_user_with_words_instead_of_a_shell(role):
    stage = last_stage(role)
    assert [rest for word, rest in stage if word == "USER"] == ["10001:10001"]
    started = {word: rest for word, rest in stage if word in {"ENTRYPOINT", "CMD", "HEALTHCHECK"}}
    assert json.loads(started["ENTRYPOINT"])[0] == "dumb-init"
    assert json.loads(started["CMD"])
    assert json.loads(started["HEALTHCHECK"].partition("CMD ")[2])[0] == "python"


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_built_in_stages_on_a_base_that_is_an_argument(role):
    found = instructions(role)
    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    stages = {rest.split()[2] for word, rest in found if word == "FROM" and " AS " in rest}
    assert len(bases) >= 4
    assert set(bases) <= stages | {"${BASE}"}
    assert found[0] == ("ARG", "BASE=docker.io/library/python:3.11-slim-bookworm")
    # What builds stays outside: the last stage takes the environment alone.
    text = " ".join(rest for _, rest in last_stage(role))
    assert "/opt/tools" not in text
    assert "pip" not in text


@pytest.mark.parametrize("role", ROLES)
def test_an_image_says_what_it_is(role):
    labels = dict(
        re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', str(last_stage(role)))
    )
    assert labels["title"] == f"fedrisk-{role}"
    assert labels["licenses"] == PYPROJECT["project"]["license"]
    told = {"version", "revision", "created", "source", "base.name", "description"}
    assert told <= labels.keys()


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_made_of_its_own_lock(role):
    copied = [rest for word, rest in instructions(role) if word == "COPY" and "locks/" in rest]
    own = "${LOCK}" if role == "client" else role
    step = "deploy/docker/build"
    assert copied == [
        f"{step}/environment.sh locks/images/build.txt ./",
        f"{step}/trim.sh locks/images/{own}.txt ./",
    ]


def let_in(path: str) -> bool:
    """Whether .dockerignore lets a file into a build: the last pattern that fits decides."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        parts = Path(path).parts
        above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
        if pattern.startswith("**/"):
            fits = any(fnmatch(part, pattern[3:]) for part in parts)
        else:
            fits = any(fnmatch(p, pattern) and p.count("/") == pattern.count("/") for p in above)
        out = not keep if fits else out
    return not out


def test_nothing_reaches_a_build_but_what_images_are_made_of():
    kept = ("src/fedrisk/cli/main.py", "pyproject.toml", "locks/images/server.txt", "LICENSE")
    assert [path for path in kept if not let_in(path)] == []
    out = (".git/config", ".venv/bin/python", "fedrisk-home/state.db", "tests/conftest.py", ".env")
    out += (
        "deploy/kubernetes/secret.yaml",
        "rows.csv",
        "src/fedrisk/__pycache__/home.cpython-311.pyc",
    )
    assert [path for path in out if let_in(path)] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_file_that_a_build_copies_is_there_and_let_in(role):
    for word, rest in instructions(role):
        if word != "COPY" or rest.startswith("--from="):
            continue
        for source in rest.split()[:-1]:
            path = ROOT / source.replace("${LOCK}", "client")
            assert path.exists(), source
            files = [path] if path.is_file() else [f for f in path.rglob("*.*") if f.is_file()]
            assert any(let_in(str(file.relative_to(ROOT))) for file in files), source


def script(*words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, timeout=60, env=dict(os.environ) | changes, cwd="/"
    )


def test_the_build_script_tells_its_options_and_builds_every_role():
    text = BUILD.read_text(encoding="utf-8")
    told = script(str(BUILD), "--help")
    assert told.returncode == 0
    taken = set(re.findall(r"^    (--[a-z-]+)(?: \||\))", text, re.MULTILINE))
    assert {"--tool", "--tag", "--registry", "--push", "--only", "--sbom"} <= taken
    assert taken <= set(re.findall(r"--[a-z-]+", told.stdout))
    assert re.search(r"^roles=\((.*)\)$", text, re.MULTILINE)[1].split() == list(ROLES)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tool", "kaniko"), "not one of docker, podman, buildah"),
        (("--frobnicate",), "unknown option"),
        (("--tag",), "needs a value"),
    ],
)
def test_the_build_script_refuses_what_it_does_not_know(words, said):
    done = script(str(BUILD), *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "hint:" in done.stderr


@pytest.fixture
def only_tool(tmp_path: Path) -> Path:
    """A folder of commands with a podman that writes down what it is told."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "git", "sed", "date", "dirname", "awk", "mkdir", "tail", "cat", "env"):
        (tools / name).symlink_to(shutil.which(name))
    podman = tools / "podman"
    podman.write_text(
        '#!/usr/bin/env bash\necho "$*" >>"$TOLD"\n[[ $1 != image ]] || echo 25000000\n'
    )
    podman.chmod(0o755)
    return tools


def test_a_tool_that_is_not_there_is_named_with_a_hint(only_tool):
    done = script(str(BUILD), "--tool", "docker", PATH=str(only_tool))
    assert done.returncode == 1
    assert "docker is not installed" in done.stderr
    assert "hint:" in done.stderr
    (only_tool / "podman").unlink()
    done = script(str(BUILD), PATH=str(only_tool), CONTAINER_TOOL="")
    assert "neither docker, podman nor buildah" in done.stderr


def test_the_build_script_tells_the_tool_what_to_build(only_tool, tmp_path):
    told = tmp_path / "told"
    changes = {"PATH": str(only_tool), "TOLD": str(told), "CONTAINER_TOOL": ""}
    words = ("--tag", "v9", "--registry", "example.org/x", "--only", "inference", "--push")
    done = script(str(BUILD), *words, SOURCE_DATE_EPOCH="1000000000", **changes)
    assert done.returncode == 0, done.stderr
    assert re.search(r"example.org/x/fedrisk-inference:v9 +25 MB", done.stdout)
    build = next(line for line in told.read_text().splitlines() if line.startswith("build "))
    for word in (
        "--format docker",
        "--network host",
        "--timestamp 1000000000",
        "--tag example.org/x/fedrisk-inference:v9",
        "CREATED=20",
    ):
        assert word in build
    assert "push example.org/x/fedrisk-inference:v9" in told.read_text()
    assert "fedrisk-server" not in told.read_text()


def test_a_bill_of_materials_names_the_image_and_the_bases_packages(tmp_path):
    place = DOCKER / "build" / "bill.py"
    bill = module_from_spec(spec := spec_from_file_location("bill", place))
    spec.loader.exec_module(bill)
    status = (
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2\n\n"
    )
    status += "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    whole = bill.complete({"components": [{"name": "numpy"}]}, status, "fedrisk-server", "1.2")
    assert [part["name"] for part in whole["components"]] == ["numpy", "zlib1g"]
    assert whole["components"][1]["purl"] == "pkg:deb/debian/zlib1g@1%3A1.2?arch=amd64"
    assert whole["metadata"]["component"]["name"] == "fedrisk-server"


class Answering(http.server.BaseHTTPRequestHandler):
    """Well at /health, not at anything else."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def probe(where: str) -> int:
    file = str(DOCKER / "run" / "probe.py")
    return script(
        sys.executable, "-I", "-S", file, PROBE=where, http_proxy="http://127.0.0.1:9"
    ).returncode


def test_the_probe_tells_well_from_unwell(address, tmp_path):
    assert probe(f"{address}/health") == 0
    assert probe(f"{address}/elsewhere") == 1
    running = tmp_path / "running.json"
    assert probe(str(running)) == 1
    running.write_text(json.dumps({"health": address}))
    assert probe(str(running)) == 0
    running.write_text("{}")
    assert probe(str(running)) == 1


def test_secrets_come_from_files_and_their_absence_is_told(tmp_path):
    start = str(DOCKER / "run" / "with-secrets.sh")
    show = ("bash", "-c", 'echo "${PGPASSWORD-none}"')
    secret = tmp_path / "postgres-password"
    assert script(start, *show).stdout == "none\n"
    secret.write_text("top secret")
    assert script(start, *show, PGPASSWORD_FILE=str(secret)).stdout == "top secret\n"
    secret.write_text("another\n")
    assert script(start, *show, PGPASSWORD_FILE=str(secret)).stdout == "another\n"
    for content in ("", None):
        secret.unlink() if content is None else secret.write_text(content)
        done = script(start, *show, PGPASSWORD_FILE=str(secret))
        assert done.returncode == 78
        assert "hint:" in done.stderr


@pytest.fixture
def told_fedrisk(tmp_path: Path) -> dict[str, str]:
    """An environment in which `fedrisk` writes down what it is told."""
    place = tmp_path / "commands"
    place.mkdir()
    command = place / "fedrisk"
    command.write_text('#!/usr/bin/env bash\necho "fedrisk $*"\n')
    command.chmod(0o755)
    return {"PATH": f"{place}:{os.environ['PATH']}"}


def test_a_site_waits_for_its_bundle_and_joins_once(told_fedrisk, tmp_path):
    join = str(DOCKER / "run" / "join-site.sh")
    bundle, folder, data = (tmp_path / name for name in ("join.json", "site", "rows.csv"))
    words = (join, str(bundle), str(folder), str(data))
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | told_fedrisk
    )
    assert str(bundle) in process.stdout.readline()
    bundle.write_text("{}")
    data.write_text("a\n1\n")
    rest = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    init = f"fedrisk site init {bundle} --folder {folder} --data {data} --if-missing --json"
    assert rest.splitlines()[-2:] == [init, f"fedrisk site start --folder {folder}"]
    folder.mkdir()
    (folder / "site.toml").touch()
    assert script(*words, **told_fedrisk).stdout == f"fedrisk site start --folder {folder}\n"


def test_a_waiting_site_ends_at_once_when_told(told_fedrisk, tmp_path):
    words = (str(DOCKER / "run" / "join-site.sh"), *(str(tmp_path / n) for n in "abc"))
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, text=True, env=os.environ | told_fedrisk
    )
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def hadolint() -> str | None:
    beside = ROOT / ".venv-deploy" / "bin" / "hadolint"
    return str(beside) if beside.exists() else shutil.which("hadolint")


@pytest.mark.skipif(hadolint() is None, reason="no hadolint: scripts/deploy-tools.sh brings it")
@pytest.mark.parametrize("role", ROLES)
def test_hadolint_finds_nothing(role):
    done = script(hadolint(), str(DOCKER / f"Dockerfile.{role}"))
    assert done.returncode == 0, done.stdout


def test_the_documentation_names_every_image_and_lock():
    text = (ROOT / "docs" / "images.md").read_text(encoding="utf-8")
    assert [role for role in ROLES if f"fedrisk-{role}" not in text] == []
    assert [name for name in IMAGES if f"`{name}`" not in text] == []
