"""The folder of scripts that goes first in PATH."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from fedrisk.errors import FederationError
from fedrisk.federation import pinning
from fedrisk.federation.resident.server import COMMANDS


def write_scripts(folder: Path, place: Path | None) -> None:
    """Write a script for each of Flower's commands that must not run as it is.

    Commands that take a bundle run by `fedrisk.federation.pinning` in every case.

    Parameters
    ----------
    folder : Path
        Goes first in PATH.
    place : Path or None
        The resident process's socket; None to start every command anew.

    Raises
    ------
    FederationError
        When Flower's own commands are not beside this interpreter.
    """
    shutil.rmtree(folder, ignore_errors=True)
    own = folder / "own"
    own.mkdir(parents=True)
    for name in pinning.COMMANDS:
        _write(own / name, [sys.executable, "-I", "-m", "fedrisk.federation.pinning", name])
    for name in COMMANDS:
        stock = _stock(name)
        fallback = own / name if name in pinning.COMMANDS else stock
        if place is not None:
            _write(folder / name, _shim(place, fallback, name))
        elif name in pinning.COMMANDS:
            _write(folder / name, [str(fallback)])


def resident_command(place: Path) -> list[str]:
    """Start the resident process with its socket at ``place``."""
    return [sys.executable, "-m", "fedrisk.federation.resident.server", str(place)]


def _stock(name: str) -> Path:
    beside = str(Path(sys.executable).parent)
    stock = shutil.which(name, path=beside)
    if stock is None:
        raise FederationError(
            f"Flower's command {name} is not in {beside}", hint="install fedrisk[site,server]"
        )
    return Path(stock)


def _shim(place: Path, fallback: Path, name: str) -> list[str]:
    shim = str(files("fedrisk.federation.resident") / "shim.py")
    return [sys.executable, "-I", "-S", shim, str(place), str(fallback), name]


def _write(script: Path, words: list[str]) -> None:
    script.write_text(
        f'#!/bin/sh\nexec {" ".join(map(shlex.quote, words))} "$@"\n', encoding="utf-8"
    )
    script.chmod(0o755)
