"""One bundle is accepted, by its hash, before anything of it is unpacked."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flwr.cli.build import build_fab_from_disk
from running import wait_until

from fedrisk.errors import FederationError
from fedrisk.federation import pinning
from fedrisk.federation.engines.flower import (
    CONNECTION,
    Control,
    superlink_command,
    supernode_command,
    toml_strings,
    write_connection,
)
from fedrisk.federation.engines.processes import Processes, flower_environment, free_ports
from fedrisk.federation.pinning import COMMANDS, check_bundle, own_pin
from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.keys import make_site_key
from fedrisk.federation.resident.scripts import resident_command, write_scripts

BUNDLE = Path(str(files("fedrisk.federation") / "bundle"))


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_the_pin_is_the_hash_of_the_bundle_that_flower_would_send() -> None:
    assert own_pin() == sha256(build_fab_from_disk(BUNDLE))


def test_the_bundle_holds_no_code() -> None:
    assert [path.name for path in BUNDLE.rglob("*") if path.is_file()] == ["pyproject.toml"]


def test_the_pinned_bundle_passes() -> None:
    content = build_fab_from_disk(BUNDLE)
    check_bundle(content, sha256(content), own_pin())


@pytest.mark.parametrize("claimed", ["its own", "the pinned one", "none"])
def test_another_bundle_is_refused_whatever_it_claims(tmp_path: Path, claimed: str) -> None:
    shutil.copytree(BUNDLE, tmp_path / "app")
    (tmp_path / "app" / "fedrisk.py").write_text("print('mine')\n")
    content = build_fab_from_disk(tmp_path / "app")
    claim = {"its own": sha256(content), "the pinned one": own_pin(), "none": ""}[claimed]
    with pytest.raises(FederationError, match="bundle refused") as refusal:
        check_bundle(content, claim, own_pin())
    assert sha256(content) in refusal.value.message
    assert own_pin() in refusal.value.message


def test_a_right_bundle_under_another_name_is_refused() -> None:
    """Flower looks for what it unpacked by the claimed hash: that could be another's folder."""
    content = build_fab_from_disk(BUNDLE)
    with pytest.raises(FederationError):
        check_bundle(content, "0" * 64, own_pin())


def test_every_command_that_flower_installs_for_apps_is_ours() -> None:
    """A command that a newer Flower adds is seen here before a site runs it."""
    scripts = {
        point.name
        for point in distribution("flwr").entry_points
        if point.group == "console_scripts" and point.name.startswith("flwr-")
    }
    assert scripts <= set(COMMANDS)


@pytest.mark.parametrize("name", pinning.REFUSED_COMMANDS)
def test_commands_that_a_site_never_runs_are_refused(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "fedrisk.federation.pinning", name, "--token", "x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"{name} refused" in done.stderr


@pytest.mark.parametrize("place", [None, "socket"])
def test_the_commands_found_by_path_are_ours_in_both_ways_of_start(
    tmp_path: Path, place: str | None
) -> None:
    scripts = tmp_path / "scripts"
    write_scripts(scripts, tmp_path / place if place else None)
    path = flower_environment({}, tmp_path, scripts)["PATH"]
    for name in COMMANDS:
        assert shutil.which(name, path=path) == str(scripts / name)


class Modules:
    """Flower's two modules, with functions that note what they are given."""

    def __init__(self, content: bytes, claim: str) -> None:
        self.installed: list[bytes] = []
        bundle = SimpleNamespace(content=content, hash_str=claim)
        self.client = SimpleNamespace(
            __name__="run_clientapp",
            pull_task_input=lambda _client: ("message", "context", "run", bundle),
            install_from_fab=self.install,
        )
        self.server = SimpleNamespace(
            __name__="run_serverapp",
            fab_from_proto=lambda _proto: bundle,
            install_from_fab=self.install,
        )

    def install(self, content: bytes, **options: Any) -> None:
        assert options == {"skip_prompt": True}
        self.installed.append(content)

    def run_client(self) -> None:
        *_, bundle = self.client.pull_task_input(None)
        self.client.install_from_fab(bundle.content, skip_prompt=True)

    def run_server(self) -> None:
        bundle = self.server.fab_from_proto(None)
        self.server.install_from_fab(bundle.content, skip_prompt=True)


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("good", [True, False])
def test_nothing_is_unpacked_on_either_side_unless_it_is_pinned(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], side: str, good: bool
) -> None:
    content = build_fab_from_disk(BUNDLE) if good else b"PK another"
    modules = Modules(content, sha256(content))
    monkeypatch.setattr(
        pinning,
        "import_module",
        lambda name: getattr(modules, name[-9:-3]),  # …clientapp, …serverapp
    )
    command = getattr(modules, f"run_{side}")
    place = {"client": "flwr.supernode.cli", "server": "flwr.superlink.cli"}[side]
    monkeypatch.setattr(f"{place}.flwr_{side}app", command)
    start = getattr(pinning, f"flwr_{side}app")
    if good:
        start()
        assert modules.installed == [content]
    else:
        with pytest.raises(FederationError, match="bundle refused"):
            start()
        assert modules.installed == []
        assert "bundle refused" in capfd.readouterr().err


def test_another_flower_without_these_places_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pinning,
        "import_module",
        lambda name: SimpleNamespace(__name__=name, pull_task_input=lambda _: None),
    )
    with pytest.raises(FederationError, match="no install_from_fab"):
        pinning.flwr_clientapp()


