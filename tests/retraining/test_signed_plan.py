"""A signature covers one plan, by one who is trusted; anything else covers nothing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedrisk.errors import UsageError
from fedrisk.retraining.plan import ChangePlan
from fedrisk.retraining.signed_plan import plan_is_signed, sign_plan, signature_file

PLAN = ChangePlan(approval="plan")


def _key(path):
    private = Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    none = serialization.NoEncryption()
    path.write_bytes(private.private_bytes(serialization.Encoding.PEM, form, none))
    return path


@pytest.fixture
def signed(tmp_path):
    """The plan's file, and the trusted keys."""
    public = sign_plan(PLAN, tmp_path / "plan.toml", _key(tmp_path / "key"))
    trusted = tmp_path / "trusted"
    trusted.write_text(f"\n{public} Dr Z\n")
    return tmp_path / "plan.toml", trusted


def test_a_trusted_signature_covers_this_plan_and_no_other(signed):
    file, trusted = signed
    assert plan_is_signed(PLAN, file, trusted)
    assert not plan_is_signed(ChangePlan(approval="plan", gate_days=57), file, trusted)


def test_nobody_is_trusted_who_is_not_named(signed, tmp_path):
    file, trusted = signed
    assert not plan_is_signed(PLAN, file, None)
    other = sign_plan(PLAN, tmp_path / "other.toml", _key(tmp_path / "other"))
    trusted.write_text(other)
    assert not plan_is_signed(PLAN, file, trusted)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"key": 1, "signature": "x"}'])
def test_a_damaged_signature_covers_nothing(signed, text):
    file, trusted = signed
    signature_file(file).write_text(text)
    assert not plan_is_signed(PLAN, file, trusted)


def test_keys_that_are_away_are_an_error(signed, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        plan_is_signed(PLAN, signed[0], tmp_path / "nowhere")
