"""An issuer of tokens on loopback: a real HTTP server, and keys that it can change."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "fedrisk"
_PUBLIC = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def private_key(algorithm: str, number: int = 0, bits: int = 2048) -> Any:
    """A private key; made once for all tests."""
    return _private_key(algorithm, number, bits)


@cache
def _private_key(algorithm: str, number: int, bits: int) -> Any:
    if algorithm == "RS256":
        return rsa.generate_private_key(65_537, bits)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def published(algorithm: str, identifier: str, number: int = 0, bits: int = 2048) -> dict[str, Any]:
    """The key as an issuer publishes it."""
    public = private_key(algorithm, number, bits).public_key()
    return {**_PUBLIC[algorithm].to_jwk(public, as_dict=True), "kid": identifier, "use": "sig"}


def signed(
    issuer: str, algorithm: str = "ES256", kid: str | None = "a", number: int = 0, **claims: Any
) -> str:
    """A token that is good unless claims say otherwise; a claim that is None is left out."""
    now = int(time.time())
    whole = {"iss": issuer, "aud": AUDIENCE, "sub": "anna@example.org", "scope": "predict"}
    whole |= {"iat": now, "exp": now + 600} | claims
    kept = {name: value for name, value in whole.items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(kept, private_key(algorithm, number), algorithm, headers)


class Issuer:
    """What the issuer answers.

    Attributes
    ----------
    keys : list
        That it publishes.
    asked : list of str
        Paths, in order.
    away : bool
        It answers 503 for so long.
    """

    def __init__(self) -> None:
        self.keys = [published("ES256", "a")]
        self.asked: list[str] = []
        self.away = False
        self.url = ""
        self.named: str | None = None
        self.redirect = False

    def answer(self, path: str) -> tuple[int, Any]:
        self.asked.append(path)
        if self.away:
            return 503, {}
        if path.endswith("/.well-known/openid-configuration"):
            return 200, {"issuer": self.named or self.url, "jwks_uri": f"{self.url}/keys"}
        if self.redirect:
            return 302, {}
        return 200, {"keys": self.keys}


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer, for as long as the context."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, document = issuer.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", f"{issuer.url}/elsewhere")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
