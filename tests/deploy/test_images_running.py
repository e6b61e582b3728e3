"""The images, built and run as a deployment runs them: read-only, without capabilities.

`make e2e-images` runs these; they take minutes. What was built before is taken from the tool's own
cache of layers.
"""

from __future__ import annotations

import json
import os
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
def tag(bills: Path) -> str:
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
def container(image: str, *words: str, options: tuple[str, ...] = ()) -> Iterator[str]:
    """A hardened container at work, gone afterwards; what it wrote is shown if the test fails."""
    name = f"fedrisk-test-{uuid4().hex[:12]}"
    call("run", "--detach", "--name", name, *HARDENED, *options, image, *words)
    try:
        yield name
    except BaseException:
        print(subprocess.run([TOOL, "logs", name], capture_output=True, text=True))
        raise
    finally:
        call("rm", "--force", name, check=False)


def once(image: str, *words: str, options: tuple[str, ...] = ()) -> str:
    """Run a command in a hardened container to its end."""
    return call("run", "--rm", *HARDENED, *options, image, *words)


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


@pytest.fixture(scope="session")
def home(tag: str) -> Iterator[str]:
    """A volume with the home of a model that the server image trained, and with a key."""
    with volume() as name:
        options = ("--volume", f"{name}:/var/lib/fedrisk")
        server = name_of("server", tag)
        cohort = "/var/lib/fedrisk/cohort"
        once(
            server,
            "simulate",
            "--sites",
            "2",
            "--people",
            "60",
            "--days",
            "200",
            "--output",
            cohort,
            options=options,
        )
        listed = once(server, "-c", f"ls {cohort}", options=(*options, "--entrypoint", "bash"))
        files = [file for file in listed.split() if file.endswith((".csv", ".parquet"))]
        sites = [word for f in files for word in ("--site", f"{f.partition('.')[0]}={cohort}/{f}")]
        once(server, "train", "--study", f"{cohort}/study.toml", *sites, "--json", options=options)
        yield name


def test_the_server_image_trains_and_lists_its_champion(tag, home):
    told = once(
        name_of("server", tag), "models", "--json", options=("--volume", f"{home}:/var/lib/fedrisk")
    )
    assert "champion" in told


def test_the_inference_image_answers_without_the_libraries_of_training(tag, home):
    image, (port,) = name_of("inference", tag), free_ports(1)
    options = ("--volume", f"{home}:/var/lib/fedrisk", "--publish", f"127.0.0.1:{port}:8080")
    key = json.loads(
        once(image, "keys", "add", "tester", "--scope", "predict", "--json", options=options[:2])
    )["secret"]
    with container(image, options=options) as running:
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: ask(f"{url}/ready")[0] == 200, 60)
        status, answer = ask(f"{url}/predict", ROW, key)
        assert status == 200
        assert 0 < answer["risk_score"] < 1
        assert ask(f"{url}/predict", ROW)[0] == 401
        look = "import sys, importlib.util as u; print([n for n in sys.argv[1:] if u.find_spec(n)])"
        heavy = ("flwr", "mlflow", "pandas", "evidently", "sklearn", "scipy", "pip")
        assert call("exec", running, "python", "-c", look, *heavy) == "[]"
        assert call("exec", running, *PROBE) == ""
        assert call("exec", running, "id", "-u") == "10001"
        begun = time.monotonic()
        call("stop", "--time", "60", running)
        assert call("inspect", "--format", "{{.State.ExitCode}}", running) == "0"
        assert time.monotonic() - begun < 50


