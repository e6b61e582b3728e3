"""Ask whether the container's process is well; the exit code tells.

`probe.py [WHERE]`: WHERE, or the variable PROBE, is an address, or a `running.json` that names it.
Only the standard library is needed: the image has no curl, and a look is short.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

SECONDS = 4.0


def address(where: str) -> str:
    """Where to ask.

    >>> address("http://127.0.0.1:8080/health")
    'http://127.0.0.1:8080/health'
    """
    if where.startswith("http://"):
        return where
    return str(json.loads(Path(where).read_text(encoding="utf-8"))["health"]) + "/health"


def main(where: str) -> int:
    """Return 0 where it is well, otherwise 1, and say why."""
    # Never through a proxy: the process is in this container.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address(where), timeout=SECONDS):
            return 0
    except (OSError, ValueError, KeyError) as error:
        sys.stdout.write(f"{where}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else os.environ["PROBE"]))
