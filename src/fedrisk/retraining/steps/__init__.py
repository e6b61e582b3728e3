"""The steps of a retraining, by the state that each goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fedrisk.retraining.states import State
from fedrisk.retraining.steps.fitting import fit_candidates
from fedrisk.retraining.steps.gating import judge_candidates
from fedrisk.retraining.steps.opening import open_retraining
from fedrisk.retraining.steps.registering import register_challenger, start_shadow
from fedrisk.retraining.steps.releasing import close, finish, promote_challenger
from fedrisk.retraining.steps.returning import give_back
from fedrisk.retraining.steps.step import Step
from fedrisk.retraining.steps.trying import await_approval, judge_canary, judge_shadow
from fedrisk.retraining.steps.watching import watch_champion

STEPS: Final[Mapping[State, Step]] = {
    "opened": open_retraining,
    "frozen": fit_candidates,
    "trained": judge_candidates,
    "gated": register_challenger,
    "registered": start_shadow,
    "shadow": judge_shadow,
    "awaiting approval": await_approval,
    "canary": judge_canary,
    "cleared": promote_challenger,
    "promoted": watch_champion,
    "watched": finish,
    "returning": give_back,
    "closing": close,
}
