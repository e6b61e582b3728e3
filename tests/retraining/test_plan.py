"""The change plan: defaults, errors that name the key, a hash that knows every value."""

from __future__ import annotations

import pytest

from fedrisk.errors import UsageError
from fedrisk.retraining.plan import ChangePlan, parse_plan, read_plan


def test_without_a_file_the_defaults_hold_and_want_a_person(tmp_path):
    plan = read_plan(tmp_path / "plan.toml")
    assert plan == ChangePlan()
    assert plan.approval == "person"


def test_a_plan_is_read(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        'approval = "plan"\n[watch]\ndays = 3\n[[challengers]]\nname = "big"\n'
        "options = { penalty = 2 }\n"
    )
    plan = read_plan(path)
    assert (plan.approval, plan.watch.days) == ("plan", 3)
    assert plan.challengers[0].options == {"penalty": 2}
    assert ChangePlan.model_validate(plan.document()) == plan


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("canary_share = 1", "canary_share"),
        ("[service]\nshare = 2", "service.share"),
        ("challengers = []", "challengers"),
        ('[[challengers]]\nname = "../x"', "challengers.0.name"),
        ("[margins]\nauroc = nan", "margins.auroc"),
        ("=", "no TOML"),
        ("approval_days = 1e300", "approval_days"),
        ("[watch]\ndays = 1e12", "watch.days"),
        ("poll_seconds = 1e300", "poll_seconds"),
        ("window_days = 200.0", "window_days"),
        ("[canary]\nseconds = 9\nleast = 1\nmost_seconds = 1", "canary: .*less than seconds"),
        ("[[challengers]]\nname = 'a'\n[[challengers]]\nname = 'a'", "one name"),
    ],
)
def test_an_error_names_the_key(text, place):
    with pytest.raises(UsageError, match=place):
        parse_plan(text, "plan.toml")


def test_any_change_changes_the_hash():
    plans = [
        ChangePlan(),
        ChangePlan(gate_days=57),
        parse_plan("[margins]\nauroc = 0.03", "x"),
        parse_plan("[verdict]\npersistent = 1", "x"),
    ]
    assert len({plan.hash for plan in plans}) == len(plans)
