"""How fast `fedrisk score` goes through a CSV file, and how much memory it takes.

    python benchmarks/score.py [--rows 2000000] [--format csv|csv.gz|parquet]

A file of the built-in study's shape is written into a temporary folder and scored by a model fitted
to a part of it; the scoring runs in a process of its own whose peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.newton import newton_advance, newton_start, newton_sums, posterior_covariance
from fedrisk.models.summary import reference, summarise
from fedrisk.registry.cache import write_model
from fedrisk.study import NumberFeature, Study, find_study

BLOCK = 250_000
COMMAND = "from fedrisk.cli import main; main()"


def draw(study: Study, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Feature columns within the study's bounds; two decimals, as instruments give them."""
    columns: dict[str, np.ndarray] = {}
    for feature in study.features:
        if isinstance(feature, NumberFeature):
            low, high = feature.plausible or (feature.minimum or 0.0, feature.maximum or 100.0)
            columns[feature.name] = rng.uniform(low, high, rows).round(2)
        else:
            columns[feature.name] = rng.integers(0, len(feature.levels), rows).astype(np.int32)
    return columns


def fit(study: Study, rng: np.random.Generator) -> tuple[LogisticModel, dict[str, object]]:
    """A model with random truth: its arithmetic is what is timed."""
    columns = draw(study, 20_000, rng)
    events = rng.random(20_000) < 0.3
    summary = summarise(study, columns, events)
    design = design_from_summary(study, summary)
    matrix = design.transform(columns)
    state = newton_start(matrix.shape[1] + 1, float(events.mean()))
    while not state.done:
        sums = newton_sums(matrix, events, state.proposal[None, :])
        state = newton_advance(state, sums, study.penalty, design.constant)
    beta, covariance = state.proposal, posterior_covariance(state.hessian, design.constant)
    model = LogisticModel(study, design, float(beta[0]), beta[1:], covariance)
    return model, dict(reference(study, summary))


def write_rows(study: Study, path: Path, rows: int, rng: np.random.Generator) -> None:
    """Write the file in blocks: an identifier, the features, and a note that passes through."""
    import pyarrow as pa
    import pyarrow.csv as arrow
    import pyarrow.parquet as parquet

    writer = None
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        drawn = draw(study, count, rng)
        levels = {f.name: pa.array(f.levels) for f in study.categories}
        columns = {"person": pa.array(np.arange(first, first + count)).cast(pa.string())}
        for name, values in drawn.items():
            taken = levels[name].take(pa.array(values)) if name in levels else pa.array(values)
            columns[name] = taken
        columns["note"] = pa.array(["seen, and well"] * count)
        batch = pa.record_batch(columns)
        if writer is None and path.suffix == ".parquet":
            writer = parquet.ParquetWriter(path, batch.schema)
        elif writer is None:
            stream = pa.CompressedOutputStream(str(path), "gzip") if path.suffix == ".gz" else path
            writer = arrow.CSVWriter(stream, batch.schema)
        writer.write_batch(batch)
    if writer is not None:
        writer.close()


def main() -> None:
    """Print rows a second and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--format", choices=["csv", "csv.gz", "parquet"], default="csv")
    given = parser.parse_args()
    rng = np.random.default_rng(7)
    study = find_study("air-wearables")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home = Home(folder / "home").prepare()
        model, bins = fit(study, rng)
        identity = {"name": study.name, "version": "1", "run_id": "benchmark"}
        write_model(home.champion, model.document(), bins, make_checks(model), **identity)
        source, target = folder / f"rows.{given.format}", folder / f"scored.{given.format}"
        write_rows(study, source, given.rows, rng)
        options = ["--home", home.root, "--input", source, "--output", target, "--json"]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, "score", *map(str, options)],
            capture_output=True,
            check=True,
        )
        answer = json.loads(done.stdout)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        size = source.stat().st_size / 1e6
        print(f"{given.format}: {answer['rows']:,} rows of {len(study.features)} features")
        print(f"input {size:,.0f} MB")
        print(f"{answer['rows'] / answer['seconds']:,.0f} rows/s, {answer['seconds']:.1f} s")
        print(f"peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    main()
