"""Every strategy on the same sites: rounds, seconds, AUROC, and how far from the pooled fit.

``python benchmarks/strategies.py --study FILE [--engine E] --site NAME=FILE ...`` prints a table in
Markdown. Without arguments, four simulated cities on Flower's simulation runtime.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

STRATEGIES = ("exact", "fedavg", "fedprox", "fedadam")


def simulated(folder: Path) -> list[str]:
    """Flags of a small simulated cohort."""
    from fedrisk.simulation import latest_start, write_cohort

    files = write_cohort(folder, 4, 200, 180, 1, latest_start(datetime.now(UTC).date(), 180))
    sites = [word for name, file in files.items() for word in ("--site", f"{name}={file}")]
    return ["--study", str(folder / "study.toml"), *sites]


def train(strategy: str, engine: str, flags: list[str], home: Path) -> dict[str, Any]:
    """One run of the command line: what it printed, with the model's coefficients."""
    command = [sys.executable, "-m", "fedrisk", "train", *flags, "--home", str(home)]
    done = subprocess.run(
        [*command, "--strategy", strategy, "--engine", engine, "--json"],
        stdout=subprocess.PIPE,
        check=True,
    )
    model = json.loads((home / "models" / "champion" / "model.json").read_text(encoding="utf-8"))
    weights = [model["intercept"], *(column["coefficient"] for column in model["columns"])]
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"weights": np.array(weights)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="simulation", choices=["local", "simulation"])
    options, flags = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as scratch:
        flags = flags or simulated(Path(scratch) / "cohort")
        print("| strategy | messages to each site | seconds | AUROC | log loss | from exact |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        exact = None
        for strategy in STRATEGIES:
            run = train(strategy, options.engine, flags, Path(scratch) / strategy)
            exact = run["weights"] if exact is None else exact
            distance = float(np.max(np.abs(run["weights"] - exact)))
            print(
                f"| `{strategy}` | {run['rounds']} | {run['seconds']:.0f} "
                f"| {run['metrics']['auroc']:.4f} | {run['metrics']['log_loss']:.5f} "
                f"| {distance:.2g} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
