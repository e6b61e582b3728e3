"""GUSTO's sixteen regions as four sites, four regions each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "gusto"
STUDY = EXAMPLE / "study.toml"
DATA = ROOT.parent / "shared" / "data" / "gusto_regions" / "gusto.csv.gz"
SITES = ("site-1", "site-2", "site-3", "site-4")


def write_sites(folder: Path) -> dict[str, Path]:
    """Write ``site-1.csv`` to ``site-4.csv``, of the regions in their order."""
    regions = folder / "regions"
    command = [sys.executable, str(EXAMPLE / "split_by_region.py"), str(DATA), str(regions)]
    subprocess.run(command, check=True, capture_output=True)
    files = sorted(regions.glob("*.csv"))
    size = len(files) // len(SITES)
    sites = {}
    for number, site in enumerate(SITES):
        parts = files[number * size : (number + 1) * size]
        sites[site] = folder / f"{site}.csv"
        sites[site].write_bytes(_joined([part.read_bytes() for part in parts]))
    return sites


def _joined(parts: list[bytes]) -> bytes:
    """Tables below one header."""
    return parts[0] + b"".join(part.partition(b"\n")[2] for part in parts[1:])
