"""What the federation's operator sees of sites and runs."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.errors import QuorumError
from fedrisk.federation.progress import Progress
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.roster import Nodes, Overview, look
from fedrisk.home import Home
from fedrisk.study.training import RoundRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    made = Federation.create(tmp_path / "fed", new_settings(["127.0.0.1"], 9092), NOW)
    for name in ("north", "south"):
        made.invite(name, NOW)
    return made


def seen(federation: Federation, nodes: Nodes | None = None) -> Overview:
    return look(federation, nodes or {}, NOW, running=nodes is not None)


def run(federation: Federation, name: str, at: int, **dropped: str) -> Progress:
    progress = Progress(Home(federation.home).run(name))
    trained = {s: {"train": 100.0 + at} for s in ("north", "south") if s not in dropped}
    progress.add(
        RoundRecord(number=1, kind="summary", seconds=1.0, per_site=trained, dropped=dropped)
    )
    os.utime(progress.folder / "progress.jsonl", (at, at))
    return progress


def register(federation: Federation, name: str, node: str) -> None:
    with federation.members.changing() as members:
        found = members.read()
        member = found.sites[name].model_copy(update={"node": node})
        found.with_member(name, member).write(members.path)


def test_a_site_that_never_came(federation: Federation) -> None:
    north = seen(federation).sites[0]
    told = (north.status, north.connection, north.last_seen, north.rows, north.refusals)
    assert told == ("invited", "", "", None, ())


def test_connections(federation: Federation) -> None:
    register(federation, "north", "1")
    register(federation, "south", "2")
    north, south = seen(
        federation,
        {
            "1": {"status": "online", "offline-at": "N/A"},
            "2": {"status": "offline", "offline-at": "2025-12-31 08:00:00Z"},
        },
    ).sites
    assert (north.connection, north.last_seen) == ("online", NOW.isoformat())
    assert (south.connection, south.last_seen) == ("offline", "2025-12-31 08:00:00Z")


def test_a_node_that_was_registered_and_never_online(federation: Federation) -> None:
    register(federation, "north", "1")
    north = seen(federation, {"1": {"status": "registered", "offline-at": "N/A"}}).sites[0]
    assert (north.connection, north.last_seen) == ("registered", "")


def test_rows_are_of_the_newest_run_that_a_site_took_part_in(federation: Federation) -> None:
    run(federation, "z-first", 10)
    run(federation, "a-second", 20, south="refused: too few rows")
    north, south = seen(federation).sites
    assert (north.rows, north.run) == (120, "a-second")
    assert (south.rows, south.run) == (110, "z-first")


def test_the_refusals_that_ended_a_run_are_told_too(federation: Federation) -> None:
    last = RoundRecord(number=2, kind="newton", seconds=1.0, dropped={"south": "south is silent"})
    run(federation, "r1", 10).fail(QuorumError("1 of the 2 sites answered"), unfinished=last)
    found = seen(federation)
    (refusal,) = found.sites[1].refusals
    assert (refusal["run"], refusal["round"], refusal["kind"]) == ("r1", 2, "newton")
    assert refusal["reason"] == "south is silent"
    assert found.runs[0].rounds == 1  # it did not finish


def test_refusals_tell_run_round_and_reason(federation: Federation) -> None:
    run(federation, "r1", 10, south="site 'south' refuses: study is not approved")
    north, south = seen(federation).sites
    assert north.refusals == ()
    (refusal,) = south.refusals
    assert (refusal["run"], refusal["round"], refusal["kind"]) == ("r1", 1, "summary")
    assert "not approved" in refusal["reason"]


def test_how_runs_stand(federation: Federation) -> None:
    run(federation, "cut-off", 10)
    run(federation, "ended", 20).succeed(version="1")
    run(federation, "failed", 30).fail(QuorumError("1 of 2 sites answered"))
    going = run(federation, "going", 40)
    with going.hold():
        found = {r.run: (r.state, r.reason) for r in seen(federation).runs}
    assert found == {
        "cut-off": ("interrupted", ""),
        "ended": ("finished", ""),
        "failed": ("failed", "1 of 2 sites answered"),
        "going": ("running", ""),
    }


def test_a_run_that_begins_is_the_newest_before_its_first_round(federation: Federation) -> None:
    run(federation, "z-old", 10).succeed(version="1")
    os.utime(Home(federation.home).run("z-old") / "outcome.json", (20, 20))
    with Progress(Home(federation.home).run("a-new")).hold(3):
        found = [(r.run, r.state) for r in seen(federation).runs]
    assert found == [("z-old", "finished"), ("a-new", "running")]


@pytest.mark.parametrize("damaged", ["nothing", "[]", "{}"])
def test_a_damaged_run_does_not_hide_the_others(federation: Federation, damaged: str) -> None:
    run(federation, "good", 10).succeed(version="1")
    bad = run(federation, "bad", 20)
    (bad.folder / "progress.jsonl").write_text("nothing\n", encoding="utf-8")
    (bad.folder / "outcome.json").write_text(damaged, encoding="utf-8")
    found = {r.run: r.state for r in seen(federation).runs}
    assert found == {"good": "finished", "bad": "failed"}


def test_certificates_and_changes_of_authority(federation: Federation) -> None:
    before = seen(federation)
    assert set(before.certificates) == {"server.crt", "ca.crt"}
    assert before.certificates["server.crt"] == "2027-01-01T00:00:00+00:00"
    federation.begin_authority(NOW)
    assert not before.change_of_authority
    assert seen(federation).change_of_authority
