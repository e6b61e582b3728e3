"""The images, built and run as a deployment runs them: read-only, without capabilities.

`make e2e-images` runs these; they take minutes. What was built before is taken from the tool's own
cache of layers.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from running import wait_until

from fedrisk.federation.engines.processes import free_ports

ROOT = Path(__file__).parents[2]
ROLES = ("server", "client", "inference", "mlflow")
#: Docker or podman: what runs images here.
TOOL = os.environ.get("CONTAINER_TOOL") or next(filter(shutil.which, ("podman", "docker")), "")
TAG = "e2e"
PROBE = ("python", "/usr/local/lib/fedrisk/probe.py")
ROW = {"heart_rate": 72, "steps": 8000, "sleep_hours": 7, "respiratory_rate": 15, "body_temp": 36.7}
ROW |= {"pm25": 12, "pm10": 20, "o3": 60, "no2": 20, "temperature": 20, "humidity": 50}
HARDENED = ("--read-only", "--tmpfs", "/tmp:rw,mode=1777", "--cap-drop", "ALL")
HARDENED += ("--security-opt", "no-new-privileges")

pytestmark = [
    pytest.mark.images,
    pytest.mark.skipif(not TOOL, reason="neither podman nor docker is here"),
]


@pytest.fixture(scope="session", autouse=True)
def asked_for(request: pytest.FixtureRequest) -> None:
    """Build only where that was asked for: it takes minutes of every core."""
    if "images" not in request.config.option.markexpr:
        pytest.skip("`make e2e-images` builds and runs images")


def call(*words: str, seconds: float = 600, check: bool = True) -> str:
    """What the tool answers on standard output."""
    done = subprocess.run([TOOL, *words], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0 or not check, f"{words}: {done.stderr[-2000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="session")
def bills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of bills of materials."""
    return tmp_path_factory.mktemp("sbom")


@pytest.fixture(scope="session")
def tag(bills: Path, asked_for: None) -> str:
    """Build every image."""
    words = [str(ROOT / "scripts" / "build-images.sh"), "--tool", TOOL, "--tag", TAG]
    subprocess.run([*words, "--sbom", str(bills)], check=True, timeout=3600)
    return TAG


@contextmanager
def volume() -> Iterator[str]:
    """A volume of a name of its own, gone afterwards."""
    name = f"fedrisk-test-{uuid4().hex[:12]}"
    call("volume", "create", name)
    try:
        yield name
    finally:
        call("volume", "rm", "--force", name, check=False)


@contextmanager
def container(
    image: str, *words: str, options: tuple[str, ...] = (), entrypoint: str = ""
) -> Iterator[str]:
    """A hardened container at work, gone afterwards; what it wrote is shown if the test fails."""
    name = f"fedrisk-test-{uuid4().hex[:12]}"
    start = ("--entrypoint", entrypoint) if entrypoint else ()
    call("run", "--detach", "--name", name, *HARDENED, *options, *start, image, *words)
    try:
        yield name
    except BaseException:
        print(subprocess.run([TOOL, "logs", name], capture_output=True, text=True))
        raise
    finally:
        call("rm", "--force", name, check=False)


def stop(name: str) -> None:
    """End a container as an orchestrator does; it must end in order, and soon."""
    begun = time.monotonic()
    call("stop", "--time", "90", name)
    assert call("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    assert time.monotonic() - begun < 80  # not killed


def once(image: str, *words: str, options: tuple[str, ...] = (), entrypoint: str = "") -> str:
    """Run a command in a hardened container to its end."""
    start = ("--entrypoint", entrypoint) if entrypoint else ()
    return call("run", "--rm", *HARDENED, *options, *start, image, *words)


def ask(url: str, body: object = None, key: str = "") -> tuple[int, dict]:
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {key}"} if key else {}
    )
    data = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(url, data, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read() or b"{}")
    except urllib.error.HTTPError as error:
        return error.code, {}
    except OSError:
        return 0, {}


def name_of(role: str, tag: str) -> str:
    return f"localhost/fedrisk-{role}:{tag}"


PLACE = "/var/lib/fedrisk"


@pytest.fixture(scope="session")
def home(tag: str) -> Iterator[str]:
    """A volume with the home of a model that the server image trained on a simulated cohort."""
    with volume() as name:
        options, server = ("--volume", f"{name}:{PLACE}"), name_of("server", tag)
        cohort = f"{PLACE}/cohort"
        size = ("--sites", "2", "--people", "60", "--days", "200")
        once(server, "simulate", *size, "--output", cohort, options=options)
        listed = once(server, cohort, options=options, entrypoint="ls").split()
        files = [file for file in listed if file.endswith(".csv")]
        sites = [f"--site={file.removesuffix('.csv')}={cohort}/{file}" for file in files]
        once(server, "train", "--study", f"{cohort}/study.toml", *sites, "--json", options=options)
        yield name


def test_the_server_image_trains_and_lists_its_champion(tag, home):
    options = ("--volume", f"{home}:{PLACE}")
    assert "champion" in once(name_of("server", tag), "models", "--json", options=options)


