"""Heads and receipts: who signed, over what, in the one form that there is."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from egress_history import COORDINATOR, SITE, STRANGER
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.attestation import (
    Head,
    Receipt,
    canonical,
    countersign,
    head_is_signed,
    public_text,
    read_private,
    receipt_is_signed,
    sign_head,
)
from fedrisk.errors import SiteFolderError, TamperedLogError

HEAD = sign_head("north", 3, "a" * 64, "2026-01-01T00:00:00", SITE)
RECEIPT = countersign(HEAD, "2026-01-02T00:00:00", COORDINATOR)


def test_a_head_is_signed_by_its_site_alone() -> None:
    assert head_is_signed(HEAD, public_text(SITE))
    assert not head_is_signed(HEAD, public_text(STRANGER))
    assert not head_is_signed(replace(HEAD, key=public_text(STRANGER)), public_text(STRANGER))


@pytest.mark.parametrize(
    "change", [{"site": "south"}, {"sequence": 4}, {"hash": "b" * 64}, {"time": "t"}]
)
def test_a_signature_covers_every_field(change: dict[str, object]) -> None:
    assert not head_is_signed(replace(HEAD, **change), public_text(SITE))
    other = replace(RECEIPT, head=replace(HEAD, **change))
    assert not receipt_is_signed(other, public_text(COORDINATOR))


def test_a_receipt_is_signed_by_the_coordinator_alone() -> None:
    assert receipt_is_signed(RECEIPT, public_text(COORDINATOR))
    assert not receipt_is_signed(RECEIPT, public_text(SITE))
    assert not receipt_is_signed(replace(RECEIPT, time="t"), public_text(COORDINATOR))


def test_a_head_is_no_receipt_and_a_receipt_no_head() -> None:
    """One key may sign both; neither stands in for the other."""
    one = countersign(HEAD, HEAD.time, SITE)
    assert not head_is_signed(replace(HEAD, signature=one.signature), public_text(SITE))


@pytest.mark.parametrize("signature", ["", "AAAA", "no base64!", "é", "\ud800"])
def test_what_is_no_signature_does_not_sign(signature: str) -> None:
    assert not head_is_signed(replace(HEAD, signature=signature), public_text(SITE))


def test_a_signature_has_one_form() -> None:
    """The last letter of 64 bytes in base64 has bits that decode to nothing."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    *rest, last, one, two = HEAD.signature
    same = "".join(rest) + letters[letters.index(last) + 1] + one + two
    assert base64.b64decode(same) == base64.b64decode(HEAD.signature)
    assert not head_is_signed(replace(HEAD, signature=same), public_text(SITE))


@pytest.mark.parametrize("key", ["", "ssh-ed25519", "ssh-ed25519 AAAA", "no key at all"])
def test_what_is_no_key_has_not_signed(key: str) -> None:
    assert not receipt_is_signed(RECEIPT, key)


def test_a_key_of_another_kind_has_not_signed() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    text = other.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert not receipt_is_signed(RECEIPT, text.decode())


def test_heads_and_receipts_read_back() -> None:
    assert Head.from_document(json.loads(canonical(HEAD.document()))) == HEAD
    assert Receipt.from_text(RECEIPT.text()) == RECEIPT
    assert "\n" not in RECEIPT.text()


@pytest.mark.parametrize("field", list(HEAD.document()))
@pytest.mark.parametrize("value", [None, 1.5, True, [], {}])
def test_a_field_of_another_type_is_an_error(field: str, value: object) -> None:
    with pytest.raises(TamperedLogError):
        Head.from_document(HEAD.document() | {field: value})


def test_a_field_too_few_or_too_many_is_an_error() -> None:
    document = HEAD.document()
    with pytest.raises(TamperedLogError, match="not a signed head"):
        Head.from_document(document | {"extra": 1})
    del document["hash"]
    with pytest.raises(TamperedLogError, match="not a signed head"):
        Head.from_document(document)


@given(
    st.one_of(
        st.text(),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
            lambda inner: st.one_of(
                st.lists(inner),
                st.dictionaries(st.sampled_from(["head", "time", "signature", "site"]), inner),
            ),
        ).map(json.dumps),
    )
)
def test_whatever_comes_as_a_receipt_is_one_or_an_error(text: str) -> None:
    try:
        receipt = Receipt.from_text(text)
    except TamperedLogError:
        return
    assert not receipt_is_signed(receipt, public_text(COORDINATOR))


def locked_key() -> bytes:
    """A key in OpenSSH format (PROTOCOL.key) that a password locks."""

    def told(part: bytes) -> bytes:
        return len(part).to_bytes(4, "big") + part

    public = told(b"ssh-ed25519") + told(SITE.public_key().public_bytes_raw())
    how = told(told(b"s" * 16) + (16).to_bytes(4, "big"))
    start = b"openssh-key-v1\0" + told(b"aes256-ctr") + told(b"bcrypt") + how
    content = start + (1).to_bytes(4, "big") + told(public) + told(bytes(160))
    lines = base64.encodebytes(content)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n%b-----END OPENSSH PRIVATE KEY-----\n" % lines


def test_a_key_reads_back_and_what_is_none_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH)
    path.write_bytes(SITE.private_bytes(*form, serialization.NoEncryption()))
    assert read_private(path).private_bytes_raw() == SITE.private_bytes_raw()

    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(*form, serialization.NoEncryption())
    )
    with pytest.raises(SiteFolderError, match="not an Ed25519 key"):
        read_private(path)
    path.write_bytes(locked_key())
    with pytest.raises(SiteFolderError, match="no signing key can be read"):
        read_private(path)
    path.write_text("no key")
    with pytest.raises(SiteFolderError, match="no signing key can be read"):
        read_private(path)
    with pytest.raises(SiteFolderError, match="no signing key can be read"):
        read_private(tmp_path / "none.key")
