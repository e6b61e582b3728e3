"""Seconds to read, check and split a million rows of the built-in study's kind.

Run it as ``python benchmarks/check_million_rows.py [ROWS]``. Prints one line a case: CSV, gzipped
CSV and Parquet without faults, and a CSV with a fault in each column of every hundredth row.
"""

from __future__ import annotations

import gzip
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from fedrisk.errors import DataError
from fedrisk.sites.cohort import load_cohort
from fedrisk.study import Study, parse_study

NUMBERS = 11


def study() -> Study:
    """Eleven numbers, a category, an id, a time and a label."""
    numbers = [
        {"name": f"x{i}", "kind": "number", "minimum": -10, "maximum": 10, "missing": "allow"}
        for i in range(NUMBERS)
    ]
    sex = {"name": "sex", "kind": "category", "levels": ["f", "m"]}
    roles = {"label": "ill", "positive": [1], "id": "person", "time": "day", "horizon": "30d"}
    return parse_study({"name": "million", **roles, "features": [*numbers, sex]})


def table(rows: int) -> pa.Table:
    """Draw rows that keep to the study."""
    rng = np.random.default_rng(1)
    columns: dict[str, pa.Array] = {
        f"x{i}": pa.array(rng.uniform(-9, 9, rows).round(4)) for i in range(NUMBERS)
    }
    columns["sex"] = pa.array(np.where(rng.random(rows) < 0.5, "f", "m"))
    columns["person"] = pa.array(rng.integers(0, rows, rows))
    days = np.datetime64("2024-01-01") + rng.integers(0, 365, rows)
    columns["day"] = pa.array(days.astype("datetime64[D]"))
    columns["ill"] = pa.array((rng.random(rows) < 0.1).astype(np.int8))
    return pa.table(columns)


def spoil(clean: pa.Table) -> pa.Table:
    """Put a text that is no number into every hundredth row of each number."""
    wrong = pa.array(np.arange(clean.num_rows) % 100 == 0)
    for i in range(NUMBERS):
        text = pc.cast(clean[f"x{i}"], pa.string())
        clean = clean.set_column(i, f"x{i}", pc.if_else(wrong, "n/k", text))
    return clean


def main() -> None:
    """Write the files, check each, print seconds."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    clean = table(rows)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        arrow_csv.write_csv(clean, home / "clean.csv")
        arrow_csv.write_csv(spoil(clean), home / "faults.csv")
        (home / "clean.csv.gz").write_bytes(gzip.compress((home / "clean.csv").read_bytes(), 1))
        pq.write_table(clean, home / "clean.parquet")
        for name in ("clean.csv", "clean.csv.gz", "clean.parquet", "faults.csv"):
            start = time.perf_counter()
            try:
                cohort = load_cohort(study(), "site", home / name, datetime(2025, 6, 1, tzinfo=UTC))
                outcome = f"{cohort.counts.usable} usable rows"
            except DataError as error:
                outcome = f"{error.total} violations, {len(error.violations)} recorded"
            print(f"{name:14} {time.perf_counter() - start:6.2f} s  {outcome}", flush=True)
    print(f"peak memory    {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
