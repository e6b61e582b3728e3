"""Add the Debian packages of the base image to a CycloneDX document: system_packages.py IN OUT."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from urllib.parse import quote

STATUS = Path("/var/lib/dpkg/status")


def components(status: str) -> Iterator[dict[str, str]]:
    """Each package that dpkg says is installed, as a component."""
    for block in status.split("\n\n"):
        found = HeaderParser().parsestr(block)
        if not found.get("Status", "").endswith(" installed"):
            continue
        name, version = found["Package"], found["Version"]
        purl = (
            f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={found['Architecture']}"
        )
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        }


def main(source: Path, target: Path) -> None:
    """Read the document of the Python packages, and write it with the system's."""
    document = json.loads(source.read_text(encoding="utf-8"))
    if STATUS.is_file():
        document["components"] += components(STATUS.read_text(encoding="utf-8"))
    target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
