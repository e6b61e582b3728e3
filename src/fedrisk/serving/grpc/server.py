"""The gRPC server: in the event loop of the API, on a port of its own."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc import aio

from fedrisk.errors import UsageError
from fedrisk.serving.grpc.service import InferenceService, handlers
from fedrisk.serving.inference import Door

_log = logging.getLogger(__name__)
#: Seconds that running calls have when the server is told to end.
GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM: the certificate with its chain, and its private key."""

    chain: Path
    key: Path

    def credentials(self) -> Any:
        """What gRPC wants; it asks again with each handshake, and gets the files as they are then.

        Raises
        ------
        UsageError
            When a file cannot be read, or the two do not belong together.
        """
        try:
            pair = self._read()
        except OSError as error:
            raise UsageError(f"{error.filename}: {error.strerror}") from None
        except ValueError as error:
            raise UsageError(f"{self.chain} and {self.key}: {error}") from None
        first = grpc.ssl_server_certificate_configuration([pair])
        return grpc.dynamic_ssl_server_credentials(first, self._following(pair))

    def _following(self, pair: tuple[bytes, bytes]) -> Callable[[], Any]:
        """What gives gRPC another pair once there is one; None while there is not."""
        shown, fault = pair, ""

        def again() -> Any:
            nonlocal shown, fault
            try:
                found = self._read()
            except (OSError, ValueError) as error:
                if str(error) != fault:
                    _log.warning("gRPC keeps its certificate: %s: %s", self.chain, error)
                fault = str(error)
                return None
            fault = ""
            if found == shown:
                return None
            shown = found
            return grpc.ssl_server_certificate_configuration([found])

        return again

    def _read(self) -> tuple[bytes, bytes]:
        """Key and chain, checked: gRPC itself would show a pair that does not fit to callers."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from cryptography.x509 import load_pem_x509_certificates

        key, chain = self.key.read_bytes(), self.chain.read_bytes()
        own = load_pem_x509_certificates(chain)[0].public_key()
        if load_pem_private_key(key, None).public_key() != own:
            raise ValueError("certificate and key do not belong together")
        return key, chain


class GrpcServer:
    """The service on a port that this process, or its parent, holds.

    Parameters
    ----------
    door : Door
    held : socket.socket
        From `ports.hold`.
    certificate : Certificate, optional
        Without it the port speaks plain text.
    """

    def __init__(
        self, door: Door, held: socket.socket, certificate: Certificate | None = None
    ) -> None:
        self._door = door
        self._held = held
        self._credentials = certificate and certificate.credentials()
        self._server: Any = None

    async def start(self) -> None:
        """Begin to answer.

        Raises
        ------
        UsageError
            When the port or the certificate cannot be used.
        """
        self._server = aio.server(
            options=(
                ("grpc.so_reuseport", 1),
                ("grpc.max_receive_message_length", self._door.inference.scoring.limit),
            )
        )
        self._server.add_generic_rpc_handlers((handlers(InferenceService(self._door)),))
        address = address_of(self._held)
        try:
            if self._credentials is None:
                self._server.add_insecure_port(address)
            else:
                self._server.add_secure_port(address, self._credentials)
        except RuntimeError:
            raise UsageError(f"gRPC cannot listen on {address}") from None
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, and end when those that run are answered."""
        if self._server is not None:
            await self._server.stop(GRACE)


def address_of(held: socket.socket) -> str:
    """Address of a socket, as gRPC has it."""
    host, port = held.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
