"""Flower's programs as every engine starts them, and its `flwr` command."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from fedrisk.durable import write_private
from fedrisk.errors import FederationError
from fedrisk.federation.guardian import die_with_parent

#: Seconds for one `flwr` command.
COMMAND_SECONDS = 120.0
#: Name of the only connection in Flower's configuration.
CONNECTION = "federation"
#: What SuperLink says of a run to stop that has ended.
ENDED = "Run is already finished."


def superlink_command(folder: Path, port: int, database: Path | None = None) -> list[str]:
    """SuperLink on the loopback interface with the certificates in ``folder``.

    Parameters
    ----------
    folder : Path
        Holds ``ca.crt``, ``server.crt`` and ``server.key``.
    port : int
    database : Path, optional
        Keeps nodes and runs over a restart; without it they are in memory.
    """
    return [
        "flower-superlink",
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--ssl-certfile", str(folder.resolve() / "server.crt")),
        *("--ssl-keyfile", str(folder.resolve() / "server.key")),
        *("--ssl-ca-certfile", str(folder.resolve() / "ca.crt")),
        *(("--database", str(database.resolve())) if database is not None else ()),
        "--enable-supernode-auth",
        "--disable-runtime-dependency-installation",
    ]


def supernode_command(
    superlink: str, authorities: Path, key: Path, own_port: int, config: Path
) -> list[str]:
    """SuperNode that reaches ``superlink`` (``HOST:PORT``) by TLS and signs with ``key``.

    Parameters
    ----------
    superlink : str
    authorities : Path
        Certificates of the authorities to trust, PEM.
    key : Path
        The site's private key, OpenSSH format.
    own_port : int
        Loopback port of the SuperNode's own interface to its processes.
    config : Path
        Node configuration, TOML.
    """
    return [
        "flower-supernode",
        *("--superlink", superlink, "--root-certificates", str(authorities.resolve())),
        *("--auth-supernode-private-key", str(key.resolve()), "--port", str(own_port)),
        *("--node-config", str(config.resolve())),
    ]


def write_connection(flower_home: Path, port: int, authority: Path) -> None:
    """Tell `flwr` where SuperLink listens: ``config.toml`` in Flower's home."""
    values = {"address": f"127.0.0.1:{port}", "root-certificates": str(authority.resolve())}
    text = f'[superlink]\ndefault = "{CONNECTION}"\n\n[superlink.{CONNECTION}]\n'
    write_private(flower_home / "config.toml", (text + toml_strings(**values)).encode())


def toml_strings(**values: str) -> str:
    r"""Keys with strings as TOML, whose basic strings are those of JSON.

    >>> toml_strings(site='a "b"')
    'site = "a \\"b\\""\n'
    """
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()
    )


@dataclass(frozen=True)
class Control:
    """SuperLink's Control API by Flower's own command.

    Attributes
    ----------
    environment : mapping
        Names Flower's home, where the connection is written, and the PATH to find `flwr` by.
    log : Path
        Everything the commands print is appended here.
    """

    environment: Mapping[str, str]
    log: Path

    def reachable(self) -> bool:
        """Whether something listens where Flower's configuration says that SuperLink does."""
        config = Path(self.environment["FLWR_HOME"]) / "config.toml"
        try:
            told = tomllib.loads(config.read_text(encoding="utf-8"))
            host, _, port = told["superlink"][CONNECTION]["address"].rpartition(":")
            with socket.create_connection((host, int(port)), timeout=0.5):
                return True
        except (OSError, ValueError, KeyError):  # not written yet, or not listening yet
            return False

    def register(self, public_key: Path) -> str:
        """Register a SuperNode's public key; return the node's id."""
        return str(self._json("supernode", "register", str(public_key), CONNECTION)["node-id"])

    def unregister(self, node: str) -> None:
        """Refuse a node from now on."""
        self._json("supernode", "unregister", node, CONNECTION)

    def nodes(self) -> dict[str, dict[str, Any]]:
        """Registered nodes by id: ``status`` and times, as Flower tells them."""
        listed = self._json("supernode", "list", CONNECTION)["nodes"]
        return {str(node["node-id"]): node for node in listed}

    def run(self, config: Path) -> str:
        """Submit the installed bundle with this run configuration; return Flower's run id."""
        with as_file(files("fedrisk.federation") / "bundle") as bundle:
            told = self._json("run", str(bundle), CONNECTION, "--run-config", str(config))
        return str(told["run-id"])

    def stop(self, run: str) -> None:
        """Stop a run by Flower's run id; one that has ended by itself meanwhile is no failure."""
        try:
            self._json("stop", run, CONNECTION)
        except FederationError as error:
            if ENDED not in error.message:
                raise

    def _json(self, *arguments: str) -> dict[str, Any]:
        program = shutil.which("flwr", path=self.environment["PATH"]) or "flwr"
        try:
            done = subprocess.run(  # noqa: S603 Flower's own command, found by PATH
                [program, *arguments, "--format", "json"],
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=COMMAND_SECONDS,
                check=False,
                # Ctrl-C is its owner's to hear, who may let it finish what it submits.
                process_group=0,
                # Of an owner that is killed no command is left, to register what nobody notes.
                preexec_fn=die_with_parent,
            )
        except subprocess.TimeoutExpired:
            raise self._failed(arguments, f"no answer within {COMMAND_SECONDS:g} s") from None
        with self.log.open("a", encoding="utf-8") as log:
            log.write(done.stdout + done.stderr)
        told = read_document(done.stdout)
        if done.returncode or not told.get("success"):
            lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
            reason = told.get("error-message") or (lines[-1] if lines else str(done.returncode))
            raise self._failed(arguments, str(reason).strip())
        return told

    def _failed(self, arguments: tuple[str, ...], reason: str) -> FederationError:
        named = " ".join(word for word in arguments[:2] if word.isalpha())
        return FederationError(f"flwr {named} failed: {reason}", hint=f"its log: {self.log}")


def read_document(text: str) -> dict[str, Any]:
    """The JSON object in what a command printed, whatever stands around it; empty if none.

    >>> read_document('a note {"success": true} and more')
    {'success': True}
    """
    start = text.find("{")
    while start >= 0:
        try:
            found, _ = json.JSONDecoder().raw_decode(text[start:])
        except ValueError:
            start = text.find("{", start + 1)
            continue
        return dict(found) if isinstance(found, dict) else {}
    return {}
