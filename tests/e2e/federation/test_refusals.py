"""Who must not take part does not, and is told why; who may, still does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from e2e.federation.deployment import Deployment
from e2e.federation.faults import ACCOUNT, Undisturbed
from e2e.federation.hosts import COORDINATOR, PORT, Host, Network, make_network
from running import wait_until

from fedrisk.federation.provisioning.certificates import make_authority, make_server_certificate
from fedrisk.federation.provisioning.documents import JoinRequest

pytestmark = [pytest.mark.federation, pytest.mark.hosts]

#: Exit codes of errors.py.
FEDERATION_ERROR, EGRESS_ERROR = 6, 7
#: Seconds for a refusal to be seen and told.
TOLD = 240.0
LATECOMER, THIEF = "site-5", "stolen"
SHOW_CERTIFICATE = """
import http.server, ssl, sys
address = (sys.argv[1], int(sys.argv[2]))
server = http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("listening", flush=True)
server.serve_forever()
"""
#: Loaded before the C library: this machine's clock is an hour ahead.
HOUR_AHEAD = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
  int code = real(id, t);
  if (!code && id == CLOCK_REALTIME) t->tv_sec += 3600;
  return code;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  int code = clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return code;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
"""


def refused(what: str) -> None:
    ACCOUNT.refused.append(what)


def says(federation: Deployment, name: str, words: str) -> bool:
    """Whether a start command's log says so in time."""
    return wait_until(lambda: words in federation.said(name), TOLD)


@pytest.fixture(scope="module")
def latecomer(federation: Deployment) -> str:
    """A fifth site that was invited and has made its keys, and that nobody has approved."""
    federation.invite(LATECOMER, federation.data["site-1"])
    federation.approve_study(LATECOMER)
    return LATECOMER


def test_a_key_that_nobody_approved(federation: Deployment, latecomer: str) -> None:
    federation.start_site(latecomer)
    assert says(federation, latecomer, "not approved yet"), federation.said(latecomer)
    assert not federation.probe(latecomer)["ready"]
    assert connection(federation, latecomer) != "online"
    refused("a key that nobody approved")


def test_approval_lets_a_waiting_site_in(federation: Deployment, latecomer: str) -> None:
    told = federation.told(
        federation.hosts[latecomer], "site", "request", "--folder", federation.site(latecomer)
    )
    wrong = ("--fingerprint", told["fingerprint"][::-1], "--federation", federation.coordinator)
    words = ("federation", "approve", latecomer, told["request"])
    said = federation.fedrisk(
        federation.network.coordinator, *words, *wrong, code=FEDERATION_ERROR
    ).stderr
    assert "fingerprint" in said
    refused("a fingerprint that was not the one read out")
    federation.approve(latecomer, told)
    federation.wait_ready(latecomer)
    assert wait_until(lambda: connection(federation, latecomer) == "online", TOLD)


