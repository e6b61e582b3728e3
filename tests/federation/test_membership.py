"""Who takes part: sites leave and do not come back, and too few end the run with the reasons."""

from __future__ import annotations

import json

import pytest

from fedrisk.errors import EgressError, FederationError, QuorumError, SiteRefusedError
from fedrisk.federation.membership import Roster

SITES = ("west", "north", "south")


def test_named_sites_are_sorted_and_no_names_mean_whoever_comes() -> None:
    assert Roster.of(SITES, None).active == ("north", "south", "west")
    assert Roster.of((), 2).active is None


def test_everyone_who_answers_stays() -> None:
    roster = Roster.of(SITES, None)
    roster.close(set(SITES), {})
    assert roster.active == ("north", "south", "west")


def test_who_fails_is_dropped_while_the_quorum_holds() -> None:
    roster = Roster.of(SITES, 2)
    faults = {"west": EgressError("garbled", "look")}
    roster.close({"north", "south"}, faults)
    assert roster.active == ("north", "south")


def test_without_a_quorum_every_site_is_needed() -> None:
    roster = Roster.of(SITES, None)
    with pytest.raises(QuorumError, match="2 of the 3 sites that are needed answered: garbled"):
        roster.close({"north", "south"}, {"west": EgressError("garbled")})
    assert roster.active == ("north", "south", "west")  # the round may be asked again


def test_every_reason_and_every_hint_is_told_once() -> None:
    faults = {
        "south": FederationError("south is silent", "look at its log"),
        "west": FederationError("west is silent", "look at its log"),
    }
    with pytest.raises(QuorumError) as told:
        Roster.of(SITES, 2).close({"north"}, faults)
    assert told.value.message.endswith("needed answered: south is silent; west is silent")
    assert told.value.hint == "look at its log"


def test_refusals_alone_are_a_refusal() -> None:
    faults = {"west": SiteRefusedError("west refuses"), "south": SiteRefusedError("south refuses")}
    with pytest.raises(SiteRefusedError, match="west refuses"):
        Roster.of(SITES, 2).close({"north"}, faults)
    with pytest.raises(QuorumError):
        Roster.of(SITES, 2).close(set(), faults | {"north": FederationError("silent")})


def test_nobody_is_too_few_for_any_quorum() -> None:
    with pytest.raises(QuorumError, match=r"0 of the 1 .* no site is connected"):
        Roster.of((), None).close(set(), {})


def test_a_checkpoint_keeps_who_is_left_and_no_node() -> None:
    roster = Roster.of(SITES, 2)
    roster.nodes = {7: "north", 8: "south", 9: "west"}
    roster.close({"north", "south"}, {"west": FederationError("silent")})
    again = Roster.of(SITES, 2)
    again.restore(json.loads(json.dumps(roster.document())))
    assert (again.active, again.nodes) == (("north", "south"), {})
    first = Roster.of((), None)
    first.restore(json.loads(json.dumps(first.document())))
    assert first.active is None
