"""A service of several servers behind one name, as the loop sees it: every one of them is asked.

A name that resolves to several addresses (a headless Service of Kubernetes) is asked address by
address. Counts are added up; a model serves when every server serves it. Servers come and go
between two looks: what one has counted is told by its address, so that one that was started again
counts from nothing, a new one too, and one that is gone no more.
"""

from __future__ import annotations

import socket
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Final, TypeVar
from urllib.parse import urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from fedrisk.errors import ServiceAwayError
from fedrisk.retraining.http_server import HttpServer
from fedrisk.retraining.ports import Server, Service
from fedrisk.serving.trial_figures import STARTED, TrialFigures
from fedrisk.serving.trial_report import TrialReport

#: Addresses of a host and a port.
Resolver = Callable[[str, int], Sequence[str]]
#: A server that ends is named for a moment longer than it answers: so often, and so many seconds
#: apart, everybody is asked.
TRIES, PAUSE = 4, 2.0
#: Servers that are asked at the same time.
TOGETHER = 16
_PORTS: Final = {"http": 80, "https": 443}
T = TypeVar("T")


def addresses(host: str, port: int) -> tuple[str, ...]:
    """What a name resolves to, of one family: a server that has both is one server.

    Raises
    ------
    OSError
        When the name is not known.

    >>> addresses("127.0.0.1", 80)
    ('127.0.0.1',)
    """
    found: defaultdict[int, set[str]] = defaultdict(set)
    for family, _, _, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        found[family].add(str(place[0]))
    return tuple(sorted(found[socket.AF_INET] or found[socket.AF_INET6]))


def open_server(url: str, key: str = "", resolve: Resolver = addresses) -> Server:
    """The service at an address: one server, or all that its name resolves to.

    A literal address, TLS (whose certificate is for the name) and a proxy are one server.

    Parameters
    ----------
    url : str
        Its address, without a path.
    key : str
        API key with the scope ``metrics``.
    resolve : callable

    Raises
    ------
    UsageError
        When the address is none.
    """
    one = HttpServer(url, key)
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxied = parts.scheme in getproxies() and not proxy_bypass(host)
    if parts.scheme != "http" or proxied or _literal(host):
        return one
    return Replicas(url, key, resolve)


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Replicas:
    """All servers that a name resolves to.

    Parameters
    ----------
    url, key : str
    resolve : callable
    sleep : callable
        Seconds.

    Raises
    ------
    ServiceAwayError
        From every method, when the name is not known, or a server that it names does not answer.
    """

    url: str
    key: str = ""
    resolve: Resolver = addresses
    sleep: Callable[[float], None] = time.sleep

    def look(self) -> Service:
        """What all of them serve, and how they fare together."""
        return together(self._each(HttpServer.look))

    def trial(self) -> TrialReport | None:
        """How the challenger does at all servers that try it; None while none does."""
        found = self._each(lambda server: (server.trial(), server.exposition()))
        reports = [report for report, _ in found.values() if report is not None]
        if not reports:
            return None
        latest = max(reports, key=lambda each: each.since)
        pair = _pair(latest)
        texts = [text for each, text in found.values() if each is not None and _pair(each) == pair]
        figures = TrialFigures(added_up(texts), *pair)
        return figures.report(latest.name, latest.share, shadow=latest.shadow)

    def _each(self, ask: Callable[[HttpServer], T]) -> dict[str, T]:
        """Every server's answer, by its address."""
        left = TRIES
        while True:
            left -= 1
            servers = {address: self._server(address) for address in self._resolved()}
            with ThreadPoolExecutor(min(len(servers), TOGETHER)) as pool:
                answers = {address: pool.submit(ask, server) for address, server in servers.items()}
            away = {a: e for a, each in answers.items() if (e := each.exception()) is not None}
            if not away:
                return {address: each.result() for address, each in answers.items()}
            wrong = [each for each in away.values() if not isinstance(each, ServiceAwayError)]
            if wrong or left == 0:
                raise (wrong or list(away.values()))[0]
            # One that has ended is not named for long.
            self.sleep(PAUSE)

    def _resolved(self) -> Sequence[str]:
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        try:
            found = self.resolve(host, parts.port or _PORTS[parts.scheme])
        except OSError as error:
            raise ServiceAwayError(
                f"{self.url}: nobody knows {host}: {error.strerror or error}",
                hint="--server names the servers; no server is ready where their name is unknown",
            ) from None
        if not found:
            raise ServiceAwayError(f"{self.url}: no server is named {host}")
        return found

    def _server(self, address: str) -> HttpServer:
        parts = urlsplit(self.url)
        host = f"[{address}]" if ":" in address else address
        place = host if parts.port is None else f"{host}:{parts.port}"
        return HttpServer(urlunsplit(parts._replace(netloc=place)), self.key)


def _pair(report: TrialReport) -> tuple[str, str]:
    return report.champion.version, report.challenger.version


def together(found: Mapping[str, Service]) -> Service:
    """Several servers as one.

    Parameters
    ----------
    found : dict of str to Service
        By address.

    Returns
    -------
    Service
        Its version is the one that all serve; where they differ, a text that names each.

    >>> together({"a": Service("1", requests=2.0), "b": Service("1", requests=3.0)}).requests
    5.0
    >>> together({"a": Service("1"), "b": Service("2")}).version
    '1 at a, 2 at b'
    """
    versions = {each.version for each in found.values()}
    if len(versions) == 1:
        (version,) = versions
    else:
        version = ", ".join(f"{each.version or 'none'} at {at}" for at, each in found.items())
    refused = [f"{each.refused} (at {at})" for at, each in found.items() if each.refused]
    latency: defaultdict[float, float] = defaultdict(float)
    for each in found.values():
        for le, count in each.latency.items():
            latency[le] += count
    return Service(
        version=version,
        refused="; ".join(refused),
        requests=sum(each.requests for each in found.values()),
        errors=sum(each.errors for each in found.values()),
        latency=dict(latency),
        replicas={at: replace(each, replicas={}) for at, each in found.items()},
    )


def added_up(texts: Iterable[str]) -> list[Metric]:
    """Figures of several servers as those of one: counts are added, starts are the first.

    Parameters
    ----------
    texts : iterable of str
        In Prometheus' text format.
    """
    values: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                at = (family.name, sample.name, tuple(sorted(sample.labels.items())))
                known = values.get(at)
                if known is None:
                    values[at] = sample.value
                else:
                    first = sample.name == STARTED
                    values[at] = min(known, sample.value) if first else known + sample.value
    metrics: dict[str, Metric] = {}
    for (family_name, name, labels), value in values.items():
        metric = metrics.setdefault(family_name, Metric(family_name, "", "untyped"))
        metric.add_sample(name, dict(labels), value)
    return list(metrics.values())
