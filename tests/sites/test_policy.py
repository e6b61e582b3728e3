"""A policy is read strictly: what is wrong is an error that names the key, never a default."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from fedrisk.errors import SiteFolderError
from fedrisk.sites.policy import OPEN, Policy, load_policy, write_policy

DOCUMENT = Path(__file__).parents[2] / "docs" / "policy.md"


def write(path: Path, text: str) -> Path:
    file = path / "policy.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_the_written_policy_is_the_default_one(tmp_path: Path) -> None:
    write_policy(tmp_path / "policy.toml")
    assert load_policy(tmp_path / "policy.toml") == Policy()


@pytest.mark.parametrize("policy", [OPEN, Policy(coefficient=1 / 3, models=(), local_steps=1e300)])
def test_any_policy_comes_back_as_it_was_written(tmp_path: Path, policy: Policy) -> None:
    write_policy(tmp_path / "policy.toml", policy)
    assert load_policy(tmp_path / "policy.toml") == policy


def test_the_written_policy_says_what_each_key_is(tmp_path: Path) -> None:
    write_policy(tmp_path / "policy.toml")
    text = (tmp_path / "policy.toml").read_text(encoding="utf-8")
    assert set(tomllib.loads(text)) == set(Policy.model_fields)
    for key in Policy.model_fields:
        assert re.search(rf"^{key} = .+  # \w.+", text, re.MULTILINE)


def test_what_is_left_out_has_its_safe_default(tmp_path: Path) -> None:
    assert load_policy(write(tmp_path, "")) == Policy()
    assert load_policy(write(tmp_path, "candidates = 2")) == Policy(candidates=2)


@pytest.mark.parametrize("key", ["contributor", "Contributors", "effective-rows"])
def test_an_unknown_key_is_an_error_that_names_it(tmp_path: Path, key: str) -> None:
    with pytest.raises(SiteFolderError, match=f"{key}: is not a key that a policy has"):
        load_policy(write(tmp_path, f"{key} = 5"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("approved_studies_only", '"perhaps"'),
        ("models", '"logistic"'),
        ("queries", "[1]"),
        ("intercept", '"high"'),
        ("intercept", "0"),
        ("coefficient", "-5"),
        ("linear_predictor", "nan"),
        ("effective_rows", "-1"),
        ("contributors", "-1"),
        ("contributors", "2.5"),
        ("parameters_per_row", "0"),
        ("candidates", "0"),
        ("smallest_share", "1.5"),
        ("smallest_share", "-0.1"),
        ("test_rows", "-1"),
        ("test_events", "0.5"),
        ("local_steps", "0"),
        ("queries_per_day", "-1"),
        ("queries_per_day", "nan"),
        ("evaluations_per_day", "0"),
        ("refusals_per_day", "0"),
        ("related_studies", "[]"),
        ("frozen_cohort", '"yes, please"'),
        ("cohort_difference", "-1"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_key(tmp_path: Path, key: str, value: str) -> None:
    with pytest.raises(SiteFolderError, match=key):
        load_policy(write(tmp_path, f"{key} = {value}"))


def test_every_wrong_key_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(SiteFolderError) as caught:
        load_policy(write(tmp_path, "coefficient = -1\ncontributers = 3\n"))
    assert "coefficient: " in caught.value.message
    assert "contributers: " in caught.value.message
    assert str(tmp_path / "policy.toml") in caught.value.message


@pytest.mark.parametrize("content", [b"coefficient = ", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "policy.toml").write_bytes(content)
    with pytest.raises(SiteFolderError, match=r"policy\.toml"):
        load_policy(tmp_path / "policy.toml")


def test_a_missing_policy_is_an_error_and_no_default(tmp_path: Path) -> None:
    with pytest.raises(SiteFolderError, match="no such file"):
        load_policy(tmp_path / "policy.toml")


def test_the_open_policy_switches_every_rule_off() -> None:
    """Of each key the value that can refuse nothing; kinds are those that there are."""
    for key, value in OPEN:
        if key in ("models", "strategies", "queries", "window_days"):
            assert value == getattr(Policy(), key)
        elif isinstance(getattr(Policy(), key), bool):
            assert value is (key == "related_studies")
        else:
            assert value in (0, float("inf")), key
            assert value != getattr(Policy(), key)


def test_a_policy_of_an_earlier_release_takes_part_in_every_strategy(tmp_path: Path) -> None:
    from fedrisk.federation.strategies import STRATEGIES

    assert load_policy(write(tmp_path, "")).strategies == tuple(STRATEGIES)


def test_docs_policy_md_tells_every_key_and_its_default() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE))
    assert set(rows) == set(Policy.model_fields)
    for key, field in Policy.model_fields.items():
        default = field.default
        shown = {True: "true", False: "false"}.get(default) if isinstance(default, bool) else None
        if isinstance(default, tuple):
            shown = ", ".join(f"`{item}`" for item in default)
        assert rows[key] == (shown or f"{default:g}"), key
