"""The loop from end to end in a world of memory: its ends, its waits, and what it is spared."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from retraining.worlds import PLAN, SCOPE, START, Scenery

from fedrisk.errors import (
    ConvergenceError,
    DatabaseAwayError,
    FederationError,
    FencedError,
    QuorumError,
    RegistryError,
    RetrainingError,
    ServiceAwayError,
)
from fedrisk.monitoring.verdict import Harm
from fedrisk.registry.trial_control import NO_TRIAL
from fedrisk.retraining.loop import Transition
from fedrisk.retraining.loop_store import SHOWN, check_chain
from fedrisk.retraining.running import new_loop
from fedrisk.retraining.states import ENDS, may_follow

WAY = (
    *("frozen", "trained", "gated", "registered", "shadow", "canary"),
    *("cleared", "promoted", "watched", "done"),
)


@pytest.fixture
def scenery():
    return Scenery()


def _states(scenery, loop):
    return tuple(each.state for each in scenery.store.transitions(loop.id))


def _quiet(scenery):
    """No challenger is left, and nothing of one reaches anybody."""
    assert "challenger" not in scenery.registry.aliases
    assert scenery.registry.control == NO_TRIAL


def test_a_better_challenger_becomes_champion_and_is_watched(scenery):
    loop = scenery.run()
    assert (loop.state, scenery.registry.aliases) == ("done", {"champion": "2"})
    assert _states(scenery, loop) == WAY
    assert scenery.store.current(SCOPE) is None
    _quiet(scenery)
    check_chain(scenery.store.transitions(loop.id))


def test_the_challenger_answers_nobody_before_gate_and_shadow(scenery):
    seen = []
    challenge = scenery.registry.challenge

    def noted(version, control, reason, fence):
        seen.append((scenery.store.current(SCOPE).state, control.share, control.shadow))
        challenge(version, control, reason, fence)

    scenery.registry.challenge = noted
    scenery.run()
    assert seen == [
        ("gated", 0.0, False),
        ("registered", 0.0, True),
        ("shadow", PLAN.service.share, True),
    ]


@pytest.mark.parametrize("verdict", ["refuse", "insufficient evidence", "not identifiable"])
def test_only_a_pass_goes_on(scenery, verdict):
    scenery.gate.verdict = verdict
    loop = scenery.run()
    assert (loop.state, loop.reason) == ("refused", f"{verdict}: the gate says {verdict}")
    assert loop.facts["closing"]["gate"]["verdict"] == verdict
    assert scenery.registry.aliases == {"champion": "1"}
    assert scenery.registry.moves == []


def test_rows_that_a_gate_saw_are_known_to_the_next_one_whatever_it_said(scenery):
    scenery.gate.verdict = "refuse"
    first = scenery.run("manual")
    assert "nothing lies between" in scenery.run("manual").reason
    scenery.clock.time += timedelta(days=7)
    second = scenery.run("manual")
    assert second.facts["frozen"]["split"] == first.facts["frozen"]["until"]
    seen, told = scenery.gate.seen
    assert seen == ()
    assert [(each["verdict"], each["alpha"]) for each in told] == [("refuse", 0.01)]


def test_rows_without_care_are_asked_for_once(scenery):
    scenery.gate.verdict, scenery.gate.wants_untreated = "not identifiable", True
    loop = scenery.run()
    asked = [scenery.sites.compared[f"{loop.id}-gate{end}"] for end in ("", "-untreated")]
    assert [each.untreated for each in asked] == [False, True]
    assert loop.state == "refused"
    assert loop.facts["closing"]["gate"]["verdict"] == "not identifiable"


@pytest.mark.parametrize(
    ("fitted", "reason"), [(START, "nothing lies between"), (None, "has no blocks")]
)
def test_no_rows_judge_that_the_champion_may_have_seen(scenery, monkeypatch, fitted, reason):
    monkeypatch.setattr("retraining.worlds.FITTED", fitted)
    loop = scenery.run()
    assert loop.state == "abandoned"
    assert reason in loop.reason
    assert scenery.sites.trained == {}


def test_a_person_is_asked_unless_a_signed_plan_covers_it(scenery):
    scenery.signed = False
    loop = scenery.run(patience=100)
    assert loop.state == "awaiting approval"
    assert scenery.registry.control.share == 0
    assert scenery.run(patience=100).id == loop.id
    scenery.approve(loop)
    done = scenery.run()
    assert done.state == "done"
    assert done.facts["canary"]["approval"]["by"] == "Dr Z"


def test_a_plan_that_wants_a_person_asks_one_even_when_signed():
    scenery = Scenery(PLAN.model_copy(update={"approval": "person"}))
    assert scenery.run(patience=100).state == "awaiting approval"


def test_a_rejected_challenger_goes(scenery):
    scenery.signed = False
    loop = scenery.run(patience=100)
    scenery.approve(loop, approved=False)
    with pytest.raises(RetrainingError, match="answer already"):
        scenery.approve(loop)
    done = scenery.run()
    assert (done.state, done.reason) == ("refused", "rejected by Dr Z: seen")
    assert scenery.registry.aliases == {"champion": "1"}
    _quiet(scenery)


def test_an_approval_that_nobody_gives_ends_it(scenery):
    scenery.signed = False
    loop = scenery.run(patience=100)
    scenery.clock.time += timedelta(days=15)
    done = scenery.run(patience=100)
    assert (done.id, done.state) == (loop.id, "abandoned")
    assert "nobody agreed within 14 days" in done.reason
    _quiet(scenery)


def test_nothing_is_approved_that_does_not_wait(scenery):
    loop = scenery.run()
    with pytest.raises(RetrainingError, match="it is done"):
        scenery.approve(loop)
    with pytest.raises(RetrainingError, match="no retraining"):
        scenery.approve(replace(loop, id="other"))


@pytest.mark.parametrize(
    ("status", "harm", "reason"),
    [
        ("quality", "none", "broken"),
        ("stable", "none", "nothing changed"),
        ("drift", "none", "drift without measured harm"),
        ("insufficient evidence", "unknown", "does not suffice"),
    ],
)
def test_without_harm_nothing_is_fitted(scenery, status, harm, reason):
    scenery.watch.status, scenery.watch.harm = status, Harm(harm)
    loop = scenery.run()
    assert loop.state == "done"
    assert reason in loop.reason
    assert scenery.sites.trained == {}
    assert scenery.watch.kept == 1


def test_harm_to_calibration_alone_is_recalibrated_only(scenery):
    scenery.watch.diagnosis = "calibration"
    loop = scenery.run()
    names = [run.partition("-")[2].partition("-")[2] for run in scenery.sites.trained]
    assert names == ["recalibrated"]
    request = next(iter(scenery.sites.trained.values())).result.request
    assert request.base == {"version": "1"}
    assert loop.state == "done"


def test_the_gate_has_later_rows_than_the_fit_and_only_matured_ones(scenery):
    loop = scenery.run()
    fit = next(iter(scenery.sites.trained.values())).result.request
    gate = scenery.sites.compared[f"{loop.id}-gate"]
    assert fit.until == gate.since
    assert gate.since < gate.until
    study = fit.study
    assert gate.until == (START - study.maturity).isoformat()
    assert fit.as_of == gate.as_of


def test_of_the_time_since_harm_began_the_earlier_half_is_fitted_on(scenery):
    onset = START - timedelta(days=28)
    scenery.watch.harm = Harm("measured", since=onset)
    loop = scenery.run()
    requests = {
        run.rpartition("-")[2]: fitted.result.request
        for run, fitted in scenery.sites.trained.items()
    }
    mature = START - next(iter(requests.values())).study.maturity
    split = onset + (mature - onset) / 2
    assert {request.until for request in requests.values()} == {split.isoformat()}
    assert requests["recent"].since == requests["recalibrated"].since == onset.isoformat()
    assert requests["refit"].since is None
    assert scenery.sites.compared[f"{loop.id}-gate"].since == split.isoformat()


def test_without_an_onset_recent_rows_are_as_many_days_as_the_gates(scenery):
    scenery.run()
    requests = {
        run.rpartition("-")[2]: fitted.result.request
        for run, fitted in scenery.sites.trained.items()
    }
    days = timedelta(days=PLAN.gate_days)
    recent = requests["recent"]
    assert datetime.fromisoformat(recent.until) - datetime.fromisoformat(recent.since) == days


def test_cooldown_counts_retrainings_that_fitted_something(scenery):
    assert scenery.run().state == "done"
    assert "days ago" in scenery.run().reason
    scenery.clock.time += timedelta(days=60)
    done = scenery.run()
    assert scenery.registry.aliases["champion"] == done.facts["promoted"]["version"] != "2"


def test_a_candidate_that_has_no_solution_leaves_the_others(scenery):
    scenery.sites.faults = [ConvergenceError("no finite solution")]
    loop = scenery.run()
    assert loop.state == "done"
    assert loop.facts["trained"]["failed"] == {"refit": "no finite solution"}
    assert loop.facts["gated"]["chosen"] == "recalibrated"


def test_sites_that_are_away_are_waited_for_and_then_it_is_abandoned(scenery):
    scenery.sites.faults = [QuorumError("site south did not answer")] * 100
    loop = scenery.run()
    assert (loop.state, loop.reason) == ("abandoned", "site south did not answer")
    assert scenery.clock.now() - START == timedelta(seconds=PLAN.patience_seconds)
    assert scenery.registry.aliases == {"champion": "1"}


def test_sites_that_come_back_in_time_are_asked_again(scenery):
    scenery.sites.faults = [FederationError("away")] * 3
    assert scenery.run().state == "done"


@pytest.mark.parametrize("state", WAY[:-2])
def test_a_registry_that_is_away_from_some_state_on(state):
    scenery = Scenery()
    advance = scenery.store.advance

    def then_away(loop, lease, step, spent=None):
        after = advance(loop, lease, step, spent)
        if step.state == state:
            scenery.registry.away = 10_000
        return after

    scenery.store.advance = then_away
    try:
        loop = scenery.run()
    except RegistryError:
        loop = scenery.store.current(SCOPE)
        assert loop.state in ("closing", "promoted")
    else:
        assert loop.state == "abandoned"
    assert loop.reason == "the registry is away"
    champion = "2" if state == "promoted" else "1"
    assert scenery.registry.aliases["champion"] == champion
    # Once it is back, whoever runs next brings it to its end.
    scenery.registry.away, scenery.store.advance = 0, advance
    if loop.open:
        loop = scenery.run()
    assert loop.state == ("done" if state == "promoted" else "abandoned")
    assert scenery.registry.aliases == {"champion": champion}
    _quiet(scenery)


def test_a_champion_that_somebody_moves_meanwhile_is_left_alone(scenery):
    scenery.signed = False
    loop = scenery.run(patience=100)
    scenery.registry.aliases["champion"] = "9"
    scenery.approve(loop)
    done = scenery.run()
    assert done.state == "abandoned"
    assert "somebody moved it" in done.reason
    assert scenery.registry.aliases == {"champion": "9"}


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ("shadow errors", "in the shadow, 1,000"),
        ("difference", "from the champion's on average"),
        ("errors", "as a canary"),
        ("slow", "99th percentile"),
        ("untried", "the server never tried it"),
    ],
)
def test_a_challenger_that_fails_in_service_goes(scenery, flaw, reason):
    server = scenery.server
    if flaw == "shadow errors":
        server.shadow_errors = 1_000
    elif flaw == "difference":
        server.difference = 0.4
    elif flaw == "untried":
        server.tries = False
    else:
        {"errors": server.failing, "slow": server.slow}[flaw].add("2")
    loop = scenery.run()
    assert loop.state == ("abandoned" if flaw == "untried" else "refused")
    assert reason in loop.reason
    assert scenery.registry.aliases == {"champion": "1"}
    _quiet(scenery)


def test_without_a_server_nothing_is_tried_and_the_record_says_so():
    scenery = Scenery(server=False)
    loop = scenery.run()
    assert loop.state == "done"
    reasons = {each.state: each.reason for each in scenery.store.transitions(loop.id)}
    assert "no server is named" in reasons["shadow"]
    assert "no server is named" in reasons["cleared"]


def test_a_server_that_is_away_in_a_trial_abandons_it(scenery):
    scenery.server.away = [ServiceAwayError("the server does not answer")] * 100
    loop = scenery.run()
    assert (loop.state, loop.reason) == ("abandoned", "the server does not answer")
    _quiet(scenery)


@pytest.mark.parametrize("flaw", ["refuses", "failing", "slow"])
def test_a_champion_that_fails_in_service_is_returned_from(scenery, flaw):
    promote = scenery.registry.promote

    def then_fail(version, *rest):
        promote(version, *rest)
        getattr(scenery.server, flaw).add(version)

    scenery.registry.promote = then_fail
    loop = scenery.run()
    assert loop.state == "returned"
    assert scenery.registry.aliases == {"champion": "1"}
    assert loop.facts["returned"]["reevaluated"][0]["fit"]
    assert f"{loop.id}-return-1" in scenery.sites.compared


def test_a_champion_whose_matured_labels_show_harm_is_returned_from(scenery):
    scenery.sites.losses = {"watch-2": -0.01}
    loop = scenery.run()
    assert loop.state == "returned"
    assert "log loss lower by 0.01000" in loop.reason
    watched = [run for run in scenery.sites.compared if "-watch-" in run]
    assert [run[-7:] for run in watched] == ["watch-1", "watch-2"]
    request = scenery.sites.compared[watched[0]]
    assert request.since == loop.facts["frozen"]["as_of"]


def test_a_loss_within_noise_is_no_harm(scenery):
    scenery.sites.losses = {"watch": -0.002}
    assert scenery.run().state == "done"


def test_nobody_returns_to_a_version_that_is_not_fit_any_more(scenery):
    scenery.sites.losses = {"watch": -0.01}
    scenery.sites.ratio = 2.5
    loop = scenery.run()
    assert loop.state == "abandoned"
    assert "2.50 events for each" in loop.reason
    assert scenery.registry.aliases == {"champion": "2"}


def test_a_holder_that_lost_its_lease_moves_nothing():
    """It comes back from a pause in the middle of a step, while another has gone on."""
    scenery = Scenery()
    scenery.signed = False
    loop = scenery.run(patience=100)
    scenery.approve(loop)
    old = scenery.take("here:1")
    challenge = scenery.registry.challenge

    def overtaken(*rest):
        scenery.registry.challenge = challenge
        assert scenery.run().state == "done"
        challenge(*rest)

    scenery.registry.challenge = overtaken
    with pytest.raises(FencedError):
        scenery.machine(old).run(scenery.store.find(loop.id), 1e9)
    assert scenery.registry.aliases == {"champion": "2"}
    assert scenery.registry.moves.count("promote") == 1


def test_one_retraining_of_a_model_is_open_and_one_holder_has_it(scenery):
    lease = scenery.store.take(SCOPE, "far:1", START, 60.0)
    with pytest.raises(RetrainingError, match="far:1 retrains"):
        scenery.take()
    scenery.clock.time += timedelta(seconds=61)
    assert scenery.take().fence == lease.fence + 1


def test_every_transition_is_one_that_may_be(scenery):
    loop = scenery.run()
    for each in scenery.store.transitions(loop.id):
        assert may_follow(each.state, each.before)
    assert loop.state in ENDS


def test_nothing_is_fitted_on_rows_from_before_broken_data_were_mended(scenery):
    scenery.watch.sound_since = START - timedelta(days=100)
    assert scenery.run().state == "done"
    since = [fitted.result.request.since for fitted in scenery.sites.trained.values()]
    assert len(since) == len(PLAN.challengers)
    assert all(datetime.fromisoformat(each) >= scenery.watch.sound_since for each in since)


def test_a_retraining_waits_for_rows_after_broken_data(scenery):
    scenery.watch.sound_since = scenery.clock.now()
    loop = scenery.run()
    assert (loop.state, scenery.registry.aliases) == ("abandoned", {"champion": "1"})
    assert "data were broken until" in scenery.store.transitions(loop.id)[-1].reason
    assert scenery.sites.trained == {}


def test_a_database_that_is_away_for_a_moment_abandons_nothing(scenery):
    spent, times = scenery.store.spent, []

    def away_twice(scope):
        times.append(scope)
        if len(times) in (3, 4):
            raise DatabaseAwayError("retrainings cannot be read: the server is away")
        return spent(scope)

    scenery.store.spent = away_twice
    assert scenery.run().state == "done"
    assert sum("trying again" in each for each in scenery.said) == 2


def test_the_budget_counts_a_retraining_behind_a_hundred_that_fitted_nothing(scenery):
    first = scenery.run()
    lease = scenery.take()
    scenery.clock.time += timedelta(days=61)
    for number in range(SHOWN):
        made = new_loop(scenery.store, SCOPE, "drift", scenery.plan, scenery.clock.time)
        loop = replace(made, id=f"{number:03}")
        scenery.store.begin(loop, lease)
        for state in ("closing", "done"):
            step = Transition(loop.number + 1, loop.state, state, START, lease.fence, "nothing")
            loop = scenery.store.advance(loop, lease, step)
    made = new_loop(scenery.store, SCOPE, "drift", scenery.plan, scenery.clock.time)
    assert made.plan["began"] == [first.created.isoformat()]