def test_a_clock_that_is_an_hour_ahead(
    federation: Deployment, latecomer: str, tmp_path: Path
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make the clock run ahead by")
    (tmp_path / "ahead.c").write_text(HOUR_AHEAD)
    ahead = tmp_path / "ahead.so"
    options = ["-shared", "-fPIC", "-o", str(ahead), str(tmp_path / "ahead.c"), "-ldl"]
    subprocess.run([compiler, *options], check=True)
    federation.stop(latecomer)
    before = len(federation.said(latecomer))
    federation.start_site(latecomer, LD_PRELOAD=str(ahead))
    assert wait_until(lambda: "s ahead of" in federation.said(latecomer)[before:], TOLD)
    assert not federation.probe(latecomer)["ready"]
    federation.stop(latecomer)
    refused("a clock that is an hour ahead")
    federation.start_site(latecomer)
    federation.wait_ready(latecomer)


def test_a_site_that_is_removed_while_all_run(federation: Deployment, latecomer: str) -> None:
    far, folder = federation.network.coordinator, ("--federation", federation.coordinator)
    before = len(federation.said(latecomer))
    assert federation.told(far, "federation", "remove-site", latecomer, *folder)["running"]
    assert wait_until(lambda: "was removed" in federation.said(latecomer)[before:], TOLD)
    assert wait_until(lambda: not federation.probe(latecomer)["ready"], TOLD)
    assert connection(federation, latecomer) != "online"
    refused("a site that was removed while all ran")
    # Its key is refused for ever, also by another name.
    request = federation.site(latecomer) / "join-request.json"
    bundle = ("--output", federation.folder / "again.json")
    federation.told(far, "federation", "add-site", latecomer, *folder, *bundle)
    told = ("--fingerprint", JoinRequest.read(request).fingerprint)
    words = ("federation", "approve", latecomer, request, *folder, *told)
    assert "for ever" in federation.fedrisk(far, *words, code=FEDERATION_ERROR).stderr
    refused("a key that was given up")
    federation.stop(latecomer)
    federation.wait_ready()


def test_two_sites_with_one_key(federation: Deployment, latecomer: str) -> None:
    far, folder = federation.network.coordinator, ("--federation", federation.coordinator)
    bundle = ("--output", federation.folder / "site-6.json")
    federation.told(far, "federation", "add-site", "site-6", *folder, *bundle)
    theirs = json.loads((federation.site("site-1") / "join-request.json").read_text())
    request = federation.folder / "site-6.request.json"
    request.write_text(json.dumps(theirs | {"site": "site-6"}))
    told = ("--fingerprint", JoinRequest.read(request).fingerprint)
    words = ("federation", "approve", "site-6", request, *folder, *told)
    said = federation.fedrisk(far, *words, code=FEDERATION_ERROR).stderr
    assert "one key" in said
    again = federation.fedrisk(
        far, "federation", "add-site", "site-1", *folder, *bundle, code=FEDERATION_ERROR
    )
    assert "two sites are named 'site-1'" in again.stderr
    refused("a second site with the key, or the name, of another")


def test_a_thief_of_a_key_while_its_owner_runs(federation: Deployment, latecomer: str) -> None:
    federation.copy_site("site-1", THIEF, federation.hosts[latecomer])
    federation.start_site(THIEF)
    assert says(federation, THIEF, "another site runs with the same key"), federation.said(THIEF)
    assert not federation.probe(THIEF)["ready"]
    federation.stop(THIEF)
    shutil.rmtree(federation.site(THIEF))
    federation.wait_ready("site-1")
    refused("a copy of a site's folder, while the site runs")


def test_a_log_of_what_left_that_was_changed(
    federation: Deployment, latecomer: str, undisturbed: Undisturbed
) -> None:
    host = federation.hosts[latecomer]
    folder = federation.copy_site("site-2", THIEF, host)
    log = folder / "egress" / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert len(lines) >= undisturbed.rounds
    changes: dict[str, Callable[[], list[bytes]]] = {
        "entry 3 was changed": lambda: [*lines[:2], _altered(lines[2]), *lines[3:]],
        "entry 4 was changed": lambda: [*lines[:3], *lines[4:]],
        f"entry {len(lines)} is missing": lambda: lines[:-1],
    }
    for words, change in changes.items():
        log.write_bytes(b"".join(change()))
        for command in ("start", "egress"):
            said = federation.fedrisk(
                host, "site", command, "--folder", folder, code=EGRESS_ERROR
            ).stderr
            assert words in said
    refused("a log of what left that was edited, thinned out, cut short")
    shutil.rmtree(folder)


def _altered(line: bytes) -> bytes:
    entry = json.loads(line)
    entry["kind"] = "nothing"
    return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_a_policy_with_a_typo(federation: Deployment, latecomer: str) -> None:
    host = federation.hosts[latecomer]
    folder = federation.copy_site("site-2", THIEF, host)
    policy = folder / "policy.toml"
    policy.write_text(policy.read_text() + "contributers = 0\n")
    done = host.run(
        [*_command(), "site", "start", "--folder", str(folder)], federation.environment()
    )
    assert done.returncode == 11
    assert "contributers" in done.stderr
    refused("a policy with a typo")
    shutil.rmtree(folder)


def _command() -> list[str]:
    return [str(Path(sys.executable).parent / "fedrisk")]


@pytest.fixture(scope="module")
def elsewhere(network: Network) -> Iterator[tuple[Network, Host]]:
    """Another network, where an impostor has the coordinator's address."""
    with make_network(f"{network.prefix}i") as made:
        yield made, made.add_site(1)


Certificate = Callable[[Path, Path], tuple[Path, Path]]


def _foreign(_true: Path, folder: Path) -> tuple[Path, Path]:
    make_authority(folder, datetime.now(UTC))
    return make_server_certificate(folder, [COORDINATOR], datetime.now(UTC))


def _self_signed(_true: Path, folder: Path) -> tuple[Path, Path]:
    return make_authority(folder, datetime.now(UTC))


def _expired(true: Path, folder: Path) -> tuple[Path, Path]:
    for name in ("ca.crt", "ca.key"):
        shutil.copy(true / name, folder)
    return make_server_certificate(folder, [COORDINATOR], datetime.now(UTC) - timedelta(days=400))


def _of_another_host(true: Path, folder: Path) -> tuple[Path, Path]:
    for name in ("ca.crt", "ca.key"):
        shutil.copy(true / name, folder)
    return make_server_certificate(folder, ["10.77.9.9"], datetime.now(UTC))


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        pytest.param(_foreign, "not of this federation's authority", id="foreign"),
        pytest.param(_self_signed, "not of this federation's authority", id="self-signed"),
        pytest.param(_expired, "has expired", id="expired"),
        pytest.param(_of_another_host, "for another name", id="of-another-host"),
    ],
)
def test_a_coordinator_with_the_wrong_certificate(
    federation: Deployment,
    elsewhere: tuple[Network, Host],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    certificate: Certificate,
    words: str,
) -> None:
    network, host = elsewhere
    shown, key = certificate(federation.coordinator, tmp_path)
    argv = [sys.executable, "-c", SHOW_CERTIFICATE, COORDINATOR, str(PORT), str(shown), str(key)]
    log = tmp_path / "impostor.log"
    impostor = network.coordinator.start(argv, federation.environment(), log)
    try:
        assert wait_until(lambda: "listening" in log.read_text(), 20), log.read_text()
        folder = ("--folder", federation.site("site-2"))
        done = federation.fedrisk(host, "site", "check", *folder, code=FEDERATION_ERROR)
        assert words in done.stderr
        refused(f"a coordinator with a certificate that is {request.node.callspec.id}")
    finally:
        impostor.kill()
        impostor.wait()


def test_an_expired_certificate_is_mended_without_losing_a_site(federation: Deployment) -> None:
    federation.wait_ready()
    before = {name: len(federation.said(name)) for name in federation.data}
    with_old = federation.folder / "expired"
    with_old.mkdir()
    certificate, key = _expired(federation.coordinator, with_old)
    key.replace(federation.coordinator / "server.key")
    certificate.replace(federation.coordinator / "server.crt")

    def all_say_so() -> bool:
        news = [federation.said(name)[start:] for name, start in before.items()]
        return all("has expired" in text for text in news)

    assert wait_until(all_say_so, TOLD), federation.said("site-1")[-2000:]
    refused("the coordinator's own certificate once it had expired, by every site")
    words = ("federation", "rotate", "--federation", federation.coordinator)
    federation.told(federation.network.coordinator, *words)
    for name in federation.data:
        assert wait_until(lambda name=name: connection(federation, name) == "online", TOLD), name


def connection(federation: Deployment, name: str) -> str:
    """What `federation status` says of a site's connection."""
    told = federation.status()
    assert not told["note"], told["note"]
    return {site["site"]: site["connection"] for site in told["sites"]}[name]
