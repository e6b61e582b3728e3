"""`fedrisk federation` as its operator calls it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import environment, processes_of, start, wait_until

from fedrisk.cli.main import main
from fedrisk.federation.engines.processes import free_ports

Run = Callable[..., tuple[int, str, str]]
ROWS = "age,ill\n" + "".join(f"{20 + row},{row % 2}\n" for row in range(60))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    for name in ("north", "south"):
        Path(f"{name}.csv").write_text(ROWS, encoding="utf-8")

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return int(ended.value.code or 0), told.out, told.err

    return call


def federation(run: Run, *words: str) -> tuple[int, str, str]:
    return run("federation", *words, "--federation", "fed")


def invite(run: Run, name: str) -> str:
    """Invite a site and let it join; its fingerprint."""
    assert federation(run, "add-site", name, "--output", f"{name}.json")[0] == 0
    words = ("site", "init", f"{name}.json", "--folder", name, "--data", f"{name}.csv", "--json")
    code, out, _ = run(*words)
    assert code == 0
    return str(json.loads(out)["fingerprint"])


@pytest.fixture
def made(run: Run) -> Run:
    assert federation(run, "init", "--host", "127.0.0.1")[0] == 0
    return run


def approve(run: Run, name: str, fingerprint: str) -> tuple[int, str, str]:
    request = f"{name}/join-request.json"
    return federation(run, "approve", name, request, "--fingerprint", fingerprint)


def status(run: Run) -> dict[str, Any]:
    code, out, _ = federation(run, "status", "--json")
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


HEALTH = ("--health-listen", "0.0.0.0", "--health-port", "9101")


def test_an_init_container_may_come_again_and_after_one_that_was_killed(run: Run) -> None:
    words = ("init", "--host", "127.0.0.1", *HEALTH, "--if-missing", "--json")
    (Path("fed") / "lost+found").mkdir(parents=True)
    code, out, _ = federation(run, *words)
    first = json.loads(out)
    assert (code, first["made"]) == (0, True)
    settings = Path("fed/federation.toml").read_text()
    assert 'health_listen = "0.0.0.0"\nhealth_port = 9101\n' in settings
    code, out, _ = federation(run, *words)
    assert json.loads(out) == first | {"made": False}
    assert federation(run, "init", "--host", "127.0.0.1")[0] == 5
    # Killed before the settings were written: begun anew.
    Path("fed/federation.toml").unlink()
    code, out, _ = federation(run, *words)
    assert json.loads(out)["made"] is True
    # A federation that has sites, or anything else, and lost its settings: touched by nobody.
    assert federation(run, "add-site", "north", "--output", "north.json")[0] == 0
    Path("fed/federation.toml").unlink()
    before = Path("fed/ca.key").read_bytes()
    assert federation(run, *words)[0] == 5
    assert Path("fed/ca.key").read_bytes() == before


def test_a_site_joins(made: Run) -> None:
    assert approve(made, "north", invite(made, "north"))[0] == 0
    found = status(made)
    (site,) = found["sites"]
    assert (site["site"], site["status"]) == ("north", "approved")
    assert found["running"] is False
    assert "stopped" in found["note"]


def test_a_fingerprint_is_compared_by_its_letters(made: Run) -> None:
    told = invite(made, "north").lower().replace("-", " ")
    assert approve(made, "north", told)[0] == 0


def test_another_fingerprint_is_refused(made: Run) -> None:
    fingerprint = invite(made, "north")
    changed = ("A" if fingerprint[0] != "A" else "B") + fingerprint[1:]
    code, _, err = approve(made, "north", changed)
    assert (code, "not the one that its operator reads out" in err) == (6, True)
    assert [site["status"] for site in status(made)["sites"]] == ["invited"]


def test_without_an_answer_nothing_is_approved(made: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprint = invite(made, "north")
    words = ("approve", "north", "north/join-request.json")
    for answer, expected in (("", 2), ("n\n", 6)):
        monkeypatch.setattr("sys.stdin", _typed(answer))
        code, _, err = federation(made, *words)
        assert code == expected
        assert fingerprint in err
    assert [site["status"] for site in status(made)["sites"]] == ["invited"]
    monkeypatch.setattr("sys.stdin", _typed("y\n"))
    assert federation(made, *words)[0] == 0


def _typed(text: str) -> Any:
    import io

    return io.StringIO(text)


def test_a_request_that_was_changed_on_its_way_has_another_fingerprint(made: Run) -> None:
    told = invite(made, "north")
    invite(made, "south")
    forged = json.loads(Path("south/join-request.json").read_text()) | {"site": "north"}
    Path("north/join-request.json").write_text(json.dumps(forged), encoding="utf-8")
    assert approve(made, "north", told)[0] == 6


def test_a_bundle_that_cannot_be_written_invites_nobody(made: Run) -> None:
    code, _, err = federation(made, "add-site", "north", "--output", "nowhere/north.json")
    assert (code, "cannot be written" in err) == (2, True)
    assert federation(made, "add-site", "north", "--output", "north.json")[0] == 0


def test_a_site_that_comes_another_way_is_told_that_way(run: Run) -> None:
    hosts = ("--host", "inside", "--host", "coordinator.example.org")
    assert federation(run, "init", *hosts)[0] == 0
    outside = ("add-site", "north", "--output", "north.json", "--address")
    for wrong, said in (
        ("elsewhere.example.org:443", "no certificate for elsewhere.example.org"),
        ("coordinator.example.org", "is not HOST:PORT"),
        ("coordinator.example.org:70000", "is not HOST:PORT"),
        (":443", "is not HOST:PORT"),
    ):
        code, _, err = federation(run, *outside, wrong)
        assert (code, said in err) == (6, True), err
    code, out, _ = federation(run, *outside, "coordinator.example.org:443", "--json")
    assert (code, json.loads(out)["superlink"]) == (0, "coordinator.example.org:443")
    init = ("site", "init", "north.json", "--folder", "north", "--data", "north.csv")
    assert run(*init)[0] == 0
    settings = Path("north/site.toml").read_text(encoding="utf-8")
    assert 'superlink = "coordinator.example.org:443"\n' in settings
    # Others are told the usual one.
    _, out, _ = federation(run, "add-site", "south", "--output", "south.json", "--json")
    assert json.loads(out)["superlink"] == "inside:9092"


def test_two_sites_have_two_names_and_two_keys(made: Run) -> None:
    approve(made, "north", invite(made, "north"))
    code, _, err = federation(made, "add-site", "north", "--output", "again.json")
    assert (code, "two sites are named 'north'" in err) == (6, True)
    federation(made, "add-site", "south", "--output", "south.json")
    copied = json.loads(Path("north/join-request.json").read_text()) | {"site": "south"}
    Path("copied.json").write_text(json.dumps(copied), encoding="utf-8")
    told = json.loads(made("site", "request", "--folder", "north", "--json")[1])["fingerprint"]
    code, _, err = federation(made, "approve", "south", "copied.json", "--fingerprint", told)
    assert (code, "bring one key" in err) == (6, True)


def test_a_removed_site_s_key_is_refused_for_ever(made: Run) -> None:
    fingerprint = invite(made, "north")
    approve(made, "north", fingerprint)
    assert federation(made, "remove-site", "north")[0] == 0
    code, _, err = approve(made, "north", fingerprint)
    assert (code, "was removed" in err) == (6, True)
    assert federation(made, "add-site", "north", "--output", "anew.json")[0] == 0
    code, _, err = approve(made, "north", fingerprint)
    assert (code, "refused for ever" in err) == (6, True)
    told = json.loads(made("site", "rotate", "--folder", "north", "--json")[1])["fingerprint"]
    assert approve(made, "north", told)[0] == 0


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"version": "0.99.0"}, 6, "fedrisk 0.99.0"),
        ({"federation": "another"}, 6, "another federation"),
        ({"site": "south"}, 6, "'south'"),
        ({"colour": "red"}, 6, "colour"),
        ({"format": 99}, 5, "format 99"),
        ({"kind": "fedrisk join bundle"}, 6, "kind"),
        ({"node_key": "ssh-rsa AAAA"}, 6, "ecdsa-sha2-nistp384"),
    ],
)
def test_requests_that_are_refused(
    made: Run, change: dict[str, object], code: int, told: str
) -> None:
    fingerprint = invite(made, "north")
    path = Path("north/join-request.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    found, _, err = approve(made, "north", fingerprint)
    assert (found, told in err) == (code, True), err
    assert [site["status"] for site in status(made)["sites"]] == ["invited"]


def test_a_later_patch_is_warned_of(made: Run) -> None:
    fingerprint = invite(made, "north")
    path = Path("north/join-request.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": "0.1.99"}))
    code, _, err = approve(made, "north", fingerprint)
    assert (code, "warning: site 'north' runs fedrisk 0.1.99" in err) == (0, True)


def test_rotation_keeps_the_sites(made: Run) -> None:
    approve(made, "north", invite(made, "north"))
    before = status(made)
    shown = Path("fed/server.crt").read_text()
    assert federation(made, "rotate")[0] == 0
    assert Path("fed/server.crt").read_text() != shown
    authority = Path("fed/ca.crt").read_text()
    assert federation(made, "rotate", "--authority")[0] == 0
    assert status(made)["change_of_authority"] is True
    assert made("site", "trust", "fed/trust-update.json", "--folder", "north")[0] == 0
    assert Path("north/ca.crt").read_text().count("BEGIN CERTIFICATE") == 2
    assert federation(made, "rotate", "--finish")[0] == 0
    assert Path("fed/ca.crt").read_text() != authority
    assert made("site", "trust", "fed/trust-update.json", "--folder", "north")[0] == 0
    assert Path("north/ca.crt").read_text() == Path("fed/ca.crt").read_text()
    assert status(made)["sites"] == before["sites"]


def test_a_change_of_authority_is_begun_before_it_is_finished(made: Run) -> None:
    code, _, err = federation(made, "rotate", "--finish")
    assert (code, "rotate --authority" in err) == (6, True)
    assert federation(made, "rotate", "--finish", "--authority")[0] == 2


def test_a_folder_that_is_none(run: Run) -> None:
    code, _, err = federation(run, "status")
    assert (code, "federation init" in err) == (5, True)


@pytest.mark.parametrize("host", ["", "münchen.example", "a b", "-x", "a/b", "a" * 300])
def test_hosts_that_no_certificate_is_for(run: Run, host: str) -> None:
    code, _, err = federation(run, "init", "--host", host)
    assert (code, "hosts.0" in err) == (6, True)
    assert not Path("fed").exists()


def test_a_folder_that_cannot_be_made(run: Run) -> None:
    Path("file").write_text("", encoding="utf-8")
    for folder, told in (("file", 2), ("file/below", 5)):
        words = ("init", "--federation", folder, "--host", "a.example")
        assert run("federation", *words)[0] == told


def test_init_overwrites_nothing(made: Run) -> None:
    assert federation(made, "init", "--host", "127.0.0.1")[0] == 5


@pytest.mark.parametrize("name", ["../north", "", "a b", "-x"])
def test_names_that_are_none(made: Run, name: str) -> None:
    code, _, _ = made(
        "federation", "add-site", "--federation", "fed", "--output", "b.json", "--", name
    )
    assert code == 2


def test_a_damaged_certificate_is_told(made: Run) -> None:
    Path("fed/server.crt").write_text("nothing", encoding="utf-8")
    code, _, err = federation(made, "start")
    assert (code, "holds no certificate" in err) == (6, True)


def test_a_typo_in_the_settings_is_told(made: Run) -> None:
    path = Path("fed/federation.toml")
    path.write_text(path.read_text() + "prot = 1\n", encoding="utf-8")
    code, _, err = federation(made, "start")
    assert (code, "prot" in err) == (5, True)


def test_one_coordinator_a_folder(made: Run) -> None:
    from fedrisk.federation.provisioning.folders import hold_folder

    with hold_folder(Path("fed"), "this federation"):
        code, _, err = federation(made, "start")
    assert (code, "another process runs" in err) == (5, True)


Started = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    running: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> subprocess.Popen[str]:
        process = start(*words)
        running.append(process)
        return process

    yield begin
    for process in running:
        process.kill()
        process.communicate()


def ask(folder: Path, *words: str) -> str:
    """Call a command in a process of its own; standard output."""
    command = [*start_command(), *words]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def start_command() -> list[str]:
    from running import COMMAND

    return COMMAND


def rotate_everything(folder: Path) -> None:
    """Change a site's key, the authority and the coordinator's certificate under running sites."""
    told = json.loads(ask(folder, "site", "rotate", "--folder", "north", "--json"))
    words = ("approve", "north", told["request"], "--fingerprint", told["fingerprint"])
    ask(folder, "federation", *words, "--federation", "fed")
    for step in ("--authority", "--finish"):
        ask(folder, "federation", "rotate", step, "--federation", "fed")
    following = folder / "north" / "next.key"
    assert wait_until(lambda: not following.exists(), 240), "the next key was not taken"


@pytest.mark.federation
def test_two_sites_on_this_machine(made: Run, tmp_path: Path, started: Started) -> None:
    (port,) = free_ports(1)
    settings = Path("fed/federation.toml")
    text = re.sub(r"port = 9092", f"port = {port}", settings.read_text())
    settings.write_text(text.replace("0.0.0.0", "127.0.0.1"), encoding="utf-8")
    for name in ("north", "south"):
        assert approve(made, name, invite(made, name))[0] == 0
    coordinator = started("federation", "start", "--federation", str(tmp_path / "fed"))
    sites = {n: started("site", "start", "--folder", str(tmp_path / n)) for n in ("north", "south")}

    def connections() -> dict[str, str]:
        found = json.loads(ask(tmp_path, "federation", "status", "--federation", "fed", "--json"))
        return {site["site"]: site["connection"] for site in found["sites"]}

    both = {"north": "online", "south": "online"}
    assert wait_until(lambda: connections() == both, 240), connections()
    ask(tmp_path, "site", "check", "--folder", "north")
    rotate_everything(tmp_path)
    assert wait_until(lambda: connections() == both, 240), connections()
    assert not (tmp_path / "north" / "next.key").exists()
    ask(tmp_path, "site", "check", "--folder", "north")
    ask(tmp_path, "federation", "remove-site", "south", "--federation", "fed")
    assert connections() == {"north": "online", "south": ""}
    log = tmp_path / "south" / "logs" / "supernode.log"
    assert wait_until(lambda: "Failed to activate SuperNode" in log.read_text(), 120)
    assert connections()["north"] == "online"
    for process in (*sites.values(), coordinator):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert all("event" in json.loads(line) for line in out.splitlines())
    assert processes_of(tmp_path) == []
