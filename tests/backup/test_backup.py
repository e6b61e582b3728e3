"""A backup is whole, or it is none; what it holds comes back as it was, or nothing is touched."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from egress_history import fields, log_in, moment
from running import wait_until
from small_disk import mounted

from fedrisk.backup.creation import Sources, create
from fedrisk.backup.manifest import FILE, Manifest, read_manifest
from fedrisk.backup.restoring import Targets, restore, verify
from fedrisk.backup.shelf import STATUS, newest, whole_backups
from fedrisk.errors import HomeError, UsageError
from fedrisk.sealing import make_keys, read_private, read_public

START = datetime(2026, 1, 1, 2, tzinfo=UTC)


def clock() -> Callable[[], datetime]:
    """Another second with every look."""
    times = iter(START + timedelta(seconds=n) for n in range(1_000_000))
    return lambda: next(times)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with what homes hold: links, secrets, databases, drafts, empty folders."""
    home = tmp_path / "home"
    (home / "models" / ".champion-7").mkdir(parents=True)
    (home / "models" / ".champion-7" / "model.json").write_text('{"a": 1}')
    (home / "models" / "champion").symlink_to(".champion-7")
    (home / "models" / "outside").symlink_to("../../secret")
    (home / "empty").mkdir()
    (home / "home.json").write_text('{"format": 1}')
    (home / "keys.json").write_text("[]")
    (home / "keys.json").chmod(0o600)
    (home / "half.part").write_text("no")
    (home / "big").write_bytes(os.urandom(300_000) * 3)
    with closing(sqlite3.connect(home / "state.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (x INTEGER)")
        database.executemany("INSERT INTO t VALUES (?)", [(n,) for n in range(1000)])
        database.commit()
    return home


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def kept(folder: Path) -> dict[str, bytes]:
    files = (f for f in folder.rglob("*") if f.is_file() and not f.name.startswith("state.db-"))
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.name != "state.db"}


def make(shelf: Path, home: Path, keep: int = 5, now=None, **more) -> tuple[Path, Manifest]:
    return create(shelf, Sources(folders={"home": home}), more.get("to"), keep, now or clock())


def put_back(backup: Path, target: Path, *, key=None, force: bool = False) -> Manifest:
    return restore(backup, Targets({"home": target}), key, START, force=force)


def status(shelf: Path) -> dict[str, object]:
    return dict(json.loads((shelf / STATUS).read_text()))


@pytest.mark.parametrize("sealed", [False, True])
def test_what_was_copied_comes_back(tmp_path: Path, home: Path, shelf: Path, sealed: bool) -> None:
    make_keys(tmp_path / "key")
    public = read_public(tmp_path / "key.pub") if sealed else None
    key = read_private(tmp_path / "key") if sealed else None
    backup, manifest = make(shelf, home, to=public)
    assert verify(backup, key) == manifest == read_manifest(backup)
    target = tmp_path / "restored"
    put_back(backup, target, key=key)
    before = kept(home)
    assert before.pop("half.part") == b"no"
    assert kept(target) == before
    assert (target / "models" / "champion").readlink() == Path(".champion-7")
    assert not (target / "models" / "outside").is_symlink()
    assert (target / "empty").is_dir()
    assert stat.S_IMODE((target / "keys.json").stat().st_mode) == 0o600
    with closing(sqlite3.connect(target / "state.db")) as database:
        assert database.execute("SELECT count(*), sum(x) FROM t").fetchone() == (1000, 499_500)
    left_out = {"half.part", "state.db-wal", "state.db-shm"}
    assert {each.name for each in target.iterdir()} == {
        each.name for each in home.iterdir() if each.name not in left_out
    }
    text = b"".join(file.read_bytes() for file in backup.iterdir() if file.name != FILE)
    assert (b"FRSR" in text) is sealed


