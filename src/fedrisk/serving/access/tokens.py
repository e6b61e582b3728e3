"""Bearer tokens of an OpenID Connect issuer: signed, and checked here without asking anybody.

A token stands for its subject. What logs and limits name is a hash of the subject, for that may be
an address or a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NoReturn

from fedrisk.errors import CredentialsError, UsageError
from fedrisk.serving.access.jwks import ALGORITHMS, IssuerKeys
from fedrisk.serving.access.keys import INVALID, SCOPES, Key

#: Bytes of a token; longer ones are not even read.
MOST_BYTES = 8192
#: Seconds that two machines' clocks may differ.
LEEWAY = 60
REQUIRED = ("iss", "sub", "aud", "exp", "iat")
#: Where issuers write what a token is for: a text of words, or a list of them.
SCOPE_CLAIMS = ("scope", "scp", "roles")
#: 9999-12-31: a later end is no date.
_LAST = 253_402_214_400


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are taken, and how much a subject may ask.

    Attributes
    ----------
    issuer, audience : str
        Both as tokens name them.
    scopes : mapping of str to str
        From a token's words to `keys.SCOPES`; other words mean nothing here.
    per_second : float
    burst, concurrent : int
        Of one subject, as those of a key.
    """

    issuer: str
    audience: str
    scopes: Mapping[str, str] = field(default_factory=lambda: {each: each for each in SCOPES})
    per_second: float = 0.0
    burst: int = 20
    concurrent: int = 0


class Tokens:
    """Checks tokens.

    Parameters
    ----------
    rules : TokenRules
    keys : IssuerKeys
    """

    def __init__(self, rules: TokenRules, keys: IssuerKeys) -> None:
        self.rules = rules
        self.keys = keys

    def identify(self, token: str) -> Key:
        """Who holds a token, as a key that ends with it.

        Raises
        ------
        CredentialsError
            When the token is not valid; the message holds nothing of it.
        IssuerError
            While the issuer's keys are not known.
        """
        import jwt

        if len(token) > MOST_BYTES:
            _refuse(f"the token is longer than {MOST_BYTES} bytes")
        try:
            signer = self.keys.find(_signer_of(jwt.get_unverified_header(token)))
            claims = jwt.decode(
                token,
                signer,
                algorithms=[signer.algorithm_name],
                audience=self.rules.audience,
                issuer=self.rules.issuer,
                leeway=LEEWAY,
                options={"require": list(REQUIRED)},
            )
            return self._key(claims)
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
            _refuse(_reason(error))

    def _key(self, claims: Mapping[str, Any]) -> Key:
        rules = self.rules
        end = min(int(claims["exp"]) + LEEWAY, _LAST)
        return Key(
            id=subject_id(rules.issuer, claims["sub"]),
            name="",
            hash="",
            scopes=tuple(
                dict.fromkeys(rules.scopes[w] for w in _words(claims) if w in rules.scopes)
            ),
            created="",
            expires=datetime.fromtimestamp(end, UTC).isoformat(),
            per_second=rules.per_second,
            burst=rules.burst,
            concurrent=rules.concurrent,
        )


def subject_id(issuer: str, subject: str) -> str:
    """What logs call a subject.

    >>> subject_id("https://id.example.org", "anna")
    'sub-29e8076f0943'
    """
    text = f"{issuer}\0{subject}".encode("utf-8", "replace")
    return f"sub-{blake2b(text, digest_size=6).hexdigest()}"


def read_scopes(text: str) -> dict[str, str]:
    """The mapping that a setting tells: ``WORD=SCOPE``, apart by white space; empty for none.

    Raises
    ------
    UsageError

    >>> read_scopes("risk.read=predict risk.bulk=batch")
    {'risk.read': 'predict', 'risk.bulk': 'batch'}
    """
    if not text.strip():
        return {each: each for each in SCOPES}
    found = {}
    for each in text.split():
        word, _, scope = each.rpartition("=")
        if not word or scope not in SCOPES:
            raise UsageError(
                f"FEDRISK_OIDC_SCOPES: {each!r} is not WORD=SCOPE",
                hint=f"scopes are {', '.join(SCOPES)}",
            )
        found[word] = scope
    return found


def _signer_of(header: Mapping[str, Any]) -> str:
    if header.get("alg") not in ALGORITHMS:
        _refuse(f"the token is not signed by one of {', '.join(ALGORITHMS)}")
    identifier = header.get("kid")
    if not isinstance(identifier, str) or not identifier:
        _refuse("the token does not name the key that signed it")
    return identifier


def _words(claims: Mapping[str, Any]) -> Iterator[str]:
    for claim in SCOPE_CLAIMS:
        given = claims.get(claim)
        parts = given.split() if isinstance(given, str) else given
        if isinstance(parts, list):
            yield from (each for each in parts if isinstance(each, str))


def _reason(error: Exception) -> str:
    """What is wrong, in words of ours: the library's may hold what the token does."""
    import jwt

    if isinstance(error, jwt.ExpiredSignatureError):
        return "the token has expired"
    if isinstance(error, jwt.ImmatureSignatureError):
        return "the token is not valid yet"
    if isinstance(error, jwt.InvalidAudienceError):
        return "the token is for another audience"
    if isinstance(error, jwt.InvalidIssuerError):
        return "the token is of another issuer"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token lacks one of {', '.join(REQUIRED)}"
    return "the token is not valid"


def _refuse(reason: str) -> NoReturn:
    raise CredentialsError(reason, challenge=INVALID)
