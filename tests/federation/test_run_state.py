"""A run's state comes back from JSON to the last bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from federation.faulty import STUDY
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.federation.run_state import RunState
from fedrisk.federation.strategies.base import Fit
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.newton import NewtonState, newton_start
from fedrisk.models.summary import summarise

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def summary():
    rng = np.random.default_rng(5)
    columns = {
        "age": np.where(rng.random(90) < 0.2, np.nan, rng.uniform(0, 100, 90)),
        "pressure": rng.normal(120, 20, 90),
        "sex": rng.integers(-1, 2, 90).astype(np.int32),
    }
    return summarise(STUDY, columns, rng.random(90) < 0.4)


def back(state: RunState) -> RunState:
    text = json.dumps(state.document(), allow_nan=False)
    return RunState.from_document(json.loads(text), STUDY)


def test_a_run_that_has_just_begun() -> None:
    assert back(RunState(created="2026-01-01")) == RunState(created="2026-01-01")


def test_summary_and_design_to_the_last_bit() -> None:
    before = summary()
    design = design_from_summary(STUDY, before)
    state = RunState("t", 1.5, before, design, {"north": {"train": 90}}, {"round": 3})
    after = back(state)
    assert after.summary is not None
    for name, array in before.arrays().items():
        found = after.summary.arrays()[name]
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()
    assert after.design == design
    assert after.design is not None
    assert [type(c.fill) for c in after.design.columns] == [type(c.fill) for c in design.columns]
    assert (after.counts, after.strategy, after.seconds) == (state.counts, {"round": 3}, 1.5)


@settings(deadline=None)
@given(st.lists(FINITE, min_size=3, max_size=3), FINITE, st.booleans())
def test_any_fit_to_the_last_bit(numbers: list[float], figure: float, converged: bool) -> None:
    parameters = np.array(numbers)
    with np.errstate(all="ignore"):
        hessian = np.nan_to_num(np.outer(parameters, parameters))
    fit = Fit(parameters, hessian, converged, {"gradient": figure})
    metrics = {"auroc": figure, "slope": None}
    after = back(RunState("t", fit=fit, fitted=("north",), metrics=metrics))
    assert after.fit is not None
    assert after.fit.parameters.tobytes() == parameters.tobytes()
    assert after.fit.hessian.tobytes() == hessian.tobytes()
    assert (after.fit.converged, after.fit.notes) == (converged, {"gradient": figure})
    assert (after.fitted, after.metrics) == (("north",), metrics)


def test_newton_s_place_also_before_its_first_sums() -> None:
    start = newton_start(3, 0.3)
    later = replace(start, step=np.array([1 / 3, -0.0, 5e-324]), loss=2 / 3, evaluations=4)
    for state in (start, later):
        after = NewtonState.from_document(json.loads(json.dumps(state.document(), allow_nan=False)))
        assert after.loss == state.loss
        for name in ("beta", "step", "hessian", "proposal"):
            assert getattr(after, name).tobytes() == getattr(state, name).tobytes()
        assert (after.damping, after.evaluations, after.done) == (1.0, state.evaluations, False)
