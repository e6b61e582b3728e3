"""What a coordinator does besides keeping processes running: ports, certificates, sites."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fedrisk.errors import FederationError, PortInUseError
from fedrisk.federation.engines.processes import free_ports
from fedrisk.federation.provisioning.certificates import expiry
from fedrisk.federation.provisioning.coordinator import Federation, new_settings
from fedrisk.federation.supervision import coordinator as supervision_coordinator
from fedrisk.federation.supervision.coordinator import DAY, Coordinator
from fedrisk.federation.supervision.supervisor import Supervisor

NOW = datetime.now(UTC)


class Watched(Coordinator):
    """A coordinator whose events are kept, and whose services a test says are running."""

    def __init__(self, federation: Federation, now: datetime = NOW) -> None:
        self.events: list[dict[str, Any]] = []
        super().__init__(federation, dict(os.environ), False, self.note, now)
        self.restarted: list[str] = []
        self.started_names: list[str] = []

    def note(self, event: str, **facts: Any) -> None:
        self.events.append({"event": event} | facts)

    def told(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.events if one["event"] == event]

    # What a supervisor needs of a runner.
    def start(self, name: str, argv: Sequence[str]) -> None:
        self.started_names.append(name)

    def stop(self, name: str) -> None:
        self.restarted.append(name)

    def take_exits(self) -> dict[str, int]:
        return {}

    def supervise(self) -> None:
        """Both services run; further ticks are the coordinator's own."""
        made = Supervisor(self.services(), self, self.log, lambda: 0.0, None)  # type: ignore[arg-type]
        for condition in made.conditions.values():
            condition.state = "running"
        self.supervisor = made

    def argv(self, name: str) -> list[str]:
        self.logs.mkdir(exist_ok=True)
        (service,) = [service for service in self.services() if service.name == name]
        return list(service.argv())

    def later(self, days: float) -> None:
        """So many days pass."""
        self._begun -= days * DAY
        self._look_again -= days * DAY

    def rest(self) -> None:
        for thread in self._beside:
            thread.join(20)


def create(folder: Path, now: datetime = NOW, **others: Any) -> Federation:
    (port,) = free_ports(1)
    settings = new_settings(["127.0.0.1"], port, **({"listen": "127.0.0.1"} | others))
    return Federation.create(folder / "coordinator", settings, now)


@pytest.fixture
def registrations(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], list[str]]]:
    """What each registration does; without an entry, nothing was to be done."""
    planned: list[Callable[[], list[str]]] = []
    monkeypatch.setattr(
        supervision_coordinator,
        "register_members",
        lambda _members, _control, shut_out: planned_one(planned, shut_out),
    )
    return planned


def planned_one(
    planned: list[Callable[[], list[str]]], shut_out: Callable[[], object]
) -> list[str]:
    """Do what is planned; who must be is refused once that has gone well."""
    done = planned.pop(0)() if planned else []
    shut_out()
    return done


