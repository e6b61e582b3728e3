"""Make an image's bill of materials of its environment's: name the image, add the base's packages.

`bill.py IN OUT NAME VERSION`: IN is a CycloneDX document of the Python packages. The Debian
packages are those of the system that this runs on: the base of the image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

STATUS = Path("/var/lib/dpkg/status")


def debian_packages(status: str) -> Iterator[dict[str, str]]:
    """Each package that dpkg says is installed, as a component."""
    for block in status.split("\n\n"):
        found = HeaderParser().parsestr(block)
        if not found.get("Status", "").endswith(" installed"):
            continue
        name, version = found["Package"], found["Version"]
        purl = (
            f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={found['Architecture']}"
        )
        part = {"type": "library", "name": name, "version": version}
        yield part | {"purl": purl, "bom-ref": purl}


def complete(document: dict[str, Any], status: str, name: str, version: str) -> dict[str, Any]:
    """The document of the whole image."""
    image = {"type": "container", "name": name, "version": version, "bom-ref": name}
    parts = [*document["components"], *debian_packages(status)]
    return document | {
        "metadata": document.get("metadata", {}) | {"component": image},
        "components": parts,
    }


def main(source: str, target: str, name: str, version: str) -> None:
    """Read the environment's document and write the image's."""
    document = json.loads(Path(source).read_text(encoding="utf-8"))
    status = STATUS.read_text(encoding="utf-8") if STATUS.is_file() else ""
    text = json.dumps(complete(document, status, name, version), indent=1)
    Path(target).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
