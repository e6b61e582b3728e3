"""Certificates that a TLS client accepts for the names given, and keys only their owner reads."""

from __future__ import annotations

import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    load_ssh_private_key,
    load_ssh_public_key,
)

from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.keys import make_site_key

NOW = datetime.now(UTC)


def handshake(folder: Path, authority: Path, name: str) -> str | None:
    """Connect by TLS to a server with the folder's certificate; None when it is accepted."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=authority)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            try:
                server.wrap_socket(connection, server_side=True).close()
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as raw,
                client.wrap_socket(raw, server_hostname=name),
            ):
                return None
        except ssl.SSLError as error:
            return str(error)
        finally:
            thread.join(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path, NOW)
    make_server_certificate(tmp_path, ["127.0.0.1", "coordinator.example"], NOW)
    return tmp_path


@pytest.mark.parametrize("name", ["127.0.0.1", "coordinator.example"])
def test_certificate_is_accepted_for_its_names(folder: Path, name: str) -> None:
    assert handshake(folder, folder / "ca.crt", name) is None


def test_certificate_is_refused_for_another_name(folder: Path) -> None:
    assert "mismatch" in (handshake(folder, folder / "ca.crt", "elsewhere.example") or "")


def test_foreign_authority_is_refused(folder: Path, tmp_path: Path) -> None:
    foreign, _ = make_authority(tmp_path / "foreign", NOW)
    assert "verify failed" in (handshake(folder, foreign, "127.0.0.1") or "")


def test_expired_certificate_is_refused(folder: Path) -> None:
    make_server_certificate(folder, ["127.0.0.1"], NOW - timedelta(days=400))
    assert "expired" in (handshake(folder, folder / "ca.crt", "127.0.0.1") or "")


def test_clock_an_hour_behind_is_accepted(folder: Path) -> None:
    make_server_certificate(folder, ["127.0.0.1"], NOW + timedelta(minutes=59))
    assert handshake(folder, folder / "ca.crt", "127.0.0.1") is None


def test_private_files_are_their_owner_s(folder: Path) -> None:
    private, _ = make_site_key(folder, "north")
    for path in (private, folder / "ca.key", folder / "server.key"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_site_key_is_a_pair_that_flower_reads(folder: Path) -> None:
    private, public = make_site_key(folder, "north")
    key = load_ssh_private_key(private.read_bytes(), None)
    shown = load_ssh_public_key(public.read_bytes())
    assert key.public_key().public_numbers() == shown.public_numbers()  # type: ignore[union-attr]
    assert key.curve.name == "secp384r1"  # type: ignore[union-attr]
