"""Four machines join by bundle, fingerprint and approval, and train under default policies."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from e2e.federation.deployment import Deployment
from e2e.federation.faults import Undisturbed
from e2e.federation.hosts import COORDINATOR, PORT

from fedrisk.sites.policy import Policy

pytestmark = [pytest.mark.federation, pytest.mark.hosts]


def test_status_shows_four_sites_online(federation: Deployment) -> None:
    told = federation.status()
    assert told["running"]
    assert [site["site"] for site in told["sites"]] == list(federation.data)
    assert {site["status"] for site in told["sites"]} == {"approved"}
    assert {site["connection"] for site in told["sites"]} == {"online"}
    assert len({site["fingerprint"] for site in told["sites"]}) == 4


def test_bundles_hold_no_secret_and_private_keys_stay_where_they_were_made(
    federation: Deployment,
) -> None:
    for name in federation.data:
        handed = [federation.folder / f"{name}.bundle.json"]
        handed.append(federation.site(name) / "join-request.json")
        assert all("PRIVATE" not in file.read_text() for file in handed)
        for file in federation.site(name).glob("*.key"):
            assert file.stat().st_mode & 0o077 == 0, file
    names = {file.name for file in federation.coordinator.rglob("*.key")}
    assert names <= {"ca.key", "server.key", "coordinator.key"}


def test_policies_are_the_safe_defaults(federation: Deployment) -> None:
    for name in federation.data:
        written = tomllib.loads((federation.site(name) / "policy.toml").read_text())
        assert Policy.model_validate(written) == Policy()


def test_a_site_connects_to_one_port_and_opens_none_to_others(
    federation: Deployment, undisturbed: Undisturbed
) -> None:
    for name in federation.data:
        host = federation.hosts[name]
        listening = host.run(["ss", "-Hltn"], federation.environment()).stdout.splitlines()
        assert listening
        assert all(line.split()[3].startswith("127.0.0.1:") for line in listening), listening
        open_now = host.run(["ss", "-Htn"], federation.environment()).stdout.splitlines()
        away = {line.split()[4] for line in open_now} - {f"{COORDINATOR}:{PORT}"}
        assert all(peer.startswith("127.0.0.1:") for peer in away), open_now


def test_training_under_default_policies(undisturbed: Undisturbed) -> None:
    told = undisturbed.told
    assert told["sites"] == {"site-1": 10_046, "site-2": 9_560, "site-3": 11_683, "site-4": 9_541}
    assert told["dropped"] == []
    assert told["metrics"]["auroc"] == pytest.approx(0.82, abs=0.02)
    assert told["alias"] == "champion"


def test_no_row_of_a_site_reaches_the_coordinator(
    federation: Deployment, undisturbed: Undisturbed
) -> None:
    kept = b"".join(
        file.read_bytes() for file in federation.coordinator.rglob("*") if file.is_file()
    )
    for rows in federation.data.values():
        lines = Path(rows).read_bytes().splitlines()[1:200]
        assert not [line for line in lines if line in kept]
        values = [re.split(rb",", line)[9] for line in lines]  # ages, as the file writes them
        assert sum(value in kept for value in values) < len(values) / 10
