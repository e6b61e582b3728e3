"""The states of a retraining: every one can be reached, and every way ends."""

from __future__ import annotations

from fedrisk.retraining.states import ENDS, FIRST, FOLLOWERS, STATES, may_follow


def _reached(start, barred=frozenset()):
    found, new = set(), {start}
    while new:
        found |= new
        new = {after for state in new for after in FOLLOWERS[state]} - found - barred
    return found


def test_every_state_is_reached_and_leads_to_an_end():
    assert _reached(FIRST) == set(STATES) == set(FOLLOWERS)
    for state in STATES:
        assert _reached(state) & ENDS, state


def test_nothing_follows_an_end_and_no_way_is_a_circle():
    assert all(not FOLLOWERS[end] for end in ENDS)
    assert all(state not in _reached(after) for state in STATES for after in FOLLOWERS[state])


def test_a_champion_is_made_only_after_gate_trial_and_the_record_of_the_intent():
    for needed in ("gated", "registered", "shadow", "canary", "cleared"):
        assert "promoted" not in _reached(FIRST, frozenset({needed})), needed


def test_what_was_promoted_is_never_refused_and_what_was_not_is_never_returned():
    assert not {"refused", "closing"} & _reached("promoted")
    assert "returned" not in _reached("closing")
    assert not may_follow("returned", after="canary")
