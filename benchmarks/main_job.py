"""Seconds from an installed package to the first answered prediction: ``fedrisk up --once``.

Runs it with Flower's commands forked from a resident process, and, with ``--stock``, also with each
started anew as Flower does, side by side.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def up(way: str, home: Path) -> None:
    """Run the main job once and print its figures."""
    command = [sys.executable, "-m", "fedrisk", "up", "--once", "--json", "--port", "0"]
    done = subprocess.run(
        [*command, "--home", str(home)],
        env=os.environ | {"FEDRISK_FLOWER_START": way},
        stdout=subprocess.PIPE,
        check=True,
    )
    told = json.loads(done.stdout)
    print(
        f"{way}: first prediction after {told['up_seconds']:.0f} s; {told['rounds']} messages to "
        f"each of {len(told['sites'])} sites in {told['federation_seconds']:.0f} s, "
        f"{told['federation_seconds'] / told['rounds']:.1f} s a message"
    )


def main() -> None:
    """Measure."""
    ways = ["resident", "stock"] if "--stock" in sys.argv else ["resident"]
    with tempfile.TemporaryDirectory() as scratch:
        for way in ways:
            up(way, Path(scratch) / way)


if __name__ == "__main__":
    main()