#: The coordinator's app: asks every site once, and writes down what each answered.
SERVER = """
import json, pathlib, time
from flwr.app import Message, RecordDict
from flwr.serverapp import ServerApp

app = ServerApp()

@app.main()
def main(grid, context):
    while len(list(grid.get_node_ids())) < {sites}:
        time.sleep(0.3)
    nodes = list(grid.get_node_ids())
    asked = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in nodes]
    told = {{}}
    for reply in grid.send_and_receive(asked, timeout=300):
        reason = reply.error.reason if reply.has_error() else "answered"
        told[str(reply.metadata.src_node_id)] = reason
    draft = pathlib.Path({answers!r} + ".part")
    draft.write_text(json.dumps(told))
    draft.rename({answers!r})
"""
#: What shadows the installed package: a site that imports it leaves a canary.
SHADOW = """
import os, pathlib
if "CANARY" in os.environ:
    pathlib.Path(os.environ["CANARY"]).write_text("the coordinator's code ran here")
"""
CLIENT = """
from flwr.app import Message, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()

@app.train()
def train(message, context):
    return Message(RecordDict(), reply_to=message)
"""
SITES = ("resident", "stock", "unprotected")


def write_shadow(folder: Path, answers: Path) -> Path:
    """The installed bundle's twin, with a package of our name in it."""
    text = (BUNDLE / "pyproject.toml").read_text()
    inner = folder / "fedrisk" / "federation"
    inner.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(text.replace("fedrisk.cli.server_app:app", "evil:app"))
    (folder / "evil.py").write_text(SERVER.format(sites=len(SITES), answers=str(answers)))
    (inner.parent / "__init__.py").write_text(SHADOW)
    (inner / "__init__.py").write_text("")
    (inner / "client_app.py").write_text(CLIENT)
    return folder


def site_environment(folder: Path, name: str) -> dict[str, str]:
    scripts = None if name == "unprotected" else folder / "scripts"
    base = dict(os.environ) | {"CANARY": str(folder / "canary")}
    return flower_environment(base, folder / "flower", scripts)


def run_processes(stack: ExitStack, environment: Mapping[str, str], logs: Path) -> Processes:
    processes = Processes(environment, logs)
    stack.callback(lambda: processes._guardian.stdout.close())
    return stack.enter_context(processes)


def start_site(
    stack: ExitStack, folder: Path, name: str, superlink: str, authority: Path, key: Path
) -> None:
    folder.mkdir(exist_ok=True)
    processes = run_processes(stack, site_environment(folder, name), folder / "logs")
    place = Path(processes.private) / "resident" if name == "resident" else None
    if name != "unprotected":
        write_scripts(folder / "scripts", place)
    if place is not None:
        processes.start("resident", resident_command(place))
        processes.wait_for_file(place, 120)
    config = folder / "node.toml"
    config.write_text(toml_strings(site=name))
    (port,) = free_ports(1)
    processes.start("supernode", supernode_command(superlink, authority, key, port, config))


@pytest.mark.federation
def test_a_shadowing_bundle_is_refused_by_sites_and_runs_on_stock_flower(tmp_path: Path) -> None:
    """A coordinator of ill will, with Flower's own commands, and three sites.

    Two run our commands, each started in one of the two ways; the third runs Flower's own, and
    shows that the attack works where it is not stopped.
    """
    answers, link = tmp_path / "answers.json", tmp_path / "link"
    bundle = write_shadow(tmp_path / "bundle", answers)
    make_authority(link, datetime.now(UTC))
    make_server_certificate(link, ["127.0.0.1", "localhost"], datetime.now(UTC))
    (port,) = free_ports(1)
    environment = flower_environment(os.environ, link / "flower", None)
    write_connection(link / "flower", port, link / "ca.crt")
    with ExitStack() as stack:
        coordinator = run_processes(stack, environment, link / "logs")
        coordinator.start("superlink", superlink_command(link, port))
        coordinator.wait_for_port(port, 120)
        control = Control(environment, link / "logs" / "flwr.log")
        keys = {name: make_site_key(link / "keys", name) for name in SITES}
        nodes = {control.register(public): name for name, (_, public) in keys.items()}
        for name, (key, _) in keys.items():
            way = (f"127.0.0.1:{port}", link / "ca.crt", key)
            start_site(stack, tmp_path / name, name, *way)
        control._json("run", str(bundle), CONNECTION)
        assert wait_until(answers.exists, 400), (link / "logs" / "superlink.log").read_text()
    told = {nodes[node]: reason for node, reason in json.loads(answers.read_text()).items()}
    check_shadow(tmp_path, told)


def check_shadow(folder: Path, told: Mapping[str, str]) -> None:
    assert told["unprotected"] == "answered"
    assert (folder / "unprotected" / "canary").exists(), "the attack must be one"
    assert list((folder / "unprotected" / "flower").rglob("client_app.py"))
    for name in ("resident", "stock"):
        assert "bundle refused" in told[name], "the coordinator reads why"
        assert not (folder / name / "canary").exists()
        assert not list((folder / name).rglob("client_app.py")), "nothing was unpacked"
        assert "bundle refused" in (folder / name / "logs" / "supernode.log").read_text()
