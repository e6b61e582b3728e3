"""scripts/trigger-retraining.sh: what it has run where, how often, and with which exit code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "trigger-retraining.sh"
#: Stands for docker, kubectl and fedrisk: writes down its words, and ends as a test says.
FAKE = """#!/usr/bin/env bash
[ "$1" != ps ] || { echo "$*" >> "$TOLD.ps"; echo container-7; exit 0; }
[ "$1" != info ] || exit 0
[ "$3" != get ] || exit 0
printf '%s ' "$(basename "$0")" "$@" >> "$TOLD"; echo >> "$TOLD"
code=$(head -n 1 "$CODES"); sed -i 1d "$CODES"
exit "${code:-0}"
"""


class Told:
    """What the tools were told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("docker", "kubectl", "fedrisk", "sleep"):
            tool = folder / name
            tool.write_text(FAKE if name != "sleep" else "#!/bin/sh\n")
            tool.chmod(0o755)
        (folder / "token").write_text("secret")

    def run(
        self, *words: str, codes: tuple[int, ...] = (0,), **more: str
    ) -> subprocess.CompletedProcess[str]:
        (self.folder / "codes").write_text("".join(f"{code}\n" for code in codes))
        (self.folder / "told").write_text("")
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "FEDRISK": "fedrisk",
            "TOLD": str(self.folder / "told"),
            "CODES": str(self.folder / "codes"),
            **more,
        }
        command = [str(SCRIPT), *words]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd="/", check=False
        )

    @property
    def lines(self) -> list[str]:
        return (self.folder / "told").read_text().splitlines()


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_the_exit_code_is_the_verdict(told: Told) -> None:
    at = ("--at", "http://w:9102", "--token-file", str(told.folder / "token"))
    for code in (0, 14, 21):
        assert told.run("scheduled", *at, "--json", codes=(code,)).returncode == code
    assert told.lines[0].startswith("fedrisk trigger retrain --trigger scheduled --wait 3600 --id ")
    assert told.lines[0].endswith(f"--json --at http://w:9102 --token-file {told.folder}/token ")


def test_here_it_is_the_loop_itself(told: Told) -> None:
    done = told.run("drift", "--wait", "60", "--local", "--home", "h", "--site", "a=a b.csv")
    expected = "fedrisk retrain --trigger drift --wait 60 --exit-code --home h --site a=a b.csv "
    assert (done.returncode, told.lines) == (0, [expected])


@pytest.mark.parametrize(
    ("words", "way", "token"),
    [
        ((), "docker exec container-7 fedrisk", "/run/secrets/operations-token"),
        (
            ("--kubernetes", "--namespace", "n"),
            "kubectl --namespace n exec deployment/federated-server --container watch -- fedrisk",
            "/run/secrets/fedrisk/operations-token",
        ),
    ],
)
def test_where_the_way_breaks_the_same_operation_is_followed_again(
    told: Told, words: tuple[str, ...], way: str, token: str
) -> None:
    done = told.run("manual", *words, "--id", "mine", codes=(137, 1, 21))
    asked = "trigger retrain --trigger manual --wait 3600 --id mine"
    at = f"--at http://127.0.0.1:9102 --token-file {token}"
    assert (done.returncode, told.lines) == (21, [f"{way} {asked} {at} "] * 3)
    assert done.stderr.count("following mine again") == 2
    lost = told.run("manual", *words, codes=(137,) * 9, FEDRISK_TRIES="1")
    assert (lost.returncode, len(told.lines)) == (137, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no reason is named"),
        (("wish",), "unknown argument wish"),
        (("drift", "manual"), "two reasons"),
        (("drift", "--compose", "--kubernetes"), "two places"),
        (("drift", "--at", "http://w"), "belong together"),
        (("drift", "--namespace"), "needs a value"),
        (("drift", "--at", "http://w", "--token-file", "/nowhere"), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_told(told: Told, words: tuple[str, ...], message: str) -> None:
    done = told.run(*words)
    assert (done.returncode, told.lines) == (2, [])
    assert message in done.stderr
    assert "hint: " in done.stderr


def test_help_is_given(told: Told) -> None:
    done = told.run("--help")
    assert done.returncode == 0
    assert "drift|scheduled|manual" in done.stdout