@pytest.mark.parametrize("role", ROLES)
def test_an_image_is_hardened_and_tells_what_it_is(tag, bills, role):
    image = name_of(role, tag)
    described = json.loads(call("image", "inspect", image))[0]
    settings = described["Config"]
    assert settings["User"] == "10001:10001"
    assert settings["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert described.get("HealthCheck", settings.get("Healthcheck"))
    with_bash = ("--entrypoint", "bash")
    write = "touch /tmp/x; for f in / /opt/fedrisk /usr/local /etc; do touch $f/x && echo $f; done"
    assert once(image, "-c", f"({write}) 2>/dev/null || true", options=with_bash) == ""
    bill = json.loads((bills / f"fedrisk-{role}.cdx.json").read_text())
    listed = {part["name"].lower().replace("_", "-") for part in bill["components"]}
    show = "python -c 'import importlib.metadata as m; print(*{d.name for d in m.distributions()})'"
    for name in once(image, "-c", show, options=with_bash).lower().replace("_", "-").split():
        assert name in listed | {bill["metadata"].get("component", {}).get("name", "")}
    assert "libc6" in listed or "musl" in listed


def test_the_registrys_image_answers_and_ends_when_told(tag):
    (port,) = free_ports(1)
    with container(
        name_of("mlflow", tag),
        options=("--publish", f"127.0.0.1:{port}:5000", "--tmpfs", "/var/lib/fedrisk:rw,mode=1777"),
    ) as running:
        url = f"http://127.0.0.1:{port}"
        assert wait_until(
            lambda: (
                call("exec", running, *PROBE, check=False) == "" and ask(f"{url}/health")[0] == 200
            ),
            120,
        )
        call("stop", "--time", "30", running)


def test_a_coordinator_and_a_site_meet_read_only(tag):
    """The site joins by its bundle, is approved, and is seen by the coordinator."""
    network = f"fedrisk-test-{uuid4().hex[:12]}"
    call("network", "create", network)
    try:
        with volume() as at_server, volume() as at_site:
            _meet(tag, network, at_server, at_site)
    finally:
        call("network", "rm", "--force", network, check=False)


def _meet(tag: str, network: str, at_server: str, at_site: str) -> None:
    server, client = name_of("server", tag), name_of("client", tag)
    options = ("--volume", f"{at_server}:/var/lib/fedrisk", "--network", network)
    folder = "/var/lib/fedrisk/federation"
    prepare = (*options, "--entrypoint", "make-federation.sh")
    once(server, folder, "federated-server", options=prepare)
    assert "kept" in once(server, folder, "federated-server", options=prepare)
    with container(
        server, options=(*options, "--network-alias", "federated-server")
    ) as coordinator:
        invite = ("add-site", "north", "--federation", folder, "--output", "/tmp/north.json")
        call("exec", coordinator, "fedrisk", "federation", *invite)
        bundle = call("exec", coordinator, "cat", "/tmp/north.json")
        words = ("/var/lib/fedrisk/join.json", "/var/lib/fedrisk/site", "/var/lib/fedrisk/rows.csv")
        joining = (
            "--volume",
            f"{at_site}:/var/lib/fedrisk",
            "--network",
            network,
            "--entrypoint",
            "join-site.sh",
        )
        with container(client, *words, options=joining) as site:
            _give(site, "age,event\n50,1\n", "/var/lib/fedrisk/rows.csv")
            _give(site, bundle, "/var/lib/fedrisk/join.json")
            request = "/var/lib/fedrisk/site/join-request.json"
            assert wait_until(lambda: call("exec", site, "cat", request, check=False), 60)
            _give(coordinator, call("exec", site, "cat", request), "/tmp/request.json")
            shown = json.loads(
                call(
                    "exec",
                    site,
                    "fedrisk",
                    "site",
                    "request",
                    "--folder",
                    "/var/lib/fedrisk/site",
                    "--json",
                )
            )
            call(
                "exec",
                coordinator,
                "fedrisk",
                "federation",
                "approve",
                "north",
                "/tmp/request.json",
                "--federation",
                folder,
                "--fingerprint",
                shown["fingerprint"],
            )
            assert wait_until(lambda: _online(coordinator, folder), 120)
            for name in (site, coordinator):
                assert call("exec", name, *PROBE) == ""
                call("stop", "--time", "60", name)
                assert call("inspect", "--format", "{{.State.ExitCode}}", name) == "0"


def _give(container: str, text: str, path: str) -> None:
    """Write a file in a container, whole or not at all."""
    words = [
        TOOL,
        "exec",
        "--interactive",
        container,
        "bash",
        "-c",
        f"cat >{path}.part && mv {path}.part {path}",
    ]
    subprocess.run(words, input=text, text=True, check=True, timeout=60)


def _online(coordinator: str, folder: str) -> bool:
    told = call(
        "exec", coordinator, "fedrisk", "federation", "status", "--federation", folder, "--json"
    )
    return '"online"' in told or '"state": "online"' in told