def test_only_its_recipient_opens_it(tmp_path: Path, home: Path, shelf: Path) -> None:
    make_keys(tmp_path / "key")
    make_keys(tmp_path / "other")
    backup, _ = make(shelf, home, to=read_public(tmp_path / "key.pub"))
    target = tmp_path / "restored"
    with pytest.raises(UsageError, match="sealed"):
        put_back(backup, target)
    with pytest.raises(HomeError, match="another key"):
        put_back(backup, target, key=read_private(tmp_path / "other"))
    assert not target.exists() or not any(target.iterdir())
    assert all(stat.S_IMODE(f.stat().st_mode) == 0o600 for f in backup.iterdir() if f.name != FILE)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_backup_that_was_changed_is_refused_before_anything_is_touched(
    tmp_path: Path, home: Path, shelf: Path, sealed: bool
) -> None:
    make_keys(tmp_path / "key")
    backup, manifest = make(shelf, home, to=read_public(tmp_path / "key.pub") if sealed else None)
    key = read_private(tmp_path / "key")
    file = backup / manifest.parts[0].file
    whole = file.read_bytes()
    target = tmp_path / "restored"
    for changed in (whole[:-1], whole + b"x", whole[:99] + bytes([whole[99] ^ 1]) + whole[100:]):
        file.write_bytes(changed)
        with pytest.raises(HomeError, match="not as it was written"):
            verify(backup, key)
        with pytest.raises(HomeError, match="not as it was written"):
            put_back(backup, target, key=key)
    file.unlink()
    with pytest.raises(HomeError, match="No such file"):
        verify(backup, None)
    assert not target.exists()
    (backup / FILE).write_text("{")
    with pytest.raises(HomeError, match="damaged"):
        verify(backup, None)
    (backup / FILE).unlink()
    with pytest.raises(HomeError, match="no whole backup"):
        put_back(backup, target)


def test_a_target_in_use_is_refused_and_with_force_put_aside(
    tmp_path: Path, home: Path, shelf: Path
) -> None:
    backup, _ = make(shelf, home)
    target = tmp_path / "restored"
    target.mkdir()
    (target / "lost+found").mkdir()  # what a fresh volume has
    put_back(backup, target)
    (target / "keys.json").write_text("newer")
    with pytest.raises(HomeError, match="not empty"):
        put_back(backup, target)
    assert (target / "keys.json").read_text() == "newer"
    put_back(backup, target, force=True)
    assert (target / "keys.json").read_text() == "[]"
    aside = target / ".replaced-20260101T020000Z"
    assert (aside / "keys.json").read_text() == "newer"
    again, _ = make(shelf, target, now=lambda: START + timedelta(days=1))
    put_back(again, tmp_path / "third")
    assert not list((tmp_path / "third").glob(".replaced*"))


def test_the_newest_stay_and_nothing_else_is_deleted(home: Path, shelf: Path) -> None:
    shelf.mkdir()
    (shelf / "fedrisk-notes").mkdir()
    (shelf / "fedrisk-20200101T000000Z").mkdir()  # no manifest: none of ours
    now = clock()
    names = [make(shelf, home, keep=2, now=now)[0].name for _ in range(4)]
    assert [each.name for each in whole_backups(shelf)] == names[2:]
    assert newest(shelf).name == names[3]
    assert (shelf / "fedrisk-notes").is_dir()
    assert (shelf / "fedrisk-20200101T000000Z").is_dir()


def test_nothing_is_overwritten_and_two_do_not_run_at_once(home: Path, shelf: Path) -> None:
    backup, manifest = make(shelf, home, now=lambda: START)
    with pytest.raises(HomeError, match="there already"):
        make(shelf, home, now=lambda: START)
    assert verify(backup, None) == manifest
    from fedrisk.home import locked

    with locked(shelf / ".lock"), pytest.raises(HomeError, match="lock"):
        make(shelf, home)


def test_a_failed_attempt_is_told_and_the_last_good_time_stays(home: Path, shelf: Path) -> None:
    _, manifest = make(shelf, home, now=lambda: START)
    good = {"time": "2026-01-01T02:00:00+00:00", "bytes": manifest.bytes}
    assert status(shelf) == good | {"ok": True, "failed": None}
    later = START + timedelta(days=1)
    with pytest.raises(HomeError, match="no folder"):
        make(shelf, home / "missing", now=lambda: later)
    assert status(shelf) == good | {"ok": False, "failed": "2026-01-02T02:00:00+00:00"}


def test_a_coordinator_is_told_and_what_it_was_told_is_not_copied(
    tmp_path: Path, home: Path, shelf: Path
) -> None:
    sources = Sources(folders={"federation": home})
    _, manifest = create(shelf, sources, None, 3, lambda: START)
    assert status(home) == status(shelf) != {}
    assert status(home)["bytes"] == manifest.bytes
    again, _ = create(shelf, sources, None, 3, lambda: START + timedelta(seconds=1))
    restore(again, Targets({"federation": tmp_path / "x"}), None, START, force=False)
    assert not (tmp_path / "x" / STATUS).exists()


