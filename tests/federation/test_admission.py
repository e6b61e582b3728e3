"""Who the door lets in: real keys and signatures, made by Flower's own code and by ours."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from federation.door import SuperLink, ask, door, quiet, serving
from flwr.common import constant
from flwr.supercore import constant as names
from flwr.supercore.error import ApiErrorCode, FlowerError
from flwr.supercore.error.catalog import API_ERROR_MAP
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from running import wait_until

from fedrisk import __version__
from fedrisk.cli.gateway import ImpatientProtocol, configure
from fedrisk.errors import FederationError
from fedrisk.federation.admission import UNKNOWN, UNPROVEN, UNSIGNED, Admission, Standing
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.gateway import make_gateway
from fedrisk.federation.provisioning import signatures
from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.connection import FLOWERS_LAG, FLOWERS_LEAD, fault
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.provisioning.documents import JoinBundle
from fedrisk.federation.provisioning.site import SiteFolder

PULL = "/v1/fleet/pull-messages"


def clock() -> datetime:
    return datetime.now(UTC)


class Members:
    """A federation with one approved site, ``north``, and one that nobody has approved."""

    def __init__(self, folder: Path) -> None:
        settings = new_settings(["127.0.0.1"], 9, listen="127.0.0.1")
        self.federation = Federation.create(folder / "fed", settings, clock())
        self.rows = folder / "rows.csv"
        self.rows.write_text("a\n1\n")
        self.folder = folder
        self.north = self.join("north")
        self.approve("north", self.north)
        self.stranger = self.join("stranger")
        self.admission = Admission(self.federation.members, clock)

    def join(self, name: str) -> SiteFolder:
        bundle: JoinBundle = self.federation.invite(name, clock())
        return SiteFolder.create(self.folder / name, bundle, self.rows)

    def approve(self, name: str, site: SiteFolder) -> None:
        self.federation.approve(name, site.request(), clock())

    def judge(self, headers: dict[str, str]) -> Standing:
        return self.admission.judge(raw(headers))


@pytest.fixture
def members(tmp_path: Path) -> Members:
    return Members(tmp_path)


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def signed(site: SiteFolder, lead: timedelta = timedelta(0)) -> dict[str, str]:
    return signatures.signed_headers(site.key, clock() + lead)


def by_flower(site: SiteFolder) -> dict[str, str]:
    """What a SuperNode started with this key adds to its calls."""
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    key = load_ssh_private_key(site.key.read_bytes(), None)
    interceptor = NodeAuthHttpInterceptor(key, key.public_key())  # type: ignore[arg-type, union-attr]
    request = httpx.Request("POST", "http://x/")
    before = set(request.headers)
    interceptor.intercept(SimpleNamespace(request=request), lambda _: None)  # type: ignore[arg-type, return-value]
    return {name: value for name, value in request.headers.items() if name not in before}


def test_names_and_window_are_flower_s() -> None:
    ours = (signatures.PUBLIC_KEY, signatures.TIMESTAMP, signatures.SIGNATURE)
    theirs = (names.FLEET_HTTP_PUBLIC_KEY_HEADER, names.FLEET_HTTP_SIGNATURE_HEADER)
    assert ours == (theirs[0], constant.TIMESTAMP_HEADER, theirs[1])
    drift = constant.SYSTEM_TIME_TOLERANCE
    assert timedelta(seconds=drift) == FLOWERS_LEAD
    assert timedelta(seconds=drift + constant.TIMESTAMP_TOLERANCE) == FLOWERS_LAG


def test_flower_s_own_signature_lets_an_approved_site_in(members: Members) -> None:
    assert members.judge(by_flower(members.north)) == Standing("north")
    assert set(by_flower(members.north)) == set(signed(members.north))


def test_flower_takes_our_signature_for_its_own(members: Members) -> None:
    from base64 import b64decode

    from flwr.supercore.primitives.asymmetric import bytes_to_public_key, verify_signature

    made = signed(members.north)
    key = bytes_to_public_key(b64decode(made[signatures.PUBLIC_KEY]))
    proof = b64decode(made[signatures.SIGNATURE])
    assert verify_signature(key, made[signatures.TIMESTAMP].encode("ascii"), proof)


def test_a_key_that_nobody_approved(members: Members) -> None:
    assert members.judge(by_flower(members.stranger)) == Standing(reason=UNKNOWN)


def test_a_removed_site_is_refused_with_its_next_call(members: Members) -> None:
    assert members.judge(signed(members.north)).reason == ""
    members.federation.remove("north", clock())
    assert members.judge(signed(members.north)) == Standing(
        "north", "site 'north' was removed from this federation"
    )


def test_a_rotated_key_is_refused_and_the_next_one_let_in(members: Members) -> None:
    former = signed(members.north)
    members.north.next_request()
    members.approve("north", members.north)
    assert "was given up" in members.judge(former).reason
    assert members.north.take_next_key()
    assert members.judge(signed(members.north)) == Standing("north")


def test_a_removed_site_that_is_invited_again_comes_by_a_new_key_alone(members: Members) -> None:
    members.federation.remove("north", clock())
    members.federation.invite("north", clock())
    assert "was given up" in members.judge(signed(members.north)).reason


@pytest.mark.parametrize("name", [signatures.SIGNATURE, signatures.TIMESTAMP])
def test_a_signature_of_something_else(members: Members, name: str) -> None:
    other = signed(members.north, timedelta(seconds=-1))
    changed = signed(members.north) | {name: other[name]}
    assert members.judge(changed) == Standing(reason=UNPROVEN)


def test_another_s_signature_under_a_known_key(members: Members) -> None:
    theirs = signatures.signed_headers(members.stranger.key, clock())
    named = {signatures.PUBLIC_KEY: signed(members.north)[signatures.PUBLIC_KEY]}
    assert members.judge(theirs | named) == Standing(reason=UNPROVEN)
    members.federation.remove("north", clock())
    # Who the sites were, and what became of them, is told to the owners of their keys alone.
    assert members.judge(theirs | named) == Standing(reason=UNPROVEN)


@pytest.mark.parametrize(
    ("lead", "told"),
    [(-3600, "3600 s behind"), (3600, "3600 s ahead of"), (-306, "306 s behind"), (6, "ahead of")],
)
def test_a_time_outside_the_window_tells_by_how_much(
    members: Members, lead: int, told: str
) -> None:
    """Also what a call is refused by that somebody recorded and sends again later."""
    standing = members.judge(signed(members.north, timedelta(seconds=lead)))
    assert standing.site == "north"
    assert told in standing.reason


@pytest.mark.parametrize("lead", [-300, 0, 3])
def test_a_time_within_the_window(members: Members, lead: int) -> None:
    assert members.judge(signed(members.north, timedelta(seconds=lead))) == Standing("north")


@pytest.mark.parametrize(
    "change",
    [
        {signatures.PUBLIC_KEY: "not base64 !"},
        {signatures.PUBLIC_KEY: ""},
        {signatures.SIGNATURE: "%%%"},
        {signatures.TIMESTAMP: "yesterday"},
        {signatures.TIMESTAMP: "2026-01-01T00:00:00"},
        {signatures.TIMESTAMP: "é"},
    ],
)
def test_garbage_is_no_signature(members: Members, change: dict[str, str]) -> None:
    assert members.judge(signed(members.north) | change).reason in (UNSIGNED, UNKNOWN)
    assert members.judge(signed(members.north) | change).site == ""


def test_a_signature_that_is_no_signature(members: Members) -> None:
    empty = {signatures.SIGNATURE: b64encode(b"x" * 5000).decode()}
    assert members.judge(signed(members.north) | empty) == Standing(reason=UNPROVEN)


@pytest.mark.parametrize("left_out", [*range(3)])
def test_a_header_that_is_missing_or_there_twice(members: Members, left_out: int) -> None:
    headers = raw(signed(members.north))
    assert members.admission.judge(headers[:left_out] + headers[left_out + 1 :]).reason == UNSIGNED
    assert members.admission.judge([*headers, headers[left_out]]).reason == UNSIGNED


def test_a_list_of_sites_that_cannot_be_read_lets_nobody_in(members: Members) -> None:
    assert members.judge(signed(members.north)) == Standing("north")
    members.federation.members.path.write_text("{")
    with pytest.raises(FederationError):
        members.judge(signed(members.north))


@pytest.fixture
def superlink() -> SuperLink:
    return SuperLink()


@pytest.fixture
def upstream(superlink: SuperLink) -> Iterator[int]:
    (port,) = free_ports(1)
    with serving(quiet(superlink, port, lifespan="off")):
        yield port


@pytest.fixture
def address(members: Members, upstream: int) -> Iterator[str]:
    with door(upstream, judge=members.admission.judge) as address:
        yield address


def test_the_door_lets_a_site_in_and_tells_a_stranger_why_not(
    members: Members, address: str, superlink: SuperLink
) -> None:
    own = by_flower(members.north)
    assert httpx.post(address + PULL, content=b"x", headers=own).content == b"x"
    for headers, reason in (({}, UNSIGNED), (by_flower(members.stranger), UNKNOWN)):
        refused = httpx.post(address + PULL, content=b"x", headers=headers)
        assert (refused.status_code, refused.json()) == (401, {"detail": reason})
    assert len(superlink.requests) == 1


def test_a_supernode_that_is_not_let_in_is_told_the_reason_as_flower_tells_it(
    members: Members, address: str, superlink: SuperLink
) -> None:
    """It prints that and ends; 401 would end it without a word, and it would try no other key."""
    call = address + "/v1/fleet/activate-node"
    refused = httpx.post(call, content=b"x", headers=by_flower(members.stranger))
    told = FlowerError.from_json(refused.text)
    spec = API_ERROR_MAP[ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED]
    assert told is not None
    assert told.code == ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED
    assert (told.message, told.public_details) == (spec.public_message, UNKNOWN)
    assert refused.status_code == spec.http_status_code
    assert superlink.requests == []


def test_a_site_that_is_removed_while_its_call_is_answered_makes_no_other(
    members: Members, address: str, superlink: SuperLink
) -> None:
    with httpx.Client(base_url=address) as site:
        assert site.post(PULL, content=b"x", headers=signed(members.north)).status_code == 200
        members.federation.remove("north", clock())
        refused = site.post(PULL, content=b"x", headers=signed(members.north))
    assert refused.status_code == 401
    assert "was removed" in refused.json()["detail"]
    assert len(superlink.requests) == 1


def test_a_stranger_s_body_is_not_read(members: Members, address: str) -> None:
    """The refusal comes before the first byte of a body that never comes."""
    head = f"POST {PULL} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"
    assert ask(address, head.encode())[0] == 401


def test_who_signs_is_told_its_standing(members: Members, address: str) -> None:
    assert httpx.get(address + "/site", headers=signed(members.north)).json() == {"site": "north"}
    assert httpx.get(address + "/site").status_code == 401
    assert httpx.post(address + "/site", headers=signed(members.north)).status_code == 404


def test_a_list_of_sites_that_cannot_be_read_is_told_as_busy(
    members: Members, address: str
) -> None:
    """A SuperNode tries again then, and does not end."""
    members.federation.members.path.write_text("{")
    answer = httpx.post(address + PULL, content=b"x", headers=signed(members.north))
    assert answer.status_code == 503


def test_one_site_leaves_room_for_others(
    members: Members, upstream: int, superlink: SuperLink
) -> None:
    superlink.hold = threading.Event()
    with door(upstream, judge=members.admission.judge, largest_number_a_site=1) as address:
        first = threading.Thread(
            target=lambda: httpx.post(
                address + PULL, content=b"1", headers=signed(members.north), timeout=20
            )
        )
        first.start()
        while not superlink.requests:
            time.sleep(0.01)
        second = httpx.post(address + PULL, content=b"2", headers=signed(members.north))
        assert (second.status_code, "of this site" in second.text) == (503, True)
        superlink.hold.set()
        superlink.hold = None
        first.join(20)
        assert httpx.post(address + PULL, headers=signed(members.north)).status_code == 200


def test_refusals_fill_no_log(
    members: Members, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        httpx.post(address + PULL, content=b"x")
        httpx.post(address + PULL, headers=signed(members.north, timedelta(hours=1)))
    told = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert [bool(re.search(r"refused site north: .* 3600 s ahead", line)) for line in told] == [
        False,
        True,
    ]


class Patient(ImpatientProtocol):
    """Only the number of strangers is bounded here."""

    stranger_seconds = 600.0
    largest_strangers = 50


def connected(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=20)


def is_closed(stranger: socket.socket) -> bool:
    """Whether the door has closed a connection, within its time limit."""
    try:
        return stranger.recv(10) == b""
    except ConnectionResetError:
        return True


def test_two_hundred_idle_strangers_keep_no_site_out(
    members: Members, upstream: int, superlink: SuperLink
) -> None:
    """The oldest of them lose their connections; a site's stays, though it was there before."""
    own = {"protocol": Patient, "judge": members.admission.judge}
    with door(upstream, **own) as address, ExitStack() as stack, httpx.Client() as site:
        assert site.post(address + PULL, headers=signed(members.north)).status_code == 200
        idle = [stack.enter_context(closing(connected(address))) for _ in range(200)]
        for number, stranger in enumerate(idle):
            if number % 2:
                stranger.sendall(f"POST {PULL} HTTP/1.1\r\nHost: x\r\nX: ".encode())
        for stranger in idle[: 200 - Patient.largest_strangers]:
            assert is_closed(stranger)
        assert site.post(address + PULL, headers=signed(members.north)).status_code == 200
        with httpx.Client() as another:
            assert another.post(address + PULL, headers=signed(members.north)).status_code == 200


