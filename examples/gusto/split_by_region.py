"""Write one CSV file for each region of the GUSTO-I data, and print the flags that name them.

    python examples/gusto/split_by_region.py gusto.csv.gz sites/

writes ``sites/region-01.csv`` to ``sites/region-16.csv`` and prints ``--site
region-01=sites/region-01.csv`` and so on: one argument list for `fedrisk train` or `fedrisk up`.
Needs Python's standard library alone.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import sys
from collections import defaultdict
from pathlib import Path

REGION = "regl"


def read_regions(source: Path) -> tuple[list[str], dict[int, list[list[str]]]]:
    """Header, and rows by region in the order of the file."""
    with gzip.open(source, "rt", encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        place = header.index(REGION)
        regions: dict[int, list[list[str]]] = defaultdict(list)
        for row in rows:
            regions[int(float(row[place]))].append(row)
    return header, regions


def write_sites(source: Path, folder: Path) -> dict[str, Path]:
    """Write one file a region into ``folder``; returns the files by site name."""
    header, regions = read_regions(source)
    folder.mkdir(parents=True, exist_ok=True)
    sites = {}
    for region, rows in sorted(regions.items()):
        name = f"region-{region:02d}"
        sites[name] = folder / f"{name}.csv"
        with sites[name].open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header, *rows])
    return sites


def main() -> None:
    """Read the arguments, write the files, print the flags."""
    parser = argparse.ArgumentParser(description="one CSV file for each GUSTO region")
    parser.add_argument("source", type=Path, help="gusto.csv.gz")
    parser.add_argument("folder", type=Path, help="where the sites' files go")
    given = parser.parse_args()
    if len(str(given.folder).split()) != 1:
        sys.exit(f"error: {str(given.folder)!r}: the shell would tear a path with spaces apart")
    try:
        sites = write_sites(given.source, given.folder)
    except (OSError, ValueError, StopIteration) as error:
        sys.exit(f"error: {given.source}: cannot be split by column {REGION!r}: {error}")
    print(" ".join(f"--site {name}={file}" for name, file in sites.items()))


if __name__ == "__main__":
    main()
