"""Brings the registry's champion into a home's cache, in a process of its own.

Run as ``python -m fedrisk.serving.refresh HOME [VERSION]``: with a version it brings that one into
a cache of its own. It imports MLflow, so that the serving process never does, and prints one JSON
object.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from fedrisk.errors import FedriskError, RegistryError
from fedrisk.home import Home
from fedrisk.settings import process_environment, read_settings

#: Seconds that the registry has for an answer, and a server that is away to take a connection.
PATIENCE, AWAY = 180.0, 10.0
#: Seconds between two attempts to connect.
PAUSE = 0.5


def refresh_from(
    home: Home,
    registry: str | None,
    patience: float = PATIENCE,
    away: float = AWAY,
    version: str | None = None,
) -> None:
    """Let a home's cache follow a registry's aliases, once, or pin one version.

    Parameters
    ----------
    home : Home
    registry : str or None
        Address of the MLflow server or store; None is the one that settings name.
    patience : float
        Seconds for the whole.
    away : float
        Seconds for a server to take a connection: asked before anything heavy is loaded.
    version : str, optional
        Bring this version into ``home.pinned(version)``, and nothing else.

    Raises
    ------
    RegistryError
        When nobody listens there, or with what the child process said.
    """
    environment = process_environment()
    if registry is not None:
        _await_server(registry, away)
        environment["FEDRISK_TRACKING_URI"] = registry
    command = [sys.executable, "-m", "fedrisk.serving.refresh", str(home.root)]
    command += [] if version is None else [version]
    try:
        done = subprocess.run(  # noqa: S603 our own module
            command, env=environment, capture_output=True, timeout=patience, check=False
        )
    except subprocess.TimeoutExpired:
        raise RegistryError(f"the registry did not answer within {patience:g} s") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise RegistryError(
            f"the registry could not be read: {lines[-1] if lines else 'no message'}"
        ) from None
    if "error" in answer:
        raise RegistryError(answer["error"], hint=answer["hint"])


def _await_server(registry: str, seconds: float) -> None:
    """Wait until a server takes a connection; one behind a proxy is left to the child."""
    parts = urlsplit(registry)
    host, scheme = parts.hostname, parts.scheme
    if host is None or scheme not in ("http", "https"):
        return
    if scheme in getproxies() and not proxy_bypass(host):
        return
    port = parts.port or (443 if scheme == "https" else 80)
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((host, port), max(end - time.monotonic(), PAUSE)).close()
        except OSError as error:
            if time.monotonic() + PAUSE > end:
                raise RegistryError(
                    f"the registry is away: {host} port {port} took no connection within "
                    f"{seconds:g} s ({error.strerror or error})",
                    hint="check that the server runs and that --registry names it",
                ) from None
            time.sleep(PAUSE)
        else:
            return


def main(arguments: list[str]) -> dict[str, object]:
    """Refresh the cache of the home that is named, from the registry that settings name."""
    from fedrisk.registry.fetch import pin_version
    from fedrisk.registry.promotion import refresh_cache

    try:
        if len(arguments) > 1:
            pinned = pin_version(Home(Path(arguments[0])), read_settings(), arguments[1])
            return {"pinned": pinned.version}
        refreshed = refresh_cache(Home(Path(arguments[0])), read_settings())
    except FedriskError as error:
        return {"error": error.message, "hint": error.hint}
    return {"champion": refreshed.champion, "changed": refreshed.changed}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1:])) + "\n")
