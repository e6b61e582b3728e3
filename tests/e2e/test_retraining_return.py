"""A new champion that fails, in service or by matured labels, gives way to one judged again first.

The way there is killed once, by SIGKILL in the shadow, and gone on with.
"""

from __future__ import annotations

import shutil
import signal
import sys
from datetime import date
from pathlib import Path

import pytest
from running import start, wait_until

from fedrisk.home import Home
from fedrisk.registry.cache import CHECKS, read_model
from fedrisk.study import load_study

from .retraining_world import (
    SIZE,
    ready,
    retrain,
    served_under_load,
    sign,
    train_champion,
    write_changing,
)

pytestmark = [
    pytest.mark.federation,
    pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc"),
]
#: When the world is as it was before the change again.
REVERTED = date(2025, 9, 1)
WORDS = ("--trigger", "drift", "--engine", "in_memory", "--wait", "60")


def write_reverting(folder: Path) -> dict[str, Path]:
    """A cohort whose world changes, and changes back."""
    from fedrisk.simulation import write_cohort

    files = write_changing(folder / "cohort", "concept-change", size=6.0)
    before = write_cohort(folder / "plain", *SIZE)
    time = load_study(folder / "cohort" / "study.toml").time
    for site, file in files.items():
        header, *changed = file.read_text().splitlines()
        place = header.replace('"', "").split(",").index(str(time))

        def late(line: str, place: int = place) -> bool:
            return line.split(",")[place].strip('"')[:10] >= REVERTED.isoformat()

        _, *plain = before[site].read_text().splitlines()
        kept = [line for line in changed if not late(line)] + [line for line in plain if late(line)]
        file.write_text("\n".join([header, *kept]) + "\n")
    return files


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Path], str]:
    """A home whose new champion was promoted by a loop that was killed once; the watch is open."""
    folder = tmp_path_factory.mktemp("return")
    files = write_reverting(folder)
    home = train_champion(folder, files)
    keys = sign(home, folder)
    with served_under_load(home) as load:
        words = [*WORDS, "--as-of", REVERTED.isoformat(), "--server", load.url]
        words += ["--home", str(home.root), *(f"--site={n}={f}" for n, f in files.items())]
        with start("retrain", *words, FEDRISK_PLAN_KEYS=keys) as killed:
            said = ""
            while "shadow: version" not in said:
                said = killed.stderr.readline()
                assert said, "it ended before the shadow"
            killed.send_signal(signal.SIGKILL)
        assert ready(load.url)["model"]["version"] == "1"
        words = [*WORDS, "--server", load.url]
        told = retrain(home, files, REVERTED.isoformat(), *words, FEDRISK_PLAN_KEYS=keys)
        assert (told["state"], told["champion"]) == ("promoted", "2"), told["reason"]
        assert wait_until(lambda: ready(load.url)["model"]["version"] == "2", 30)
    assert set(load.statuses) == {200}
    return home, files, keys


def copy_of(home: Home, folder: Path) -> Home:
    """A home in the same state; its artifacts stay where they are."""
    shutil.copytree(home.root, folder / "home", symlinks=True)
    return Home(folder / "home")


def test_a_champion_whose_matured_labels_show_harm_is_returned_from(promoted, tmp_path) -> None:
    home, files, _ = promoted
    home = copy_of(home, tmp_path)
    with served_under_load(home) as load:
        told = retrain(home, files, "2025-12-10", *WORDS, "--server", load.url)
        assert (told["state"], told["champion"]) == ("returned", "1"), told["reason"]
        assert "log loss lower" in told["reason"]
        assert "judged again" in told["reason"]
        assert wait_until(lambda: ready(load.url)["model"]["version"] == "1", 30)
    assert not told["released"]
    assert set(load.statuses) == {200}
    assert read_model(home.champion).version == "1"


def test_a_champion_that_is_damaged_in_service_is_returned_from(promoted, tmp_path) -> None:
    home, files, _ = promoted
    home = copy_of(home, tmp_path)
    with served_under_load(home) as load:
        checks = home.champion / CHECKS
        checks.write_text(checks.read_text().replace('"risk": 0', '"risk": 1', 1) + " ")
        assert wait_until(lambda: ready(load.url)["refused"], 30)
        told = retrain(home, files, "2025-09-02", *WORDS, "--server", load.url)
        assert (told["state"], told["champion"]) == ("returned", "1"), told["reason"]
        assert "in service, version 2 fails" in told["reason"]
        assert "judged again" in told["reason"]
        assert wait_until(lambda: ready(load.url)["model"]["version"] == "1", 30)
        assert ready(load.url)["refused"] is None
    assert set(load.statuses) == {200}


def test_a_champion_that_answers_with_errors_is_returned_from(promoted, tmp_path) -> None:
    home, files, _ = promoted
    home = copy_of(home, tmp_path)
    with served_under_load(home, failing="2") as load:
        assert wait_until(lambda: load.statuses[500] > 200, 60)
        told = retrain(home, files, "2025-09-02", *WORDS, "--server", load.url)
        assert (told["state"], told["champion"]) == ("returned", "1"), told["reason"]
        assert "requests ended in a fault of the server's" in told["reason"]
        assert "judged again" in told["reason"]
        assert wait_until(lambda: load.versions["1"] > 50, 60)
    assert set(load.versions) == {"1"}
    assert set(load.statuses) == {200, 500}
