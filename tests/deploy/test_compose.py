"""The compose file: what every service must have, and who reaches whom."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .composed import COPIED

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SITES = sorted(name for name in SERVICES if name.startswith("federated-client-"))
TOOLS = ROOT / ".venv-deploy" / "bin"
#: Files of the project that a service mounts, beside its volumes.
OURS = ("../prometheus/", "../alertmanager/", "../grafana/")


def tool(name: str) -> str:
    """A tool of the deployment, from its environment or the path."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; scripts/deploy-tools.sh makes .venv-deploy with it")
    return found


def networks_of(name: str) -> set[str]:
    """Networks that a service is on: those of its neighbour, where it shares its namespace."""
    mode = SERVICES[name].get("network_mode", "")
    if mode.startswith("service:"):
        return networks_of(mode.removeprefix("service:"))
    return set(SERVICES[name].get("networks", ()))


def secret_names(name: str) -> set[str]:
    given = SERVICES[name].get("secrets", ())
    return {each if isinstance(each, str) else each["source"] for each in given}


def test_the_schema_of_compose_files_fits() -> None:
    words = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_locked_up(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert "no-new-privileges:true" in service["security_opt"]
    user, _, group = service["user"].partition(":")
    assert user.isdecimal()
    assert int(user) > 0, "Kubernetes and people tell by a number that it is not root"
    assert group


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_limits_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["cpus"] <= 2
    assert 0 < service["pids_limit"] <= 1024
    assert service["restart"] == "unless-stopped"
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_asked_for_its_health(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@pytest.mark.parametrize("site", SITES)
def test_a_site_shares_a_network_with_its_coordinator_alone(site: str) -> None:
    (network,) = networks_of(site)
    others = {name for name in SERVICES if network in networks_of(name)} - {site}
    assert others == {"federated-server", "coordinator", "watch"}
    assert COMPOSE["networks"][network] == {"internal": True}
    assert "ports" not in SERVICES[site]


@pytest.mark.parametrize("site", SITES)
def test_a_site_has_its_rows_to_itself(site: str) -> None:
    (volume,) = (each.split(":")[0] for each in SERVICES[site]["volumes"])
    assert [name for name, each in SERVICES.items() if mounts(each, volume)] == [site]
    assert not secret_names(site)


def mounts(service: dict[str, Any], volume: str) -> bool:
    return any(each.split(":")[0] == volume for each in service.get("volumes", ()))


def test_there_are_two_sites_at_least() -> None:
    assert len(SITES) >= 2


def test_only_edge_leads_out_and_only_to_this_machine() -> None:
    outside = {name for name, each in COMPOSE["networks"].items() if not each.get("internal")}
    assert outside == {"edge"}
    for name, service in SERVICES.items():
        assert ("edge" in networks_of(name)) == ("ports" in service), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"


def test_no_secret_is_in_the_environment_or_on_a_command_line() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|TOKEN|SECRET|KEY", variable)
            assert not secret or str(value).startswith("/run/secrets/"), f"{name}: {variable}"
        for word in map(str, (*service.get("command", ()), *service.get("entrypoint", ()))):
            assert not re.search(r"://[^/@\s]+:[^/@\s]+@", word), (
                f"{name}: a password in an address"
            )


def test_every_secret_is_a_file_that_git_does_not_keep() -> None:
    declared = COMPOSE["secrets"]
    assert {name for service in SERVICES for name in secret_names(service)} == set(declared)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "deploy/compose/.secrets/" in ignored
    assert "deploy/compose/.env" in ignored
    for name, secret in declared.items():
        assert secret == {"file": f".secrets/{name}"}


def test_every_volume_is_declared_and_every_file_is_there() -> None:
    used = set()
    for name, service in SERVICES.items():
        for each in service.get("volumes", ()):
            source, target, *mode = each.split(":")
            if source.startswith("."):
                assert source.startswith(OURS), f"{name}: {source}"
                assert (FOLDER / source).exists(), f"{name}: {source} is missing"
                assert mode == ["ro"], f"{name}: {source} can be written"
            else:
                used.add(source)
            assert target.startswith("/")
    assert used == set(COMPOSE["volumes"])


def test_the_tests_own_copy_has_all_that_scripts_source() -> None:
    for script in (ROOT / "scripts").glob("*.sh"):
        for file in re.findall(r'^source "\$root/(.+)"$', script.read_text(), re.MULTILINE):
            assert any(file.startswith(f"{name}/") for name in COPIED), f"{script.name}: {file}"


def test_our_images_are_those_that_are_built() -> None:
    script = (ROOT / "scripts" / "build-images.sh").read_text(encoding="utf-8")
    found = re.search(r"^roles=\((.*)\)$", script, re.MULTILINE)
    assert found is not None
    built = {f"localhost/fedrisk-{role}" for role in found[1].split()}
    named = {each["image"].partition(":")[0] for each in SERVICES.values()}
    assert {image for image in named if image.startswith("localhost/")} == built


def test_every_other_image_names_its_version() -> None:
    for name, service in SERVICES.items():
        if not service["image"].startswith("localhost/"):
            assert re.fullmatch(r"docker\.io/[a-z/-]+:v?\d[\w.]*", service["image"]), name


def test_podman_compose_reads_it(tmp_path: Path) -> None:
    words = [tool("podman-compose"), "--file", str(FILE), "config"]
    tool("podman")
    environment = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(tmp_path)}
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=60, env=environment | {"FEDRISK_TAG": "any"}
    )
    assert done.returncode == 0, done.stderr
    read = yaml.safe_load(done.stdout)["services"]
    assert set(read) >= set(SERVICES) - {"grafana"}
    assert read["coordinator"]["image"] == "localhost/fedrisk-server:any"
