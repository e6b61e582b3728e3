"""How fast the cohort is simulated and written: prints seconds, person-days, rows and bytes.

Usage: ``python benchmarks/simulate.py [--people 1370] [--days 365] [--sites 4]``
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from datetime import date
from pathlib import Path

from fedrisk.simulation import simulate, write_cohort

START = date(2024, 1, 1)


def main() -> None:
    """Time simulation alone, and simulation with writing, for each format."""
    parser = argparse.ArgumentParser(description="Time the simulated cohort.")
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--people", type=int, default=1_370)
    parser.add_argument("--days", type=int, default=365)
    given = parser.parse_args()
    size = (given.sites, given.people, given.days)
    began = time.perf_counter()
    rows = sum(cohort.rows for cohort in simulate(*size, 1, START))
    seconds = time.perf_counter() - began
    person_days = given.sites * given.people * given.days
    print(f"simulate: {person_days:,} person-days, {rows:,} rows in {seconds:.2f} s")
    for suffix in ("csv", "parquet"):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            if suffix == "csv":
                files = write_cohort(Path(folder), *size, 1, START, file_format="csv")
            else:
                files = write_cohort(Path(folder), *size, 1, START, file_format="parquet")
            seconds = time.perf_counter() - began
            megabytes = sum(file.stat().st_size for file in files.values()) / 1e6
            print(f"simulate and write {suffix}: {seconds:.2f} s, {megabytes:.0f} MB")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak resident memory: {peak:.0f} MB")


if __name__ == "__main__":
    main()
