"""`fedrisk site` as its operator calls it."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedrisk.cli.main import main
from fedrisk.errors import DisclosureError
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.sites.folder import open_site
from fedrisk.study import find_study

NOW = datetime.now(UTC)
Run = Callable[..., tuple[int, str, str]]
STUDY = """
name = "small"
label = "ill"
positive = [1]
[[features]]
name = "age"
kind = "number"
unit = "year"
minimum = 0
maximum = 120
"""
ROWS = "age,ill\n" + "".join(f"{20 + row},{row % 2}\n" for row in range(60))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    Path("study.toml").write_text(STUDY, encoding="utf-8")
    Path("rows.csv").write_text(ROWS, encoding="utf-8")
    federation = Federation.create(Path("fed"), new_settings(["127.0.0.1"], 9), NOW)
    federation.invite("north", NOW).write(Path("north.json"))

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["site", *words])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return int(ended.value.code or 0), told.out, told.err

    return call


def join(run: Run, folder: str = "north") -> tuple[int, str, str]:
    return run("init", "north.json", "--folder", folder, "--data", "rows.csv", "--json")


@pytest.fixture
def joined(run: Run) -> Run:
    assert join(run)[0] == 0
    return run


def document(answer: tuple[int, str, str]) -> dict[str, Any]:
    assert answer[0] == 0, answer[2]
    found: dict[str, Any] = json.loads(answer[1])
    return found


def test_init_makes_all_that_answering_needs(joined: Run) -> None:
    opened = open_site(Path("north"))
    assert opened.identity.site == "north"
    assert opened.data.read_text() == ROWS
    assert opened.policy.approved_studies_only
    assert opened.check_log() == 0


def test_init_prints_the_fingerprint_of_the_request(run: Run) -> None:
    told = document(join(run))["fingerprint"]
    again = document(run("request", "--folder", "north", "--json"))["fingerprint"]
    assert told == again
    assert len(told) == 39


def test_init_may_come_again_and_after_one_that_was_killed(run: Run) -> None:
    words = ("init", "north.json", "--folder", "north", "--data", "rows.csv", "--json")
    health = ("--health-listen", "0.0.0.0", "--health-port", "9103", "--if-missing")
    first = document(run(*words, *health))
    assert 'health_listen = "0.0.0.0"' in Path("north/site.toml").read_text()
    assert document(run(*words, *health)) == first
    for name in ("site.toml", "join-request.json"):
        Path("north", name).unlink()
    assert document(run(*words, *health))["fingerprint"] != first["fingerprint"]
    # What left this site is written there: it is no folder that was cut short.
    for name in ("site.toml", "join-request.json"):
        Path("north", name).unlink()
    Path("north/egress/log.jsonl").write_text("{}")
    assert run(*words, *health)[0] == 5
    assert Path("north/node.key").exists()


def test_init_overwrites_nothing(joined: Run) -> None:
    assert join(joined)[0] == 5


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        ({"version": "0.99.0"}, 6, "the coordinator runs fedrisk 0.99.0"),
        ({"format": 2}, 5, "format 2"),
        ({"node_key": "x"}, 6, "node_key"),
        ({"superlink": "nowhere"}, 6, "superlink"),
        ({"authorities": "none"}, 6, "no certificates"),
        ({"coordinator_key": "none"}, 6, "ssh-ed25519"),
        ({"kind": "fedrisk join request"}, 6, "kind"),
    ],
)
def test_bundles_that_are_refused(
    run: Run, change: dict[str, object], code: int, told: str
) -> None:
    path = Path("north.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change), encoding="utf-8")
    found, _, err = join(run)
    assert (found, told in err) == (code, True), err
    assert not Path("north").exists()


def test_rows_must_be_there(run: Run) -> None:
    code, _, err = run("init", "north.json", "--folder", "north", "--data", "nowhere.csv")
    assert (code, "no such file" in err) == (6, True)


def test_a_study_is_shown_and_approved(joined: Run) -> None:
    code, out, _ = joined("approve", "study.toml", "--folder", "north", "--by", "a person", "--yes")
    assert code == 0
    assert find_study("study.toml").hash in out
    assert "  age: number (year), from 0 to 120, no plausible range; must be there" in out
    assert "approved by a person: small" in out
    found = document(joined("check", "--folder", "north", "--offline", "--json"))
    assert list(found["approved"].values()) == ["small"]


def test_nothing_is_approved_where_nobody_can_be_asked(joined: Run) -> None:
    code, _, err = joined("approve", "study.toml", "--folder", "north")
    assert (code, "--yes" in err, "nothing was recorded" in err) == (2, True, True)
    assert not Path("north/approvals.json").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 2), ("", 2)])
def test_a_person_who_reads_the_study_is_asked(
    joined: Run, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(f"{answer}\n"))
    found, out, err = joined("approve", "study.toml", "--folder", "north")
    assert (found, "outcome: column" in out, "May the coordinator ask" in err) == (code, True, True)
    assert Path("north/approvals.json").exists() is (code == 0)


def test_in_json_the_study_is_shown_beside_it(joined: Run) -> None:
    words = ("approve", "study.toml", "--folder", "north", "--yes", "--json")
    code, out, err = joined(*words)
    assert code == 0
    assert json.loads(out)["study"] == "small"
    assert "outcome: column" in err


def test_approval_says_when_a_second_one_is_needed(joined: Run) -> None:
    site = open_site(Path("north"))
    first = find_study("study.toml")
    Path("other.toml").write_text(STUDY.replace('"small"', '"other"'), encoding="utf-8")
    Path("apart.toml").write_text(
        STUDY.replace('"small"', '"apart"').replace('"age"', '"b"').replace('"ill"', '"c"'),
        encoding="utf-8",
    )
    assert "second time" not in joined("approve", "study.toml", "--folder", "north", "--yes")[1]
    site.check_related(first)  # as its first question does
    assert "second time" not in joined("approve", "study.toml", "--folder", "north", "--yes")[1]
    assert "second time" not in joined("approve", "apart.toml", "--folder", "north", "--yes")[1]

    other = ("approve", "other.toml", "--folder", "north", "--yes")
    _, out, _ = joined(*other)
    assert f"study {first.hash[:12]}, answered here before, reads the same columns" in out
    with pytest.raises(DisclosureError, match="related studies"):
        site.check_related(find_study("other.toml"))
    assert "second time" not in joined(*other)[1]
    site.check_related(find_study("other.toml"))


def test_the_second_approval_in_json(joined: Run) -> None:
    words = ("approve", "study.toml", "--folder", "north", "--yes", "--json")
    assert document(joined(*words))["second_approval_for"] is None
    open_site(Path("north")).ledger.related("f" * 64, frozenset({"age"}))
    Path("study.toml").write_text(STUDY.replace('"small"', '"other"'), encoding="utf-8")
    assert document(joined(*words))["second_approval_for"] == "f" * 64
    assert document(joined(*words))["second_approval_for"] is None


def test_check_counts_rows_that_fit(joined: Run) -> None:
    words = ("check", "--folder", "north", "--offline", "--study", "study.toml")
    code, out, _ = joined(*words)
    assert code == 0
    assert "rows: 60, 60 usable" in out
    assert "not approved here" in out


def test_check_tells_rows_that_do_not_fit(joined: Run) -> None:
    Path("rows.csv").write_text(ROWS + "999,1\n", encoding="utf-8")
    words = ("check", "--folder", "north", "--offline", "--study", "study.toml")
    code, _, err = joined(*words)
    assert (code, "row 61" in err) == (4, True)


def test_check_tells_what_stands_between(joined: Run) -> None:
    code, out, err = joined("check", "--folder", "north", "--json")
    assert code == 6
    assert "127.0.0.1:9 cannot be reached" in err
    assert json.loads(out.splitlines()[0])["fault"]


@pytest.mark.parametrize("command", ["start", "check"])
def test_a_typo_in_the_policy_is_an_error(joined: Run, command: str) -> None:
    path = Path("north/policy.toml")
    path.write_text(path.read_text() + "contributers = 3\n", encoding="utf-8")
    code, _, err = joined(command, "--folder", "north")
    assert (code, "contributers: is not a key" in err) == (11, True)


def test_a_typo_in_the_settings_is_an_error(joined: Run) -> None:
    path = Path("north/site.toml")
    path.write_text(path.read_text() + "prot = 1\n", encoding="utf-8")
    code, _, err = joined("start", "--folder", "north")
    assert (code, "prot" in err) == (5, True)


def log_three(folder: Path) -> Path:
    log = open_site(folder).log
    for number in range(3):
        log.append(
            NOW.isoformat(), {"run": "r", "kind": "newton", "outcome": "released", "n": number}
        )
    return folder / "egress" / "log.jsonl"


def test_the_log_is_listed_and_verified(joined: Run) -> None:
    log_three(Path("north"))
    code, out, _ = joined("egress", "--folder", "north")
    assert code == 0
    assert out.count("newton") == 3
    found = document(joined("egress", "--folder", "north", "--verify", "--json"))
    assert (found["entries"], found["head"]["sequence"]) == (3, 3)


@pytest.mark.parametrize("command", [("start",), ("egress", "--verify"), ("check", "--offline")])
def test_a_tampered_log_stops_the_site_and_names_the_entry(
    joined: Run, command: tuple[str, ...]
) -> None:
    path = log_three(Path("north"))
    path.write_text(path.read_text().replace('"n":1', '"n":7'), encoding="utf-8")
    code, _, err = joined(*command, "--folder", "north")
    assert (code, "entry 2 was changed" in err) == (7, True)


def test_a_log_that_was_written_anew_is_found_by_a_head_from_elsewhere(joined: Run) -> None:
    shutil.copytree("north", "anew")
    log_three(Path("north"))
    kept = Path("north/egress/head.json").read_text()
    Path("kept.json").write_text(kept, encoding="utf-8")
    Path("receipt.json").write_text(json.dumps({"head": json.loads(kept), "time": "t"}))
    open_site(Path("anew")).log.append(NOW.isoformat(), {"run": "another"})
    assert joined("egress", "--folder", "anew")[0] == 0
    for name in ("kept.json", "receipt.json"):
        assert joined("egress", "--folder", "north", "--head", name)[0] == 0
        code, _, err = joined("egress", "--folder", "anew", "--head", name)
        assert (code, "entry 2 is missing" in err) == (7, True)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing", '{"head": 1}'])
def test_a_head_that_is_none(joined: Run, text: str) -> None:
    log_three(Path("north"))
    Path("kept.json").write_text(text, encoding="utf-8")
    code, _, err = joined("egress", "--folder", "north", "--head", "kept.json")
    assert code == 7
    assert "head" in err


def test_the_ledger_tells_what_was_asked(joined: Run) -> None:
    assert "nothing was asked yet" in joined("ledger", "--folder", "north")[1]
    site = open_site(Path("north"))
    for study in ("s", "t"):
        site.charge(study * 64, "r", "newton", f"question of {study}", cost=3, now=NOW.isoformat())
    found = document(joined("ledger", "--folder", "north", "--json"))
    assert [row["cost"] for row in found["spent"]] == [3, 3]
    assert found["queries_per_day"] == site.policy.queries_per_day
    out = joined("ledger", "--folder", "north")[1]
    assert f"6 of {site.policy.queries_per_day:g} parameter vectors" in out


def test_the_next_key_waits_beside_the_one_in_use(joined: Run) -> None:
    before = document(joined("request", "--folder", "north", "--json"))["fingerprint"]
    key = Path("north/node.key").read_text()
    first = document(joined("rotate", "--folder", "north", "--json"))["fingerprint"]
    second = document(joined("rotate", "--folder", "north", "--json"))["fingerprint"]
    assert before != first == second
    assert Path("north/node.key").read_text() == key
    assert (
        document(joined("rotate", "--folder", "north", "--again", "--json"))["fingerprint"] != first
    )


def test_a_folder_that_is_none(run: Run) -> None:
    code, _, err = run("start", "--folder", "nowhere")
    assert (code, "site init" in err) == (5, True)


def test_one_process_a_site(joined: Run) -> None:
    from fedrisk.federation.provisioning.folders import hold_folder

    with hold_folder(Path("north"), "this site"):
        code, _, err = joined("start", "--folder", "north")
    assert (code, "another process runs this site" in err) == (5, True)
