"""Tokens: good ones of every algorithm, and everything that is wrong with others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.errors import CredentialsError, UsageError
from fedrisk.serving.access.jwks import IssuerKeys
from fedrisk.serving.access.tokens import TokenRules, Tokens, read_scopes, subject_id

from .issuing import AUDIENCE, private_key, published, signed

ISSUER = "https://id.example.org"
KEYS = [published("ES256", "a"), published("RS256", "r"), published("EdDSA", "e")]


def made(keys=KEYS, **rules) -> Tokens:
    known = IssuerKeys(lambda: {"keys": keys}, lambda: 0.0)
    known.load()
    return Tokens(TokenRules(ISSUER, AUDIENCE, **rules), known)


def refused(token: str) -> str:
    with pytest.raises(CredentialsError) as told:
        made().identify(token)
    assert told.value.challenge == 'error="invalid_token"'
    shown = told.value.message + told.value.hint
    assert not any(part and part in shown for part in token.split(".") if len(part) > 8)
    return told.value.message


def part(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(("algorithm", "kid"), [("ES256", "a"), ("RS256", "r"), ("EdDSA", "e")])
def test_a_good_token_is_its_subject_until_it_ends(algorithm: str, kid: str) -> None:
    end = int(time.time()) + 600
    key = made(per_second=5.0, burst=7, concurrent=3).identify(
        signed(ISSUER, algorithm, kid, exp=end)
    )
    assert key.id == subject_id(ISSUER, "anna@example.org")
    assert "anna" not in repr(key)
    assert (key.scopes, key.per_second, key.burst, key.concurrent) == (("predict",), 5.0, 7, 3)
    assert key.end is not None
    assert key.end.timestamp() == end + 60


@pytest.mark.parametrize(
    "claims",
    [
        {"scope": "openid batch"},
        {"scope": None, "scp": ["batch", "mail"]},
        {"scope": None, "scp": "mail batch"},
        {"scope": "mail", "roles": ["batch", 5, None]},
    ],
)
def test_scopes_are_words_of_three_claims(claims) -> None:
    assert made().identify(signed(ISSUER, **claims)).scopes == ("batch",)


@pytest.mark.parametrize("claims", [{"scope": None}, {"scope": "Predict"}, {"scope": {"batch": 1}}])
def test_no_word_of_ours_is_no_scope(claims) -> None:
    assert made().identify(signed(ISSUER, **claims)).scopes == ()


def test_named_words_are_the_only_ones() -> None:
    tokens = made(scopes=read_scopes("risk:one=predict risk:many=batch"))
    token = signed(ISSUER, scope="risk:many admin risk:one predict")
    assert tokens.identify(token).scopes == ("batch", "predict")


@pytest.mark.parametrize("text", ["predict", "x=everything", "=batch"])
def test_a_mapping_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="FEDRISK_OIDC_SCOPES"):
        read_scopes(text)


def test_a_minute_of_leeway_and_no_more() -> None:
    now = int(time.time())
    for claims in ({"exp": now - 30}, {"nbf": now + 30}, {"iat": now + 30}):
        assert made().identify(signed(ISSUER, **claims))
    assert refused(signed(ISSUER, exp=now - 61)) == "the token has expired"
    assert refused(signed(ISSUER, nbf=now + 90)) == "the token is not valid yet"
    assert refused(signed(ISSUER, iat=now + 90)) == "the token is not valid yet"


def test_a_token_for_another_or_of_another_is_refused() -> None:
    assert refused(signed(ISSUER, aud="billing")) == "the token is for another audience"
    assert refused(signed("https://id.example.org/")) == "the token is of another issuer"
    assert made().identify(signed(ISSUER, aud=["billing", AUDIENCE]))


@pytest.mark.parametrize("claim", ["iss", "sub", "aud", "exp", "iat"])
def test_claims_that_must_be_there(claim: str) -> None:
    assert claim in refused(signed(ISSUER, **{claim: None}))


def test_a_token_that_names_no_key_or_an_unknown_one_is_refused() -> None:
    assert "does not name" in refused(signed(ISSUER, kid=None))
    assert "does not name" in refused(signed(ISSUER, kid="b"))


def test_another_key_under_a_known_name_is_refused() -> None:
    assert refused(signed(ISSUER, number=1)) == "the token is not valid"
    assert refused(signed(ISSUER, "RS256", "a")) == "the token is not valid"


def test_no_signature_is_none() -> None:
    claims = jwt.decode(signed(ISSUER), options={"verify_signature": False})
    for name in ("none", "None", "NONE", ""):
        unsigned = f"{part({'alg': name, 'kid': 'a'})}.{part(claims)}."
        assert "not signed by one of" in refused(unsigned)


@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
def test_a_public_key_is_no_secret_to_sign_with(algorithm: str) -> None:
    public = private_key("RS256").public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(published("RS256", "r")).encode(),
    ]
    claims = jwt.decode(signed(ISSUER), options={"verify_signature": False})
    text = f"{part({'alg': algorithm, 'kid': 'r'})}.{part(claims)}"
    for secret in secrets:
        digest = hmac.new(secret, text.encode(), getattr(hashlib, f"sha{algorithm[2:]}")).digest()
        forged = f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
        assert "not signed by one of" in refused(forged)


def test_other_algorithms_of_the_same_key_are_refused() -> None:
    claims = jwt.decode(signed(ISSUER), options={"verify_signature": False})
    for algorithm in ("PS256", "RS512"):
        token = jwt.encode(claims, private_key("RS256"), algorithm, {"kid": "r"})
        assert "not signed by one of" in refused(token)


def test_a_changed_token_is_refused() -> None:
    head, claims, signature = signed(ISSUER).split(".")
    more = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"scope": "admin"}
    assert refused(f"{head}.{part(more)}.{signature}") == "the token is not valid"


@pytest.mark.parametrize("number", [1e300, 2**70, float("inf"), float("nan"), "soon", None, [1]])
def test_a_time_that_is_none_is_refused_or_far_away(number: object) -> None:
    claims = jwt.decode(signed(ISSUER), options={"verify_signature": False}) | {"exp": number}
    text = f"{part({'alg': 'ES256', 'kid': 'a'})}.{part(claims)}"
    algorithm = jwt.get_algorithm_by_name("ES256")
    signature = algorithm.sign(text.encode(), private_key("ES256"))
    token = f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    if number in (1e300, 2**70):
        assert made().identify(token).expires.startswith("9999")
    else:
        refused(token)


@pytest.mark.parametrize(
    "token",
    ["", ".", "..", "a.b.c", "é.é.é", "x" * 10_240, "e30.e30.e30", "[" * 8000, "\x00" * 9],
    ids=range(9),
)
def test_garbage_is_refused(token: str) -> None:
    refused(token)


def test_ten_thousand_bytes_are_not_even_read() -> None:
    assert "longer than 8192" in refused(signed(ISSUER, note="x" * 10_000))


@pytest.mark.parametrize("depth", [500, 2500])
def test_nesting_ends_nothing(depth: int) -> None:
    nested = base64.urlsafe_b64encode(b"[" * depth).rstrip(b"=").decode()
    refused(f"{nested}.{nested}.x")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "zip"]), _JSON), _JSON)
def test_whatever_a_header_says_it_is_refused_in_our_words(header, claims) -> None:
    header = {"alg": "ES256", "kid": "a"} | header
    with pytest.raises(CredentialsError):
        made().identify(f"{part(header)}.{part(claims)}.{'A' * 86}")


@given(
    st.dictionaries(
        st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "roles"]),
        _JSON,
        min_size=1,
    )
)
def test_whatever_an_issuer_signs_it_is_judged(claims) -> None:
    whole = jwt.decode(signed(ISSUER), options={"verify_signature": False}) | claims
    text = f"{part({'alg': 'ES256', 'kid': 'a'})}.{part(whole)}"
    signature = jwt.get_algorithm_by_name("ES256").sign(text.encode(), private_key("ES256"))
    token = f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    try:
        key = made().identify(token)
    except CredentialsError:
        return
    assert set(key.scopes) <= {"predict", "batch", "admin", "metrics"}