@pytest.mark.parametrize("slowly", [False, True])
def test_a_stranger_s_headers_have_a_deadline(
    members: Members, upstream: int, slowly: bool
) -> None:
    """However steadily their letters come."""

    class Hasty(ImpatientProtocol):
        stranger_seconds = 0.3

    own = {"protocol": Hasty, "judge": members.admission.judge}
    with door(upstream, **own) as address, closing(connected(address)) as stranger:
        stranger.sendall(f"POST {PULL} HTTP/1.1\r\n".encode())
        stranger.settimeout(0.05)
        assert wait_until(lambda: has_ended(stranger, b"x: y\r\n" if slowly else b""), 20)


def has_ended(stranger: socket.socket, sent: bytes) -> bool:
    """Whether the door has closed a connection on which more was sent."""
    try:
        stranger.sendall(sent)
        return stranger.recv(10) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_a_site_s_call_outlasts_the_deadline_of_strangers(
    members: Members, upstream: int, superlink: SuperLink
) -> None:
    class Hasty(ImpatientProtocol):
        stranger_seconds = 0.05

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        import asyncio

        await asyncio.sleep(0.4)
        await SuperLink()(scope, receive, send)

    (port,) = free_ports(1)
    own = {"protocol": Hasty, "judge": members.admission.judge}
    with serving(quiet(slow, port, lifespan="off")), door(port, **own) as address:
        headers = signed(members.north)
        assert httpx.post(address + PULL, content=b"late", headers=headers).content == b"late"