@pytest.fixture
def coordinator(
    tmp_path: Path, registrations: list[Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    made = Watched(create(tmp_path))
    monkeypatch.setattr(made._unfinished, "look", lambda: None)
    yield made
    made.rest()


def connection(coordinator: Watched) -> dict[str, Any]:
    text = (coordinator.folder / "flower" / "config.toml").read_text()
    return dict(tomllib.loads(text)["superlink"]["federation"])


def test_a_taken_port_is_told_before_anything_starts(tmp_path: Path) -> None:
    federation = create(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", federation.settings.port))
        other.listen()
        with pytest.raises(PortInUseError, match="in use") as error:
            Watched(federation)
    assert "another program" in error.value.hint
    assert not federation.loopback.exists()


def test_an_address_of_another_machine_is_told(tmp_path: Path) -> None:
    with pytest.raises(PortInUseError, match=r"192\.0\.2\.1") as error:
        Watched(create(tmp_path, listen="192.0.2.1"))
    assert "`listen`" in error.value.hint


def test_superlink_listens_on_this_machine_alone_and_the_gateway_before_it(
    coordinator: Watched,
) -> None:
    superlink = coordinator.argv("superlink")
    at = superlink.index("--host")
    assert superlink[at : at + 4] == ["--host", "127.0.0.1", "--port", superlink[at + 3]]
    assert "--enable-supernode-auth" in superlink
    assert str(coordinator.folder / "loopback" / "server.key") in superlink
    gateway = coordinator.argv("gateway")
    assert gateway[-2:] == [str(coordinator.folder), superlink[at + 3]]
    (door,) = [service for service in coordinator.services() if service.name == "gateway"]
    assert door.after == ("superlink",)


@pytest.mark.parametrize(
    ("listen", "family", "host"),
    [("127.0.0.1", socket.AF_INET, "127.0.0.1"), ("0.0.0.0", socket.AF_INET, "0.0.0.0"),
     ("::", socket.AF_INET6, "::"), ("::1", socket.AF_INET6, "::1")],
)  # fmt: skip
def test_the_gateway_is_seen_on_each_address(
    tmp_path: Path, listen: str, family: socket.AddressFamily, host: str
) -> None:
    coordinator = Watched(create(tmp_path, listen=listen))
    (door,) = [service for service in coordinator.services() if service.name == "gateway"]
    assert not door.ready()
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, coordinator.federation.settings.port))
        server.listen()
        assert door.ready()


def test_superlink_leaves_a_port_that_was_taken_while_it_was_away(coordinator: Watched) -> None:
    coordinator.supervise()
    taken = coordinator.superlink_port
    assert coordinator.argv("superlink")[4] == str(taken), "free: it stays"
    assert coordinator.restarted == []
    with socket.socket() as other:
        other.bind(("127.0.0.1", taken))
        other.listen()
        assert coordinator.argv("superlink")[4] != str(taken)
    assert coordinator.restarted == ["gateway"]
    assert connection(coordinator)["address"] == f"127.0.0.1:{coordinator.superlink_port}"
    assert coordinator.argv("gateway")[-1] == str(coordinator.superlink_port)


def test_a_new_certificate_is_shown_at_once(coordinator: Watched) -> None:
    coordinator.supervise()
    coordinator.each_tick()
    assert coordinator.restarted == []
    coordinator.federation.renew_server(NOW)
    coordinator.each_tick()
    coordinator.each_tick()
    assert coordinator.restarted == ["gateway"]


def test_half_a_certificate_is_not_taken(coordinator: Watched, tmp_path: Path) -> None:
    """The new certificate is there and its key is not yet: the gateway would not start."""
    coordinator.supervise()
    folder, other = coordinator.folder, create(tmp_path / "other").folder
    shutil.copy(other / "server.crt", folder / "server.crt")
    for _ in range(3):
        coordinator.each_tick()
    assert coordinator.restarted == []
    assert len(coordinator.told("certificate not taken")) == 1
    shutil.copy(other / "server.key", folder / "server.key")
    coordinator.each_tick()
    assert coordinator.restarted == ["gateway"]


def test_processes_know_the_home_and_the_federation(coordinator: Watched) -> None:
    """Without the folder the server app would check no head of an egress log."""
    assert coordinator.environment["FEDRISK_HOME"] == str(coordinator.federation.home)
    assert coordinator.environment["FEDRISK_FEDERATION"] == str(coordinator.folder)
    assert (coordinator.federation.home / "home.json").is_file()


@pytest.mark.parametrize(("days", "told"), [(30.5, 0), (29.5, 1)])
def test_the_end_of_a_certificate_is_told_in_its_last_month(
    tmp_path: Path, registrations: Any, days: float, told: int
) -> None:
    coordinator = Watched(create(tmp_path, NOW - timedelta(days=365 - days)))
    assert len(coordinator.told("certificate ends")) == told
    coordinator.rest()


def test_the_end_of_a_certificate_is_told_each_day(tmp_path: Path, registrations: Any) -> None:
    coordinator = Watched(create(tmp_path, NOW - timedelta(days=339.5)))
    coordinator.supervise()
    (warning,) = coordinator.told("certificate ends")
    assert (warning["name"], warning["days"], warning["level"]) == ("server.crt", 25, "warning")
    coordinator.each_tick()
    assert len(coordinator.told("certificate ends")) == 1
    coordinator.later(1.01)
    coordinator.each_tick()
    assert [one["days"] for one in coordinator.told("certificate ends")] == [25, 24]
    coordinator.rest()


def test_a_certificate_that_cannot_be_read_ends_nothing(coordinator: Watched) -> None:
    coordinator.supervise()
    (coordinator.folder / "ca.crt").write_text("torn")
    coordinator.later(1.01)
    coordinator.each_tick()
    coordinator.each_tick()
    assert len(coordinator.told("certificates not looked at")) == 1


def test_its_own_certificates_are_renewed_before_they_end(coordinator: Watched) -> None:
    """A coordinator that runs for a year must not lock itself out."""
    coordinator.supervise()
    certificate = coordinator.federation.loopback / "server.crt"
    ends = expiry(certificate)
    coordinator.later(300)
    coordinator.each_tick()
    assert (expiry(certificate), coordinator.restarted) == (ends, [])
    coordinator.later(40)
    coordinator.each_tick()
    assert expiry(certificate) > ends + timedelta(days=300)
    assert coordinator.restarted == ["superlink", "gateway"]


def test_sites_are_registered_when_they_change_and_after_each_start(
    coordinator: Watched, registrations: list[Any]
) -> None:
    coordinator.supervise()
    registrations += [lambda: ["site north is registered as node 1"]]
    for _ in range(3):
        coordinator.each_tick()
        coordinator.rest()
    assert [one["what"] for one in coordinator.told("registered")] == [
        "site north is registered as node 1"
    ]
    registrations += [lambda: ["again"], lambda: ["invited"]]
    coordinator.on_ready("superlink")
    coordinator.each_tick()
    coordinator.rest()
    assert coordinator.told("registered")[-1]["what"] == "again"
    coordinator.federation.invite("south", NOW)
    coordinator.each_tick()
    coordinator.rest()
    assert coordinator.told("registered")[-1]["what"] == "invited"


def test_the_gateway_opens_once_who_was_removed_meanwhile_is_refused(
    coordinator: Watched, registrations: list[Any]
) -> None:
    def fail() -> list[str]:
        raise FederationError("no answer")

    registrations += [fail, list]
    coordinator.supervise()
    supervisor = coordinator.supervisor
    supervisor.conditions["gateway"].state = "waiting"
    supervisor.tick()
    assert coordinator.started_names == []
    coordinator.each_tick()
    coordinator.rest()
    supervisor.tick()
    assert coordinator.started_names == [], "that registration failed"
    coordinator._register_at = 0.0
    coordinator.each_tick()
    coordinator.rest()
    supervisor.tick()
    assert coordinator.started_names == ["gateway"]


def test_sites_wait_for_superlink(coordinator: Watched, registrations: list[Any]) -> None:
    coordinator.supervise()
    coordinator.supervisor.conditions["superlink"].state = "starting"
    registrations += [lambda: ["too early"]]
    coordinator.each_tick()
    coordinator.rest()
    assert registrations, "nobody registered"


@pytest.mark.parametrize(
    "error", [FederationError("no answer"), OSError("no such program"), KeyError("node-id")]
)
def test_a_registration_that_fails_is_tried_again_ever_more_rarely(
    coordinator: Watched, registrations: list[Any], error: Exception
) -> None:
    def fail() -> list[str]:
        raise error

    registrations += [fail, fail, lambda: ["at last"]]
    coordinator.supervise()
    waits = []
    for _ in range(3):
        coordinator.each_tick()
        coordinator.rest()
        coordinator.each_tick()
        coordinator.rest()
        waits.append(coordinator._register_at)
        coordinator._register_at = 0.0
    assert [one["reason"] for one in coordinator.told("registration failed")] == [str(error)] * 2
    assert waits[1] > waits[0] > 0
    assert coordinator.told("registered") == [{"event": "registered", "what": "at last"}]


def test_one_registration_at_a_time(coordinator: Watched, registrations: list[Any]) -> None:
    release, done = threading.Event(), []

    def slow() -> list[str]:
        release.wait(20)
        done.append(1)
        return []

    registrations += [slow, lambda: ["second"]]
    coordinator.supervise()
    for _ in range(3):
        coordinator.on_ready("superlink")
        coordinator.each_tick()
    assert len(registrations) == 1
    release.set()
    coordinator.rest()
    coordinator.each_tick()
    coordinator.rest()
    assert (done, coordinator.told("registered")[0]["what"]) == ([1], "second")


def test_details_tell_when_certificates_end(coordinator: Watched) -> None:
    told = coordinator.details()
    assert told["superlink_port"] == coordinator.superlink_port
    assert (
        told["certificates"]["server.crt"] == expiry(coordinator.folder / "server.crt").isoformat()
    )
    (coordinator.folder / "server.crt").unlink()
    with pytest.raises(FederationError):
        coordinator.details()
