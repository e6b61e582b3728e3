"""A site's figures from its egress log and head."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from told_figures import told

from fedrisk.federation.figures.site import SiteFigures
from fedrisk.sites.egress.log import EgressLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> EgressLog:
    (tmp_path / "egress").mkdir()
    return EgressLog(tmp_path / "egress", "north", Ed25519PrivateKey.generate())


def test_what_left_and_what_was_refused(tmp_path: Path, log: EgressLog) -> None:
    figures = SiteFigures(tmp_path, "north", lambda: "")
    found = told(figures)
    assert found['egress_answers_total{outcome="released",site="north"}'] == 0
    assert 'egress_entries{site="north"}' not in found
    for outcome in ("released", "refused", "released"):
        log.append(NOW.isoformat(), {"outcome": outcome})
    found = told(figures)
    assert found['egress_answers_total{outcome="released",site="north"}'] == 2
    assert found['egress_answers_total{outcome="refused",site="north"}'] == 1
    assert found['egress_entries{site="north"}'] == 3
    assert found['egress_head_timestamp_seconds{site="north"}'] == NOW.timestamp()
    log.append(NOW.isoformat(), {"outcome": "refused"})
    assert told(figures)['egress_answers_total{outcome="refused",site="north"}'] == 2


def test_a_line_that_is_being_written_counts_once_it_is_whole(
    tmp_path: Path, log: EgressLog
) -> None:
    figures = SiteFigures(tmp_path, "north", lambda: "")
    file = tmp_path / "egress" / "log.jsonl"
    key = 'egress_answers_total{outcome="released",site="north"}'
    file.write_text('{"outcome": "rel')
    assert told(figures)[key] == 0
    file.write_text('{"outcome": "released"}\n')
    assert told(figures)[key] == 1


def test_another_log_is_counted_anew(tmp_path: Path, log: EgressLog) -> None:
    figures = SiteFigures(tmp_path, "north", lambda: "")
    file, key = tmp_path / "egress" / "log.jsonl", 'egress_answers_total{outcome="%s",site="north"}'
    file.write_text('{"outcome": "released"}\n' * 3)
    assert told(figures)[key % "released"] == 3
    file.write_text('{"outcome": "refused"}\n')
    found = told(figures)
    assert (found[key % "released"], found[key % "refused"]) == (0, 1)


@pytest.mark.parametrize(("fault", "value"), [("", 0), ("no way", 1)])
def test_what_stands_in_between(tmp_path: Path, fault: str, value: float) -> None:
    found = told(SiteFigures(tmp_path, "north", lambda: fault))
    assert found['site_connection_fault{site="north"}'] == value
