"""The process dies at every point of every way; whoever runs next brings it to a clean end.

There is always exactly one champion; it is never one that the gate did not pass; nothing is
promoted or spent twice; and no challenger is left behind.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retraining.worlds import PLAN, SCOPE, Killed, Scenery

from fedrisk.registry.trial_control import NO_TRIAL
from fedrisk.retraining.loop_store import check_chain

#: By way: what the world does, and how that ends: state and champion.
WAYS = {
    "done": (lambda s: None, ("done", "2")),
    "refused": (lambda s: setattr(s.gate, "verdict", "refuse"), ("refused", "1")),
    "failed": (lambda s: s.server.failing.add("2"), ("refused", "1")),
    "harm": (lambda s: s.sites.losses.update({"watch-1": -0.01}), ("returned", "1")),
    "worse": (
        lambda s: (s.sites.losses.update({"watch-1": -0.01}), setattr(s.sites, "ratio", 3.0)),
        ("abandoned", "2"),
    ),
}


def _scenery(way, fatal=None):
    scenery = Scenery(fatal=fatal)
    WAYS[way][0](scenery)

    def look():
        aliases = scenery.registry.aliases
        assert aliases.get("champion") in ("1", "2"), "there is no champion"
        assert scenery.registry.control == NO_TRIAL or "challenger" in aliases
        if way in ("refused", "failed"):
            assert aliases["champion"] == "1"

    scenery.point.look = look
    return scenery


def _run_until_it_ends(scenery, fatals=()):
    """Run it again after each death; the lease of the dead is taken over."""
    deaths, fatals = 0, list(fatals)
    while True:
        try:
            return scenery.run("manual"), deaths
        except Killed:
            deaths += 1
            scenery.point.passed.clear()
            scenery.point.fatal = fatals.pop(0) if fatals else None
            ended = scenery.store.listed()
            if ended and scenery.store.current(SCOPE) is None:
                return ended[0], deaths  # it died once all was written down


def _check_end(scenery, loop, way):
    state, champion = WAYS[way][1]
    assert (loop.state, scenery.registry.aliases) == (state, {"champion": champion})
    assert scenery.registry.control == NO_TRIAL
    assert scenery.store.current(SCOPE) is None
    assert len(scenery.store.listed()) == 1
    assert len(scenery.store.spent(SCOPE)) == 1
    assert scenery.registry.past == {"2": ["1", "2"], "1": ["1"]}[champion]
    assert len(scenery.sites.trained) == len(PLAN.challengers)
    check_chain(scenery.store.transitions(loop.id))


def _points(way):
    scenery = _scenery(way)
    scenery.run("manual")
    return len(scenery.point.passed)


@pytest.mark.parametrize("way", ["done", "refused", "harm"])
def test_a_death_at_any_point_changes_nothing_of_the_end(way):
    points = _points(way)
    assert points > 10
    for fatal in range(points):
        scenery = _scenery(way, fatal)
        loop, deaths = _run_until_it_ends(scenery)
        assert deaths == 1
        _check_end(scenery, loop, way)


@settings(max_examples=10, derandomize=True, deadline=None)
@given(way=st.sampled_from(sorted(WAYS)), fatals=st.lists(st.integers(0, 12), max_size=6))
def test_any_number_of_deaths_changes_nothing_of_the_end(way, fatals):
    first, *rest = [*fatals, None]
    scenery = _scenery(way, first)
    loop, _ = _run_until_it_ends(scenery, rest)
    _check_end(scenery, loop, way)
