"""Report the licences of everything the locks install, and fail on one that is not allowed.

Usage::

    python scripts/licences.py [--report FILE] [--policy FILE] [--installed FILE]

Reads what is installed in ``.venv`` through pip-licenses (``make deploy-tools``), or from
``--installed``, its JSON. ``locks/licences.toml`` says which licences are allowed, which words
packages use for them, and which package is an exception and why. Ends with 1 where a licence is
unknown or not allowed, where an exception is about a package that is not installed, or about
another licence than the package has.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TOOL = ROOT / ".venv-deploy" / "bin" / "pip-licenses"
OURS = "fedrisk"


class Package(NamedTuple):
    """One installed package, with its licence as it tells it itself."""

    name: str
    version: str
    licence: str


class Policy:
    """What ``locks/licences.toml`` says."""

    def __init__(self, file: Path) -> None:
        text = tomllib.loads(file.read_text(encoding="utf-8"))
        self.allowed: set[str] = set(text["allowed"])
        self.words: dict[str, str] = text["words"]
        self.exceptions: dict[str, dict[str, str]] = text["exceptions"]

    def permits(self, licence: str) -> bool:
        """Whether an SPDX expression, or classifiers joined by ``;``, can be kept.

        Of alternatives (``OR``) one must be allowed, of conjunctions (``AND``, ``;``) all.
        """
        expression = self.words.get(licence, licence).strip()
        for joint, enough in ((r"\s*;\s*|\s+AND\s+", all), (r"\s+OR\s+", any)):
            parts = [part for part in re.split(joint, expression) if part]
            if len(parts) > 1:
                return enough(self.permits(part.strip("() ")) for part in parts)
        return expression in self.allowed

    def complaint(self, package: Package) -> str | None:
        """Why a package cannot be kept; None where it can."""
        exception = self.exceptions.get(package.name)
        if exception and exception["licence"] != package.licence:
            return f"the exception is about {exception['licence']!r}"
        if exception or self.permits(package.licence):
            return None
        return "not in allowed, words or exceptions"


def installed() -> list[dict[str, str]]:
    """What pip-licenses finds in ``.venv``."""
    if not TOOL.is_file():
        sys.exit("error: pip-licenses is not installed\nhint: make deploy-tools")
    python = ROOT / ".venv" / "bin" / "python"
    command = [
        str(TOOL),
        "--python",
        str(python),
        "--from",
        "mixed",
        "--with-system",
        "--format",
        "json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def as_package(row: dict[str, str]) -> Package:
    """One row of pip-licenses; of a licence that is given as its whole text, its title."""
    title = row["License"].strip().partition("\n")[0].strip()
    return Package(row["Name"].lower(), row["Version"], title)


def table(packages: list[Package], policy: Policy) -> str:
    """Every package with its licence, and the reason of each exception, in Markdown."""
    lines = ["| package | version | licence | |", "| --- | --- | --- | --- |"]
    for package in packages:
        reason = policy.exceptions.get(package.name, {}).get("reason", "")
        lines.append(f"| {package.name} | {package.version} | {package.licence} | {reason} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Print what is wrong, write the report, and say how many packages were looked at."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--report", type=Path, help="file to write the table to, as Markdown")
    parser.add_argument("--policy", type=Path, default=ROOT / "locks" / "licences.toml")
    parser.add_argument(
        "--installed", type=Path, help="pip-licenses' JSON, instead of asking .venv"
    )
    options = parser.parse_args()

    policy = Policy(options.policy)
    rows = json.loads(options.installed.read_text()) if options.installed else installed()
    packages = sorted(package for package in map(as_package, rows) if package.name != OURS)
    if options.report:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(table(packages, policy), encoding="utf-8")

    found = [
        f"{package.name} {package.version}: {package.licence!r}: {complaint}"
        for package in packages
        if (complaint := policy.complaint(package))
    ]
    missing = set(policy.exceptions) - {package.name for package in packages}
    found += [f"{name}: an exception for what is not installed" for name in sorted(missing)]
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    if found:
        print("hint: read the licence, then decide in locks/licences.toml", file=sys.stderr)
        return 1
    print(f"{len(packages)} packages, every licence allowed; {len(policy.exceptions)} exceptions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
