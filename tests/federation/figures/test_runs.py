"""Runs as their folders tell of them; counters that never fall."""

from __future__ import annotations

import shutil
from pathlib import Path

from told_figures import told

from fedrisk.errors import QuorumError
from fedrisk.federation.figures.runs import RunsFigures
from fedrisk.federation.progress import Progress
from fedrisk.study.training import RoundRecord


def record(number: int, seconds: float, **more: object) -> RoundRecord:
    return RoundRecord(
        number=number, kind="newton", seconds=seconds, bytes_out=10, bytes_in=100, **more
    )


def test_runs_by_how_they_stand(tmp_path: Path) -> None:
    figures = RunsFigures(tmp_path)
    assert told(figures)['federation_runs{state="finished"}'] == 0
    done, failed, left = (Progress(tmp_path / name) for name in ("a", "b", "c"))
    for each in (done, failed, left):
        each.add(record(1, 3.0))
    done.succeed()
    failed.fail(QuorumError("too few"))
    found = told(figures)
    assert {
        state: found[f'federation_runs{{state="{state}"}}']
        for state in ("running", "finished", "failed", "interrupted")
    } == {"running": 0, "finished": 1, "failed": 1, "interrupted": 1}
    with left.hold(1):
        assert told(figures)['federation_runs{state="running"}'] == 1
    outcome = (tmp_path / "b" / "outcome.json").stat().st_mtime
    end = found['federation_run_last_end_timestamp_seconds{state="failed"}']
    assert abs(end - outcome) < 0.001
    last = (tmp_path / "c" / "progress.jsonl").stat().st_mtime
    assert abs(found["federation_last_round_timestamp_seconds"] - last) < 0.001


def test_rounds_are_counted_from_the_first_look_on_and_never_fall(tmp_path: Path) -> None:
    run = Progress(tmp_path / "a")
    run.add(record(1, 500.0, dropped={"north": "silent"}))
    figures = RunsFigures(tmp_path)
    key = 'federation_round_duration_seconds_count{kind="newton"}'
    assert key not in told(figures), "what was before is not counted"
    run.add(record(2, 3.0, dropped={"south": "refused"}))
    run.add(record(3, 30.0))
    found = told(figures)
    assert found[key] == 2
    assert found['federation_round_duration_seconds_sum{kind="newton"}'] == 33
    assert found['federation_round_duration_seconds_bucket{kind="newton",le="2.5"}'] == 0
    assert found['federation_round_duration_seconds_bucket{kind="newton",le="5.0"}'] == 1
    assert found['federation_round_duration_seconds_bucket{kind="newton",le="40.0"}'] == 2
    assert found['federation_message_bytes_total{direction="out"}'] == 20
    assert found['federation_message_bytes_total{direction="in"}'] == 200
    assert figures.dropouts == {"south": 1}
    assert told(figures)[key] == 2, "a look counts nothing twice"
    run.fail(QuorumError("too few"), unfinished=record(4, 9.0, dropped={"south": "silent"}))
    told(figures)
    assert figures.dropouts == {"south": 2}
    shutil.rmtree(tmp_path / "a")
    assert told(figures)[key] == 2
    assert figures.dropouts == {"south": 2}


def test_a_new_run_counts_whole(tmp_path: Path) -> None:
    figures = RunsFigures(tmp_path)
    told(figures)
    Progress(tmp_path / "b").add(record(1, 5.0))
    assert told(figures)['federation_round_duration_seconds_count{kind="newton"}'] == 1
