"""The coordinator's folder: what it hands out, and changes of certificate that lose no site."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)

from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.provisioning import coordinator
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.site import SiteFolder

NOW = datetime.now(UTC)


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path / "fed", new_settings(["127.0.0.1"], 9092), NOW)


@pytest.fixture
def site(federation: Federation, tmp_path: Path) -> SiteFolder:
    (tmp_path / "rows.csv").write_text("age\n1\n", encoding="utf-8")
    bundle = federation.invite("north", NOW)
    return SiteFolder.create(tmp_path / "north", bundle, tmp_path / "rows.csv")


def test_an_address_of_version_six_is_told_in_brackets(tmp_path: Path) -> None:
    made = Federation.create(tmp_path / "six", new_settings(["::1", "Name"], 9092), NOW)
    assert made.superlink == "[::1]:9092"
    assert made.reached_at("[::1]:443") == "[::1]:443"
    assert made.reached_at("name:443") == "name:443"
    for wrong in ("::1:443", "[::1]", "[name]:443", "name:0", "name:"):
        with pytest.raises(FederationError, match="is not HOST:PORT"):
            made.reached_at(wrong)


def accepted(folder: Path, authorities: Path) -> bool:
    """Whether a client that trusts these authorities accepts the coordinator's certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.crt", folder / "server.key")
    client = ssl.create_default_context(cafile=authorities)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
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
                client.wrap_socket(raw, server_hostname="127.0.0.1"),
            ):
                return True
        except ssl.SSLError:
            return False
        finally:
            thread.join(10)


def secrets(folder: Path) -> list[bytes]:
    """The secret number of every private key below a folder."""
    found = []
    for path in folder.rglob("*.key"):
        content = path.read_bytes()
        openssh = b"OPENSSH" in content
        key = (load_ssh_private_key if openssh else load_pem_private_key)(content, None)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            found.append(key.private_bytes_raw())
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            found.append(key.private_numbers().private_value.to_bytes(48, "big"))
    return found


def holds(text: str, secret: bytes) -> bool:
    """Whether a text holds these bytes, as they are, in hexadecimal, or within Base64."""
    joined = re.sub(r"-----[^-]*-----", " ", text).replace("\\n", "").replace("\n", "")
    blobs = re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", joined)
    decoded = [
        base64.b64decode(blob + "=" * (-len(blob) % 4)) for blob in blobs if len(blob) % 4 != 1
    ]
    return secret.hex() in text.lower() or any(secret in blob for blob in decoded)


def test_no_document_holds_a_private_key(
    federation: Federation, site: SiteFolder, tmp_path: Path
) -> None:
    site.next_request()
    documents = {
        "bundle": federation.invite("south", NOW),
        "request": site.request(),
        "update": federation.begin_authority(NOW),
        "last update": federation.finish_authority(NOW),
    }
    private = [*secrets(federation.folder), *secrets(site.folder)]
    assert len(private) == 6
    for path in (federation.folder / "ca.key", site.key):
        assert sum(holds(path.read_text(encoding="utf-8"), secret) for secret in private) == 1
    for name, document in documents.items():
        document.write(tmp_path / "document.json")
        text = (tmp_path / "document.json").read_text(encoding="utf-8")
        assert "PRIVATE" not in text, name
        assert not any(holds(text, secret) for secret in private), name


def test_a_new_certificate_is_of_the_same_authority(
    federation: Federation, site: SiteFolder
) -> None:
    shown = (federation.folder / "server.crt").read_bytes()
    federation.renew_server(NOW)
    assert (federation.folder / "server.crt").read_bytes() != shown
    assert accepted(federation.folder, site.authorities)


def test_a_change_of_authority_loses_no_site(
    federation: Federation, site: SiteFolder, tmp_path: Path
) -> None:
    never_updated = tmp_path / "old.crt"
    never_updated.write_bytes(site.authorities.read_bytes())
    for _ in range(2):
        site.trust(federation.begin_authority(NOW))
        for authorities in (site.authorities, never_updated):
            assert accepted(federation.folder, authorities)
        last = federation.finish_authority(NOW)
        for authorities in (site.authorities, never_updated):
            assert accepted(federation.folder, authorities)
        site.trust(last)
        assert accepted(federation.folder, site.authorities)
        assert site.authorities.read_text().count("BEGIN CERTIFICATE") == 1


def test_a_foreign_coordinator_is_not_accepted(
    federation: Federation, site: SiteFolder, tmp_path: Path
) -> None:
    other = Federation.create(tmp_path / "other", new_settings(["127.0.0.1"], 9092), NOW)
    assert not accepted(other.folder, site.authorities)
    other.begin_authority(NOW)
    other.finish_authority(NOW)
    assert not accepted(other.folder, site.authorities)


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_change_of_authority_that_was_cut_off_is_finished(
    federation: Federation, site: SiteFolder, moved: int
) -> None:
    federation.begin_authority(NOW)
    following = federation.folder / "next"
    federation._add_cross((following / "cross.crt").read_text(encoding="utf-8"))
    for name in ("ca.key", "ca.crt")[:moved]:
        (following / name).replace(federation.folder / name)
    federation.finish_authority(NOW)
    assert accepted(federation.folder, site.authorities)
    assert (federation.folder / "cross.crt").read_text().count("BEGIN CERTIFICATE") == 1
    assert not following.exists()
    with pytest.raises(FederationError, match="no change"):
        federation.finish_authority(NOW)


def test_a_change_that_was_begun_twice_is_one(federation: Federation) -> None:
    first = federation.begin_authority(NOW)
    second = federation.begin_authority(NOW + timedelta(days=1))
    assert first.authorities == second.authorities


def test_a_request_is_for_its_own_federation_and_site(
    federation: Federation, site: SiteFolder, tmp_path: Path
) -> None:
    request = site.request()
    assert federation.check_request("north", request) == request
    with pytest.raises(FederationError, match="not 'south'"):
        federation.check_request("south", request)
    other = Federation.create(tmp_path / "other", new_settings(["127.0.0.1"], 9092), NOW)
    with pytest.raises(FederationError, match="another federation"):
        other.check_request("north", request)


def test_one_process_a_federation(federation: Federation) -> None:
    with (
        federation.running_alone(),
        pytest.raises(HomeError, match="another process"),
        federation.running_alone(),
    ):
        pass


def test_a_folder_is_opened_as_it_was_made(federation: Federation) -> None:
    assert Federation.open(federation.folder) == federation


def test_a_folder_of_a_newer_release_is_refused(federation: Federation) -> None:
    path = federation.folder / "federation.toml"
    path.write_text(path.read_text().replace("format = 1", "format = 2"), encoding="utf-8")
    with pytest.raises(HomeError, match="format 2"):
        Federation.open(federation.folder)


@pytest.mark.parametrize("name", ["ca.crt", "server.crt", "sites.json", "federation.toml"])
def test_a_file_that_is_missing_is_told(federation: Federation, name: str) -> None:
    (federation.folder / name).unlink()
    with pytest.raises((FederationError, HomeError), match=name):
        Federation.open(federation.folder)


@pytest.mark.parametrize(("host", "told"), [("::1", "[::1]:9092"), ("a.example", "a.example:9092")])
def test_where_sites_connect(tmp_path: Path, host: str, told: str) -> None:
    made = Federation.create(tmp_path / "f", new_settings([host], 9092), NOW)
    assert made.superlink == told


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(FederationError, match="port"):
        new_settings(["a.example"], 70_000)
    with pytest.raises(FederationError, match="hosts"):
        coordinator.new_settings([], 9092)