def test_the_inference_image_answers_without_the_libraries_of_training(tag, home):
    image, (port,) = name_of("inference", tag), free_ports(1)
    at_home = ("--volume", f"{home}:{PLACE}")
    made = once(image, "keys", "add", "x", "--scope", "predict", "--json", options=at_home)
    key = json.loads(made)["secret"]
    published = ("--publish", f"127.0.0.1:{port}:8080")
    with container(image, options=(*at_home, *published)) as running:
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: ask(f"{url}/ready")[0] == 200, 300)
        status, answer = ask(f"{url}/predict", ROW, key)
        assert status == 200
        assert 0 < answer["risk_score"] < 1
        assert ask(f"{url}/predict", ROW)[0] == 401
        look = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
        heavy = ("flwr", "mlflow", "pandas", "evidently", "sklearn", "scipy")
        assert call("exec", running, "python", "-c", look, *heavy) == "[]"
        assert call("exec", running, *PROBE) == ""
        assert call("exec", running, "id", "-u") == "10001"
        stop(running)


@pytest.mark.parametrize("role", ROLES)
def test_an_image_cannot_be_written_to_and_tells_what_it_is(tag, bills, role):
    image = name_of(role, tag)
    described = json.loads(call("image", "inspect", image))[0]
    settings = described["Config"]
    assert settings["User"] == "10001:10001"
    assert settings["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.fullmatch(r"[0-9a-f]{40}", settings["Labels"]["org.opencontainers.image.revision"])
    assert described.get("Healthcheck", settings.get("Healthcheck"))
    write = "touch /tmp/x; for f in / /opt/fedrisk /usr/local /etc; do touch $f/x && echo $f; done"
    written = once(image, "-c", f"({write}) 2>/dev/null || true", entrypoint="bash")
    assert written == ""


@pytest.mark.parametrize("role", ROLES)
def test_the_bill_of_materials_lists_what_is_installed(tag, bills, role):
    bill = json.loads((bills / f"fedrisk-{role}.cdx.json").read_text())
    assert bill["metadata"]["component"]["name"] == f"fedrisk-{role}"
    listed = {re.sub(r"[-_.]+", "-", part["name"]).lower() for part in bill["components"]}
    show = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
    installed = once(name_of(role, tag), "-I", "-c", show, entrypoint="python").split()
    assert len(installed) > 20
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in installed} <= listed
    assert any(part.get("purl", "").startswith("pkg:deb/") for part in bill["components"])


def test_the_registrys_image_answers_and_ends_when_told(tag):
    (port,) = free_ports(1)
    # Kubernetes' volumes have the group of the pod; here nobody else is in the way.
    options = ("--publish", f"127.0.0.1:{port}:5000", "--tmpfs", f"{PLACE}:rw,mode=1777")
    with container(name_of("mlflow", tag), options=options) as running:
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: ask(f"{url}/health")[0] == 200, 300)
        assert call("exec", running, *PROBE) == ""
        stop(running)


FEDERATION, SITE = f"{PLACE}/federation", f"{PLACE}/site"


def test_a_coordinator_and_a_site_meet_read_only(tag):
    """The site joins by its bundle, is approved, and is seen by the coordinator."""
    network = f"fedrisk-test-{uuid4().hex[:12]}"
    call("network", "create", network)
    try:
        with volume() as at_server, volume() as at_site:
            options = ("--network", network, "--volume")
            _meet(tag, (*options, f"{at_server}:{PLACE}"), (*options, f"{at_site}:{PLACE}"))
    finally:
        call("network", "rm", "--force", network, check=False)


def _meet(tag: str, at_server: tuple[str, ...], at_site: tuple[str, ...]) -> None:
    server, client = name_of("server", tag), name_of("client", tag)
    init = ("init", "--federation", FEDERATION, "--host", "federated-server", "--if-missing")
    for _ in range(2):
        once(server, "federation", *init, options=at_server)
    named = (*at_server, "--network-alias", "federated-server")
    with container(server, options=named) as coordinator:
        invite = ("add-site", "north", "--federation", FEDERATION, "--output", "/tmp/north.json")
        call("exec", coordinator, "fedrisk", "federation", *invite)
        words = (f"{PLACE}/join.json", SITE, f"{PLACE}/rows.csv")
        with container(client, *words, options=at_site, entrypoint="join-site.sh") as site:
            _give(site, "age,event\n50,1\n", f"{PLACE}/rows.csv")
            _give(site, call("exec", coordinator, "cat", "/tmp/north.json"), f"{PLACE}/join.json")
            _approve(coordinator, site)
            assert wait_until(lambda: _online(coordinator), 600)
            for name in (site, coordinator):
                assert call("exec", name, *PROBE) == ""
                stop(name)


def _approve(coordinator: str, site: str) -> None:
    """Carry the join request over, as two operators would."""
    asked = f"{SITE}/join-request.json"
    assert wait_until(lambda: call("exec", site, "cat", asked, check=False), 300)
    _give(coordinator, call("exec", site, "cat", asked), "/tmp/request.json")
    shown = json.loads(call("exec", site, "fedrisk", "site", "request", "--folder", SITE, "--json"))
    words = ("approve", "north", "/tmp/request.json", "--federation", FEDERATION)
    fingerprint = ("--fingerprint", shown["fingerprint"])
    call("exec", coordinator, "fedrisk", "federation", *words, *fingerprint)


def _give(container: str, text: str, path: str) -> None:
    """Write a file in a container, whole or not at all."""
    command = f"cat >{path}.part && mv {path}.part {path}"
    words = [TOOL, "exec", "--interactive", container, "bash", "-c", command]
    subprocess.run(words, input=text, text=True, check=True, timeout=300)


def _online(coordinator: str) -> bool:
    words = ("status", "--federation", FEDERATION, "--json")
    return '"online"' in call("exec", coordinator, "fedrisk", "federation", *words)
