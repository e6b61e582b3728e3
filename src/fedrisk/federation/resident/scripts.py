"""The folder of scripts that goes first in PATH."""

from __future__ import annotations

import shlex
import shutil
import sys
from importlib.resources import files
from pathlib import Path

from fedrisk.errors import FederationError
from fedrisk.federation.resident.server import COMMANDS


def write_scripts(folder: Path, place: Path) -> None:
    """Write a script for each of Flower's commands.

    Parameters
    ----------
    folder : Path
        Goes first in PATH.
    place : Path
        The resident process's socket.

    Raises
    ------
    FederationError
        When Flower's own commands are not beside this interpreter.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shim = str(files("fedrisk.federation.resident") / "shim.py")
    own = str(Path(sys.executable).parent)
    for name in COMMANDS:
        stock = shutil.which(name, path=own)
        if stock is None:
            raise FederationError(
                f"Flower's command {name} is not in {own}", hint="install fedrisk[site,server]"
            )
        words = [sys.executable, "-I", "-S", shim, str(place), stock, name]
        script = folder / name
        script.write_text(
            f'#!/bin/sh\nexec {" ".join(map(shlex.quote, words))} "$@"\n', encoding="utf-8"
        )
        script.chmod(0o755)
