"""Accept the one bundle that this installation would build itself, by its SHA-256.

Flower puts a bundle first on the import path, so a bundled module would shadow an installed one,
and a bundle is the coordinator's to choose. The functions here stand in for Flower's commands
``flwr-clientapp`` and ``flwr-serverapp``: they do the same, but compare a bundle's bytes before
anything is unpacked. Flower's other commands that run what a coordinator names are refused.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from importlib.resources import as_file, files
from pathlib import Path
from types import ModuleType
from typing import Any

from fedrisk.errors import FederationError

logger = logging.getLogger(__name__)

#: Commands by which Flower would run what the coordinator names, and a site never does.
REFUSED_COMMANDS = ("flwr-agentapp", "flwr-connector", "flwr-model", "flwr-simulation")


@lru_cache(maxsize=1)
def own_pin() -> str:
    """SHA-256, in hexadecimal, of the bundle that this installation builds of its own folder."""
    from flwr.cli.build import build_fab_from_disk

    with as_file(files("fedrisk.federation") / "bundle") as folder:
        return hashlib.sha256(build_fab_from_disk(folder)).hexdigest()


def check_bundle(content: bytes, claimed: str, pin: str) -> None:
    """Raise unless these bytes are the pinned bundle.

    Parameters
    ----------
    content : bytes
        The bundle as it came.
    claimed : str
        The hash that came with it; Flower looks for the unpacked bundle by this one.
    pin : str
        The hash to accept.

    Raises
    ------
    FederationError
        Names both hashes.
    """
    found = hashlib.sha256(content).hexdigest()
    if found == pin == claimed:
        return
    raise FederationError(
        f"bundle refused: its SHA-256 is {found}, it claims {claimed or 'none'}, "
        f"and this installation accepts {pin} alone",
        hint="coordinator and sites need the same release of fedrisk and Flower",
    )


def flwr_clientapp() -> None:
    """Run Flower's ``flwr-clientapp`` with the check before the bundle is unpacked."""
    from flwr.supernode.cli import flwr_clientapp as command

    module = import_module("flwr.supernode.runtime.run_clientapp")
    arrived: list[str] = []

    def noting_claim(pull: Callable[..., Any]) -> Callable[..., Any]:
        def pull_noting_claim(client: Any) -> Any:
            message, context, run, bundle = pull(client)
            arrived.append(bundle.hash_str)
            return message, context, run, bundle

        return pull_noting_claim

    _wrap(module, "pull_task_input", noting_claim)
    _wrap(module, "install_from_fab", lambda install: _checked(install, lambda: arrived[-1]))
    command()


def flwr_serverapp() -> None:
    """Run Flower's ``flwr-serverapp`` with the check before the bundle is unpacked."""
    from flwr.superlink.cli import flwr_serverapp as command

    module = import_module("flwr.superlink.runtime.run_serverapp")
    arrived: list[str] = []

    def noting_claim(pull: Callable[..., Any]) -> Callable[..., Any]:
        def from_proto_noting_claim(proto: Any) -> Any:
            bundle = pull(proto)
            arrived.append(bundle.hash_str)
            return bundle

        return from_proto_noting_claim

    _wrap(module, "fab_from_proto", noting_claim)
    _wrap(module, "install_from_fab", lambda install: _checked(install, lambda: arrived[-1]))
    command()


def _wrap(
    module: ModuleType, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Put a function around a module's own; a Flower without that one is an error."""
    function = getattr(module, name, None)
    if not callable(function):
        raise FederationError(f"{module.__name__} has no {name}: another Flower than 1.41")
    setattr(module, name, wrap(function))


def _checked(install: Callable[..., Path], claimed: Callable[[], str]) -> Callable[..., Path]:
    def install_if_pinned(content: bytes, *args: Any, **options: Any) -> Path:
        try:
            check_bundle(content, claimed(), own_pin())
        except FederationError as error:
            logger.error("%s", error.message)
            sys.stderr.write(f"{error.message}\n")
            raise
        return install(content, *args, **options)

    return install_if_pinned


def refuse() -> None:
    """Stand in for a command of `REFUSED_COMMANDS`."""
    name = Path(sys.argv[0]).name
    sys.exit(f"{name} refused: this installation runs its own client and server app, nothing else")


COMMANDS: dict[str, Callable[[], None]] = {
    "flwr-clientapp": flwr_clientapp,
    "flwr-serverapp": flwr_serverapp,
    **dict.fromkeys(REFUSED_COMMANDS, refuse),
}


def main() -> None:
    """Run the command named as the first argument, with the others as its own."""
    sys.argv = sys.argv[1:]
    COMMANDS[Path(sys.argv[0]).name]()


if __name__ == "__main__":
    main()
