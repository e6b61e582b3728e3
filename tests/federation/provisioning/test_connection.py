"""What stands between a site and its coordinator is told in plain words."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE

from fedrisk import __version__
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.connection import (
    LARGEST_LAG,
    LARGEST_LEAD,
    clock_fault,
    fault,
    release_fault,
)

Serve = Callable[[Path], str]


def clock() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve ``GET /health`` with a folder's certificate; a file ``cut`` in it cuts answers."""
    servers: list[HTTPServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"fedrisk": __version__}).encode()
            self.send_response(200)
            cut = self.server.folder / "cut"  # type: ignore[attr-defined]
            self.send_header("Content-Length", str(len(body) + cut.exists()))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(HTTPServer):
        folder: Path

        def handle_error(self, *_: object) -> None:
            """A client that refuses the certificate is what the tests are about."""

    def begin(folder: Path) -> str:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "server.crt", folder / "server.key")
        server = Quiet(("127.0.0.1", 0), Handler)
        server.folder = folder
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_address[1]}"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path, clock())
    return tmp_path


def test_nothing_stands_between(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["127.0.0.1"], clock())
    assert fault(serve(folder), folder / "ca.crt", clock) == ""


def test_an_expired_certificate(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["127.0.0.1"], clock() - timedelta(days=400))
    assert "has expired" in fault(serve(folder), folder / "ca.crt", clock)


def test_a_certificate_of_the_future(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["127.0.0.1"], clock() + timedelta(hours=3))
    assert "not valid yet" in fault(serve(folder), folder / "ca.crt", clock)


def test_a_certificate_for_another_name(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["elsewhere.example"], clock())
    assert "another name" in fault(serve(folder), folder / "ca.crt", clock)


def test_a_foreign_certificate(folder: Path, serve: Serve) -> None:
    foreign, _ = make_authority(folder / "foreign", clock())
    make_server_certificate(folder, ["127.0.0.1"], clock())
    assert "not of this federation's authority" in fault(serve(folder), foreign, clock)


def test_a_self_signed_certificate(folder: Path, serve: Serve) -> None:
    own = folder / "own"
    make_authority(own, clock())
    for kind in ("crt", "key"):
        (own / f"ca.{kind}").replace(own / f"server.{kind}")
    assert "not of this federation's authority" in fault(serve(own), folder / "ca.crt", clock)


def test_an_answer_that_breaks_off(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["127.0.0.1"], clock())
    (folder / "cut").touch()
    assert "cannot be reached: IncompleteRead" in fault(serve(folder), folder / "ca.crt", clock)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_a_key_with_a_passphrase(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["127.0.0.1"], clock())
    words = ["-q", "-t", "ecdsa", "-b", "384", "-N", "secret", "-f"]
    subprocess.run(["ssh-keygen", *words, str(folder / "node.key")], check=True)
    told = fault(serve(folder), folder / "ca.crt", clock, folder / "node.key")
    assert told.startswith("no private key can be read from")


def test_nobody_listens(folder: Path) -> None:
    (port,) = free_ports(1)
    assert "cannot be reached" in fault(f"127.0.0.1:{port}", folder / "ca.crt", clock)


def test_a_clock_that_is_an_hour_off(folder: Path, serve: Serve) -> None:
    make_server_certificate(folder, ["127.0.0.1"], clock())
    where = serve(folder)
    told = fault(where, folder / "ca.crt", lambda: clock() - timedelta(hours=1))
    assert "behind the coordinator's" in told
    assert "NTP" in told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-3600, "behind"), (-301, "behind"), (-299, ""), (0, ""), (3, ""), (5, "ahead of")],
)
def test_a_clock_may_be_minutes_behind_but_hardly_ahead(seconds: int, told: str) -> None:
    shown = "Thu, 01 Jan 2026 12:00:00 GMT"
    now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC) + timedelta(seconds=seconds)
    found = clock_fault(shown, now, now)
    assert told in found
    assert bool(found) == bool(told)


@pytest.mark.parametrize("told_after", [0, 10, 40, 60])
def test_a_slow_answer_is_no_fault_of_a_clock(told_after: int) -> None:
    """Whenever within a slow answer a coordinator with the same clock reads it."""
    asked = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    shown = format_datetime(asked + timedelta(seconds=told_after), usegmt=True)
    assert clock_fault(shown, asked, asked + timedelta(seconds=60)) == ""


def test_flower_accepts_every_clock_that_is_no_fault() -> None:
    """As `authenticate_node` judges a signed time: its age is above one and below the other."""
    ahead, behind = -SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE
    whole = timedelta(seconds=1)  # the header tells no part of a second
    assert ahead < -(LARGEST_LEAD.total_seconds())
    assert (LARGEST_LAG + whole).total_seconds() < behind


@pytest.mark.parametrize("shown", [None, "", "yesterday"])
def test_a_coordinator_that_tells_no_time(shown: str | None) -> None:
    assert clock_fault(shown, clock(), clock()) == ""


def test_releases_that_must_not_meet() -> None:
    assert release_fault(json.dumps({"fedrisk": __version__}).encode()) == ""
    assert "fedrisk 99.0.0" in release_fault(b'{"fedrisk": "99.0.0"}')
    for other in (b"", b"[]", b"<html>", b"{}", b"\xff"):
        assert "not a fedrisk coordinator" in release_fault(other)


def test_authorities_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("nothing", encoding="utf-8")
    assert "cannot be read" in fault("127.0.0.1:9", tmp_path / "ca.crt", clock)
