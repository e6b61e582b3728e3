"""The keys that an issuer signs its tokens with: from a file, or from where its discovery points.

Fetched in a thread, never while a request holds the event loop: on a schedule, and when a token
names a key that is not known, then at most once an interval. While the issuer is away the known
keys go on until they are of a stated age.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fedrisk.errors import CredentialsError, IssuerError, UsageError
from fedrisk.serving.access.keys import INVALID
from fedrisk.serving.listening import is_loopback

if TYPE_CHECKING:
    from jwt import PyJWK

_log = logging.getLogger("fedrisk.serving")
#: What signs tokens: an issuer's private key, never a secret that we would share with it.
ALGORITHMS = ("RS256", "ES256", "EdDSA")
WELL_KNOWN = "/.well-known/openid-configuration"
#: Bytes of a document, and bits of an RSA key that is long enough.
MOST_BYTES, LEAST_BITS = 1 << 20, 2048

#: Answers the issuer's document of keys, RFC 7517; raises OSError or ValueError.
Source = Callable[[], Mapping[str, Any]]


class UnknownSignerError(CredentialsError):
    """A token that names a key which is not known, or not yet."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """When keys are fetched, in seconds.

    Attributes
    ----------
    schedule : float
        Between two fetches that went well.
    retry : float
        After one that did not.
    unknown : float
        Between two fetches because a token names an unknown key.
    oldest : float
        Age up to which keys are used while the issuer is away.
    """

    schedule: float = 300.0
    retry: float = 10.0
    unknown: float = 30.0
    oldest: float = 86_400.0


#: A file is looked at often: whoever replaced it expects that to work.
OF_A_FILE = Renewal(schedule=5.0, retry=5.0, unknown=1.0, oldest=float("inf"))


class IssuerKeys:
    """Keys of one issuer, by the id that tokens name them by.

    Parameters
    ----------
    source : Source
    clock : callable
        Monotonic seconds.
    renewal : Renewal

    Attributes
    ----------
    generation : int
        Changes whenever keys do: what was verified by the earlier ones is to be verified again.
    """

    def __init__(
        self, source: Source, clock: Callable[[], float], renewal: Renewal | None = None
    ) -> None:
        self._source = source
        self._clock = clock
        self._renewal = renewal or Renewal()
        self._keys: dict[str, PyJWK] = {}
        self._known: Any = None
        self._fetched = self._tried = float("-inf")
        self._running: asyncio.Task[None] | None = None
        self._told = ""
        self.generation = 0

    @property
    def usable(self) -> bool:
        """Whether keys are known, and not too old."""
        return self._clock() - self._fetched <= self._renewal.oldest

    def find(self, identifier: str) -> PyJWK:
        """The key of an id.

        Raises
        ------
        IssuerError
            While no keys are known, or only ones that are too old.
        UnknownSignerError
            When the issuer has no such key, as far as is known.
        """
        if not self.usable:
            raise IssuerError(
                "the keys of the tokens' issuer are not known",
                hint="come again when the issuer answers; API keys work meanwhile",
            )
        found = self._keys.get(identifier)
        if found is None:
            raise UnknownSignerError(
                "the token is signed by a key that its issuer does not name",
                challenge=INVALID,
            )
        return found

    def load(self) -> None:
        """Fetch the keys, in this thread.

        Raises
        ------
        OSError, ValueError
            When the issuer is away, or names no key that can be used; the keys stay as they were.
        """
        self._tried = self._clock()
        document = self._source()
        keys = usable_keys(document)
        if not keys:
            raise ValueError(f"there is no key in it for any of {', '.join(ALGORITHMS)}")
        if document != self._known:
            self._keys, self._known = keys, document
            self.generation += 1
        self._fetched = self._clock()

    @property
    def due(self) -> bool:
        """Whether the schedule asks for a fetch."""
        now = self._clock()
        late = now - self._fetched >= self._renewal.schedule
        return late and now - self._tried >= self._renewal.retry

    async def renew(self, *, unknown: bool = False) -> bool:
        """Fetch in a thread where it is time to, and wait for it; whether there was a fetch.

        ``unknown`` asks because of a token: granted at most once an interval. Who asks while a
        fetch goes on waits for that one.
        """
        if self._running is None or self._running.done():
            waited = self._clock() - self._tried >= self._renewal.unknown
            if not (self.due or (unknown and waited)):
                return False
            self._running = asyncio.create_task(asyncio.to_thread(self._try))
        # One caller's going away must not end what others wait for.
        await asyncio.shield(self._running)
        return True

    async def watch(self, seconds: float) -> None:
        """Keep to the schedule for ever."""
        while True:
            await self.renew()
            await asyncio.sleep(seconds)

    def _try(self) -> None:
        try:
            self.load()
            reason = ""
        except (OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
        if reason and reason != self._told:
            _log.error("the keys of the tokens' issuer cannot be fetched: %s", reason)
        self._told = reason


def usable_keys(document: Mapping[str, Any]) -> dict[str, PyJWK]:
    """Keys that tokens may be signed by; others, such as those for encryption, are passed over.

    Raises
    ------
    ValueError
        When it is no document of keys.
    """
    listed = document.get("keys") if isinstance(document, Mapping) else None
    if not isinstance(listed, list):
        raise ValueError("it is no document of keys (RFC 7517)")
    return {str(each["kid"]): key for each in listed if (key := _usable(each)) is not None}


def _usable(given: Any) -> PyJWK | None:
    import jwt

    if not isinstance(given, dict) or not isinstance(given.get("kid"), str):
        return None
    if given.get("use", "sig") != "sig" or given.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    if given.get("alg", ALGORITHMS[0]) not in ALGORITHMS:
        return None
    try:
        # The private part, should an issuer publish it by mistake, is not even read.
        key = jwt.PyJWK({k: v for k, v in given.items() if k not in _PRIVATE})
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError):
        return None
    if key.algorithm_name not in ALGORITHMS:
        return None
    long_enough = given["kty"] != "RSA" or key.key.key_size >= LEAST_BITS
    return key if long_enough else None


_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


def from_file(path: Path) -> Source:
    """Keys of a file."""

    def read() -> Mapping[str, Any]:
        document: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document

    return read


def from_issuer(issuer: str, seconds: float = 3.0) -> Source:
    """Keys from where the issuer's discovery document says (OpenID Connect Discovery 1.0, 4).

    Parameters
    ----------
    issuer : str
        Its address, exactly as its tokens name it.
    seconds : float
        Most that each of the two documents may take.

    Raises
    ------
    UsageError
        When the address is not HTTPS and not on this machine: others could answer for the issuer.
    """
    if not trusted_address(issuer):
        raise UsageError(
            f"FEDRISK_OIDC_ISSUER {issuer!r} must be an https address",
            hint="or name its keys in a file by FEDRISK_OIDC_JWKS",
        )

    def fetch() -> Mapping[str, Any]:
        about = get_json(issuer.rstrip("/") + WELL_KNOWN, seconds)
        if not isinstance(about, dict) or about.get("issuer") != issuer:
            raise ValueError("the discovery document is of another issuer")
        place = about.get("jwks_uri")
        if not isinstance(place, str) or not trusted_address(place):
            raise ValueError("the discovery document's jwks_uri is no https address")
        document: Mapping[str, Any] = get_json(place, seconds)
        return document

    return fetch


def trusted_address(url: str) -> bool:
    """Whether nobody between can answer in another's place.

    >>> [trusted_address(u) for u in ("https://a.org/x", "http://127.0.0.1:1/", "http://a.org")]
    [True, True, False]
    """
    try:
        place = urlsplit(url)
    except ValueError:
        return False
    host = place.hostname or ""
    return bool(host) and (
        place.scheme == "https" or (place.scheme == "http" and is_loopback(host))
    )


def get_json(url: str, seconds: float) -> Any:
    """A JSON document, of at most a mebibyte and within so many seconds; redirects are refused.

    Raises
    ------
    OSError, ValueError
    """
    from urllib.request import build_opener

    end = time.monotonic() + seconds
    with build_opener(_no_redirect()).open(url, timeout=seconds) as answer:
        parts: list[bytes] = []
        while part := answer.read1(65_536):
            parts.append(part)
            if sum(map(len, parts)) > MOST_BYTES or time.monotonic() > end:
                raise OSError(f"{url} sends too much, or too slowly")
    return json.loads(b"".join(parts))


def _no_redirect() -> Any:
    from urllib.request import HTTPRedirectHandler

    class Refusing(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            """A redirect may lead to an address that was not checked."""

    return Refusing()
