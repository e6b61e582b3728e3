"""What the loop's tests share: a changing cohort, a champion of before, a server under load."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
from running import COMMAND, environment

from fedrisk.cli.federating import Federating
from fedrisk.home import Home
from fedrisk.registry.cache import read_model
from fedrisk.registry.promotion import register_outcome
from fedrisk.settings import Settings
from fedrisk.simulation import write_cohort
from fedrisk.study import Study, load_study
from fedrisk.study.training import TrainingRequest

#: Sites, people of each, days, seed, first day.
SIZE = (2, 400, 720, 7, date(2024, 1, 1))
CHANGE = date(2025, 1, 1)
PLAN = """\
gate_days = 120
poll_seconds = 0.5
approval = "plan"
[[challengers]]
name = "refit"
[shadow]
seconds = 2
least = 50
most_seconds = 120
[canary]
seconds = 2
least = 50
most_seconds = 120
[service]
share = 0.5
slower = 50
most_difference = 0.9
most_seconds = 5
take_up_seconds = 2
[watch]
compare_days = 14
"""


def write_changing(folder: Path, scenario: str, **more: Any) -> dict[str, Path]:
    """A cohort whose world changes after its first year."""
    return write_cohort(folder, *SIZE, scenario=scenario, change=CHANGE, **more)


def train_champion(root: Path, files: Mapping[str, Path]) -> Home:
    """A home whose champion was fitted on the year before the change."""
    study = load_study(next(iter(files.values())).parent / "study.toml")
    settings = Settings(home=root / "home")
    sites = Federating.local(settings, files, "in_memory")
    as_of = datetime(2025, 1, 15, tzinfo=UTC).isoformat()
    request = TrainingRequest(
        run_id="first", study=study, sites=sites.sites, as_of=as_of, until=CHANGE.isoformat()
    )
    sites.train(request)
    home = Home(root / "home")
    register_outcome(home, settings, "first", promote=False, now=datetime.now(UTC))
    home.plan.write_text(PLAN)
    return home


def retrain(
    home: Home, files: Mapping[str, Path], as_of: str, *words: str, **changes: str
) -> dict[str, Any]:
    """What `fedrisk retrain --json` prints."""
    sites = [f"--site={name}={file}" for name, file in files.items()]
    place = ["--home", str(home.root), "--as-of", as_of]
    ended = subprocess.run(
        [*COMMAND, "retrain", *place, *sites, *words, "--json"],
        capture_output=True,
        text=True,
        env=environment(**changes),
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def sign(home: Home, folder: Path) -> str:
    """Let a signature cover the plan; the file of keys that count."""
    key = folder / "plan.key"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(command, check=True)
    words = ["retrain", "plan", "sign", "--key", str(key), "--home", str(home.root)]
    subprocess.run([*COMMAND, *words], check=True, env=environment(), capture_output=True)
    return f"{key}.pub"


def risk_of(home: Home, study: Study) -> Any:
    """What a champion says of a cohort's columns."""
    model = read_model(home.champion).model

    def risk(columns: Mapping[str, Any]) -> Any:
        taken = {each.name: columns[each.name] for each in study.numbers}
        for each in study.categories:
            codes = [
                np.where(columns[each.name] == level, n, -1) for n, level in enumerate(each.levels)
            ]
            taken[each.name] = np.max(codes, axis=0).astype(np.int32)
        return model.risk(taken)

    return risk


@dataclass
class Load:
    """One caller after the other asks for as long as the test runs.

    Attributes
    ----------
    statuses : Counter
        Answers by HTTP status; -1 where there was none.
    versions : Counter
        Answers by the version that gave them.
    """

    url: str
    row: Mapping[str, Any]
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        body = json.dumps(self.row).encode()
        kind = {"Content-Type": "application/json"}
        while not self.ended.is_set():
            request = urllib.request.Request(f"{self.url}/predict", body, kind)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    self.versions[json.load(answer)["model"]["version"]] += 1
                    self.statuses[answer.status] += 1
            except urllib.error.HTTPError as error:
                self.statuses[error.code] += 1
            except OSError:
                self.statuses[-1] += 1
            time.sleep(0.02)


#: Starts `fedrisk` with a version that passes every check and cannot answer a caller.
FAILING = """\
import sys
from fedrisk.serving.predict import Predict
answer = Predict.answer
def fails(self, served, *rest):
    if served.stored.version == "{version}":
        raise RuntimeError("made to fail")
    return answer(self, served, *rest)
Predict.answer = fails
from fedrisk.cli import main
main()
"""


@contextmanager
def served_under_load(home: Home, failing: str = "") -> Iterator[Load]:
    """A server of the home, asked all the time; a version may be made to fail in it."""
    words = ["serve", "--home", str(home.root), "--port", "0", "--json"]
    program = [sys.executable, "-c", FAILING.format(version=failing)] if failing else COMMAND
    with subprocess.Popen(
        [*program, *words], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            row = read_model(home.champion).checks[0]["row"]
            load = Load(url, row)
            thread = threading.Thread(target=load.run)
            thread.start()
            try:
                yield load
            finally:
                load.ended.set()
                thread.join()
        finally:
            process.terminate()
            process.wait(60)


def ready(url: str) -> dict[str, Any]:
    """What ``/ready`` tells."""
    with urllib.request.urlopen(f"{url}/ready", timeout=30) as answer:
        told: dict[str, Any] = json.load(answer)
    return told
