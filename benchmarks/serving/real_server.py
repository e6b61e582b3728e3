"""A home with models of the built-in study, and a real server process over it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import score as scoring_benchmark

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.models.logistic import LogisticModel
from fedrisk.registry.cache import write_model
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.serving.scoring import Scorer
from fedrisk.study import find_study

STUDY = find_study("air-wearables")


@dataclass
class Version:
    """A model that can be put into a cache, and what it answers."""

    name: str
    model: LogisticModel
    bins: dict[str, object]
    checks: list[dict[str, Any]]

    @classmethod
    def fit(cls, name: str, seed: int) -> Version:
        """A version of its own: another seed, other coefficients."""
        model, bins = scoring_benchmark.fit(STUDY, np.random.default_rng(seed))
        return cls(name, model, bins, make_checks(model))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Rows that fit the study."""
        return [check["row"] for check in self.checks]

    def risks(self, rows: Sequence[dict[str, Any]]) -> list[float]:
        """What it answers, exactly."""
        scorer = Scorer(self.model)
        names = STUDY.feature_names
        return [scorer.risk({name: row.get(name) for name in names}) for row in rows]

    def put(self, home: Home) -> None:
        """Make it the champion, as the registry's follower does."""
        identity = {"name": STUDY.name, "version": self.name, "run_id": f"run{self.name}"}
        write_model(home.champion, self.model.document(), self.bins, self.checks, **identity)


def add_key(home: Home) -> str:
    """Close the home but for one key without limits; its secret."""
    key, secret = make_key("benchmark", ["predict", "batch", "metrics"], datetime.now(UTC))
    write_keys(home.keys, KeyRing({key.id: key}))
    return secret


@dataclass
class Running:
    """A server that answers."""

    process: subprocess.Popen[str]
    host: str
    port: int

    def ready(self) -> dict[str, Any]:
        """What ``/ready`` answers."""
        with urllib.request.urlopen(f"http://{self.host}:{self.port}/ready", timeout=30) as answer:
            return dict(json.load(answer))

    def version(self) -> str:
        """The version that serves."""
        return str(self.ready()["model"]["version"])


@contextmanager
def serving(home: Home, log: Path, *options: str, **changes: str) -> Iterator[Running]:
    """`fedrisk serve` over a home; ``changes`` are of its environment.

    Raises
    ------
    SystemExit
        When it does not end well.
    """
    command = [sys.executable, "-m", "fedrisk", "serve", "--home", str(home.root), "--json"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FEDRISK_", "MLFLOW_"))}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env=kept | changes,
        )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        host, _, port = url.removeprefix("http://").partition(":")
        running = Running(process, host, int(port))
        wait_ready(running)
        yield running
    finally:
        process.terminate()
        code = process.wait(60)
    if code:
        raise SystemExit(f"the server ended with code {code}:\n{log.read_text()[-2000:]}")


def wait_ready(running: Running, seconds: float = 60) -> None:
    """Wait until a model serves."""
    end = time.monotonic() + seconds
    while True:
        try:
            running.ready()
            return
        except OSError:
            if time.monotonic() > end or running.process.poll() is not None:
                raise SystemExit("the server is not ready") from None
            time.sleep(0.05)
