"""Print how long `fedrisk --help` takes in a fresh process: median and worst of several starts."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

STARTS = 9


def seconds_to_help() -> float:
    """Wall-clock seconds of one `fedrisk --help`."""
    start = time.perf_counter()
    command = Path(sys.executable).with_name("fedrisk")
    subprocess.run([command, "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Warm the file cache once, then measure."""
    seconds_to_help()
    seconds = [seconds_to_help() for _ in range(STARTS)]
    print(f"fedrisk --help: median {statistics.median(seconds):.3f} s, worst {max(seconds):.3f} s")


if __name__ == "__main__":
    main()