def test_the_whole_door_by_tls_tells_a_site_what_stands_in_between(
    members: Members, superlink: SuperLink, tmp_path: Path
) -> None:
    """The process's own configuration: handshakes that never end, and a site's question."""
    for name in ("outer", "inner"):
        make_authority(tmp_path / name, clock())
        make_server_certificate(tmp_path / name, ["127.0.0.1"], clock())
    inner, port = free_ports(2)
    tls = {"ssl_certfile": tmp_path / "inner" / "server.crt"}
    tls["ssl_keyfile"] = tmp_path / "inner" / "server.key"
    about, judge = {"fedrisk": __version__}, members.admission.judge
    gateway = make_gateway(inner, tmp_path / "inner" / "ca.crt", about, judge)
    config = configure(gateway, "127.0.0.1", port, tmp_path / "outer")
    trusted = ssl.create_default_context(cafile=tmp_path / "outer" / "ca.crt")
    authorities, where = tmp_path / "outer" / "ca.crt", f"127.0.0.1:{port}"
    silent = ExitStack()
    with silent, serving(quiet(superlink, inner, lifespan="off", **tls)), serving(config):
        for _ in range(200):
            silent.enter_context(closing(socket.create_connection(("127.0.0.1", port))))
        with httpx.Client(base_url=f"https://{where}", verify=trusted) as site:
            own = by_flower(members.north)
            assert site.post(PULL, content=b"sealed", headers=own).content == b"sealed"
        assert fault(where, authorities, clock, members.north.key) == ""
        assert fault(where, authorities, clock, members.stranger.key) == UNKNOWN
        members.federation.remove("north", clock())
        assert "was removed" in fault(where, authorities, clock, members.north.key)
