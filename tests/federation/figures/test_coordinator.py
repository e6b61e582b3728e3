"""A coordinator's figures from what lies in its folder."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from told_figures import told

from fedrisk.attestation import countersign, read_private, sign_head
from fedrisk.federation.figures.coordinator import CoordinatorFigures, backup_figures
from fedrisk.federation.figures.supervised import CertificateFigures, SupervisedFigures
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.certificates import expiry
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.site import SiteFolder
from fedrisk.federation.traffic import ONLINE_SECONDS, Traffic
from fedrisk.study.training import RoundRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = Federation.create(tmp_path / "fed", new_settings(["127.0.0.1"], 9092), NOW)
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    for name in ("north", "south"):
        site = SiteFolder.create(tmp_path / name, made.invite(name, NOW), rows)
        made.approve(name, site.request(), NOW)
    made.invite("east", NOW)
    return made


def figures(federation: Federation, at: float = 1000.0) -> CoordinatorFigures:
    return CoordinatorFigures(federation, lambda: at)


def test_sites_by_status_and_who_is_online(federation: Federation) -> None:
    traffic = Traffic()
    traffic.admitted("north", 1000.0 - ONLINE_SECONDS)
    traffic.admitted("south", 999.0 - ONLINE_SECONDS)
    traffic.turned_away("")
    traffic.turned_away("east")
    traffic.turned_away("east")
    traffic.write(federation.folder)
    found = told(figures(federation))
    assert found['federation_sites{status="approved"}'] == 2
    assert found['federation_sites{status="invited"}'] == 1
    assert found['federation_sites{status="removed"}'] == 0
    assert found['federation_site_online{site="north"}'] == 1
    assert found['federation_site_online{site="south"}'] == 0
    seen = 'federation_site_last_seen_timestamp_seconds{site="south"}'
    assert found[seen] == 999.0 - ONLINE_SECONDS
    assert found['federation_refused_calls_total{caller="stranger"}'] == 1
    assert found['federation_refused_calls_total{caller="east"}'] == 2
    assert found['federation_refused_calls_total{caller="north"}'] == 0
    assert 'federation_site_online{site="east"}' not in found, "it was not approved"


def test_a_removed_site_is_no_silent_one(federation: Federation) -> None:
    federation.remove("north", NOW)
    found = told(figures(federation))
    assert found['federation_sites{status="removed"}'] == 1
    assert 'federation_site_online{site="north"}' not in found


def test_dropouts_of_every_approved_site_begin_at_zero(federation: Federation) -> None:
    mine = figures(federation)
    key = 'federation_site_dropouts_total{site="north"}'
    assert told(mine)[key] == 0
    record = RoundRecord(number=1, kind="summary", seconds=1, dropped={"north": "late"})
    Progress(federation.home / "runs" / "r").add(record)
    assert told(mine)[key] == 1


def test_heads_that_were_countersigned(federation: Federation, tmp_path: Path) -> None:
    key = read_private(tmp_path / "north" / "signing.key")
    head = sign_head("north", 7, "ab" * 32, NOW.isoformat(), key)
    receipt = countersign(
        head, NOW.isoformat(), read_private(federation.folder / "coordinator.key")
    )
    (federation.folder / "heads").mkdir()
    (federation.folder / "heads" / "north.json").write_text(receipt.text())
    (federation.folder / "heads" / "south.json").write_text("{}")
    found = told(figures(federation))
    assert found['egress_entries{site="north"}'] == 7
    assert found['egress_head_timestamp_seconds{site="north"}'] == NOW.timestamp()
    assert 'egress_entries{site="south"}' not in found


def test_a_damaged_list_of_sites_leaves_the_other_figures(federation: Federation) -> None:
    federation.members.path.write_text("{")
    found = told(figures(federation))
    assert found['federation_sites{status="approved"}'] == 0
    assert found['federation_runs{state="failed"}'] == 0


def backup(tmp_path: Path, text: str | None) -> dict[str, float]:
    file = tmp_path / "status.json"
    if text is not None:
        file.write_text(text)
    return {family.name: family.samples[0].value for family in backup_figures(file)}


def test_backups_as_their_maker_says(tmp_path: Path) -> None:
    assert backup(tmp_path, None) == {}
    time = {"time": "2026-01-01T00:00:00+00:00", "bytes": 12}
    last = {"backup_last_success_timestamp_seconds": NOW.timestamp(), "backup_last_bytes": 12}
    assert backup(tmp_path, json.dumps(time | {"ok": True})) == {"backup_last_ok": 1} | last
    assert backup(tmp_path, json.dumps(time | {"ok": False})) == {"backup_last_ok": 0} | last
    assert backup(tmp_path, json.dumps({"time": None, "ok": False})) == {"backup_last_ok": 0}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ok": true, "time": "soon"}', '{"ok": "yes"}'])
def test_a_status_that_cannot_be_understood_is_no_word_of_success(
    tmp_path: Path, text: str
) -> None:
    assert backup(tmp_path, text) == {"backup_last_ok": 0}


def test_certificates_and_children(federation: Federation) -> None:
    server = federation.folder / "server.crt"
    missing = federation.folder / "none.crt"
    children = {"superlink": {"state": "running", "restarts": 3, "last_exit": -9}}
    common = SupervisedFigures("coordinator", lambda: False, lambda: children, lambda: 2)
    found = told(common, CertificateFigures({"server": server, "authority": missing}))
    key = 'certificate_expiry_timestamp_seconds{certificate="%s"}'
    assert found[key % "server"] == expiry(server).timestamp()
    assert key % "authority" not in found
    assert found["service_ready"] == 0
    assert found['child_running{child="superlink"}'] == 1
    assert found['child_restarts_total{child="superlink"}'] == 3
    assert found["guardian_losses_total"] == 2