def test_a_full_disk_leaves_earlier_backups_and_no_draft(tmp_path: Path, home: Path) -> None:
    with mounted(tmp_path / "disk", "1500k") as disk:
        backup, manifest = make(disk, home, now=lambda: START)
        with pytest.raises(HomeError, match="No space left"):
            make(disk, home, now=lambda: START + timedelta(seconds=1))
        assert verify(backup, None) == manifest
        assert [each.name for each in whole_backups(disk)] == [backup.name]
        assert not list(disk.glob(".fedrisk-*"))
        assert status(disk)["ok"] is False
    with mounted(tmp_path / "small", "400k") as small:
        backup, _ = make(tmp_path / "shelf", home)
        with pytest.raises(HomeError, match="No space left"):
            put_back(backup, small / "home")
        assert not any((small / "home").iterdir())


def test_a_killed_backup_is_none_and_the_next_one_cleans_up(home: Path, shelf: Path) -> None:
    os.mkfifo(home / "waits")
    code = (
        "import sys, time; from pathlib import Path; from datetime import datetime, UTC\n"
        "import fedrisk.backup.creation as c\n"
        "write = c.write_tree\n"
        "def slowly(*a):\n    write(*a); print('written', flush=True); time.sleep(600)\n"
        "c.write_tree = slowly\n"
        f"c.create(Path({str(shelf)!r}), c.Sources(folders={{'home': Path({str(home)!r})}}),"
        " None, 3, lambda: datetime.now(UTC))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        process.send_signal(signal.SIGKILL)
    assert len(list(shelf.glob(".fedrisk-*.part"))) == 1
    assert whole_backups(shelf) == []
    with pytest.raises(HomeError, match="no whole backup"):
        newest(shelf)
    backup, _ = make(shelf, home)
    assert not list(shelf.glob(".fedrisk-*.part"))
    verify(backup, None)


def test_a_restore_that_was_killed_begins_anew_with_force(
    tmp_path: Path, home: Path, shelf: Path
) -> None:
    backup, _ = make(shelf, home)
    target = tmp_path / "restored"
    (target / ".restoring" / "models").mkdir(parents=True)
    (target / "big").write_bytes(b"half")
    with pytest.raises(HomeError, match="not empty"):
        put_back(backup, target)
    put_back(backup, target, force=True)
    assert (target / "big").read_bytes() == (home / "big").read_bytes()
    assert not (target / ".restoring").exists()


def test_a_log_that_is_written_to_meanwhile_is_of_one_moment(tmp_path: Path, shelf: Path) -> None:
    site = tmp_path / "site"
    log, ended = log_in(site / "egress"), threading.Event()
    log.append(moment(0), fields(0))

    def answer() -> None:
        number = 1
        while not ended.is_set():
            log.append(moment(number % 60), fields(number))
            number += 1
            ended.wait(0.01)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        now = clock()
        for _ in range(5):
            backup, _ = create(shelf, Sources(folders={"site": site}), None, 9, now)
            wait_until(lambda: False, 0.2)
    finally:
        ended.set()
        thread.join()
    lengths = []
    for number, backup in enumerate(whole_backups(shelf)):
        target = tmp_path / f"restored-{number}"
        restore(backup, Targets({"site": target}), None, START, force=False)
        entries = log_in(target / "egress").verify()
        head = log_in(target / "egress").head()
        assert head is not None
        assert head.sequence == len(entries)
        lengths.append(len(entries))
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]


def test_a_database_that_is_written_to_meanwhile_is_of_one_moment(
    tmp_path: Path, home: Path, shelf: Path
) -> None:
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(home / "state.db")) as database:
            while not ended.is_set():
                with database:
                    database.execute("INSERT INTO t VALUES (1)")
                    database.execute("INSERT INTO t VALUES (-1)")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        backup, _ = make(shelf, home)
    finally:
        ended.set()
        thread.join()
    put_back(backup, tmp_path / "restored")
    with closing(sqlite3.connect(tmp_path / "restored" / "state.db")) as database:
        assert database.execute("SELECT sum(x) FROM t").fetchone() == (499_500,)
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_part_that_is_not_there_is_named(tmp_path: Path, home: Path, shelf: Path) -> None:
    backup, _ = make(shelf, home)
    with pytest.raises(HomeError, match="no folder 'site'") as told:
        restore(backup, Targets({"site": tmp_path / "x"}), None, START, force=False)
    assert "home" in told.value.hint
