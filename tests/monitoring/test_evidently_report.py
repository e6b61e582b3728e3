"""The site's own report: for its owner alone, without the network, and with the right findings."""

from __future__ import annotations

import json
import socket
import stat
import sys

import numpy as np
import pytest

from fedrisk.errors import DataError
from fedrisk.monitoring.evidently_report import SCORE, write_drift_report
from fedrisk.study import parse_study

STUDY = parse_study(
    {
        "name": "s",
        "label": "y",
        "positive": [1],
        "features": [
            {"name": "age", "kind": "number", "missing": "allow", "minimum": 0, "maximum": 120},
            {"name": "pm25", "kind": "number"},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)


def columns(rows: int, seed: int, *, older: float = 0.0):
    rng = np.random.default_rng(seed)
    age = rng.normal(50 + older, 12, rows)
    age[::9] = np.nan
    return {
        "age": age,
        "pm25": rng.gamma(2.0, 10.0, rows),
        "sex": rng.integers(-1, 2, rows).astype(np.int32),
        SCORE: rng.beta(1, 20, rows),
    }


@pytest.fixture
def _no_network(monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("the report asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.usefixtures("_no_network")
def test_a_shift_is_found_and_stays_where_it_is(tmp_path):
    """One column of four moved; nothing is asked of or sent to anybody."""
    file = tmp_path / "reports" / "drift.html"
    found = write_drift_report(STUDY, columns(2000, 1), columns(1500, 2, older=8), file)
    assert found.drifted == ("age",)
    assert {test.column for test in found.tests} == {"age", "pm25", "sex", SCORE}
    assert (found.reference_rows, found.current_rows, found.empty) == (2000, 1500, ())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    html = file.read_text(encoding="utf-8")
    assert "pm25" in html
    assert '<script src="http' not in html
    assert "iterative_telemetry" not in sys.modules
    assert json.loads(json.dumps(found.document()))["drifted"] == ["age"]


def test_a_p_value_and_a_distance_are_read_each_its_way(tmp_path):
    """Few rows: Evidently chooses p-values; the same drift by a distance is above a threshold."""
    before, now = columns(600, 1), columns(500, 2, older=9)
    for method in (None, "ks", "psi"):
        found = write_drift_report(STUDY, before, now, tmp_path / "drift.html", method)
        by_column = {test.column: test for test in found.tests}
        assert by_column["age"].drifted, method
        assert not by_column["pm25"].drifted, method
        assert (by_column["age"].score < by_column["age"].threshold) == (method != "psi")


def test_a_lost_feed_is_told_and_not_tested(tmp_path):
    lost = columns(300, 2) | {"pm25": np.full(300, np.nan)}
    found = write_drift_report(STUDY, columns(300, 1), lost, tmp_path / "drift.html")
    assert found.empty == ("pm25",)
    assert "pm25" not in {test.column for test in found.tests}


def test_periods_without_rows_or_values_are_refused(tmp_path):
    nothing = {name: values[:0] for name, values in columns(5, 1).items()}
    with pytest.raises(DataError, match="current period has no rows"):
        write_drift_report(STUDY, columns(300, 1), nothing, tmp_path / "drift.html")
    blank = {"age": np.full(9, np.nan), "pm25": np.full(9, np.nan), "sex": np.full(9, -1)}
    with pytest.raises(DataError, match="nothing to compare"):
        write_drift_report(STUDY, blank, blank, tmp_path / "drift.html")
    assert list(tmp_path.iterdir()) == []
