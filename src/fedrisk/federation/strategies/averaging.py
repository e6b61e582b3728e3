"""Rounds of Flower's averaging strategies on the same design matrix, for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
from flwr.app import Array, ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from fedrisk.errors import FederationError
from fedrisk.federation.query import Query, Reply
from fedrisk.federation.strategies.base import Fit, Start, sums_at
from fedrisk.models.newton import log_odds
from fedrisk.study.records import FloatArray

#: Local gradient steps between two rounds, and their length in units of the inverse curvature.
LOCAL_STEPS = 20.0
LEARNING_RATE = 1.0
_KEY = "local_update/parameters"
#: What Flower's adaptive strategies remember from one round to the next.
_MOMENTS = ("m_t", "v_t")


class _AnyNode:
    """A Grid with one node: Flower's strategy says what is asked, our roster says whom.

    Flower's own sampling waits for nodes without a limit; here it never has to.
    """

    def get_node_ids(self) -> list[int]:
        return [0]


def average(start: Start, flower: FedAvg) -> Fit:
    """Run a Flower strategy for the request's number of rounds.

    Flower's strategy configures each round and aggregates its replies; messages go through our own
    collection, which has a deadline. Every round averages the sites that answered it.
    """
    parameters, done = _start(start, flower)
    for number in range(done + 1, start.broadcast.request.rounds + 1):
        moved = _round(start, flower, number, parameters)
        start.broadcast.annotate({"step": float(np.max(np.abs(moved - parameters)))})
        parameters = moved
        start.keep(_document(flower, number, parameters))
    sums = sums_at(start, parameters[None])
    ridge = np.diag([0.0, *[start.study.penalty] * (len(parameters) - 1)])
    gradient = sums.gradient[0] + ridge @ parameters
    notes = {"gradient_per_row": float(np.max(np.abs(gradient))) / max(float(sums.rows), 1.0)}
    return Fit(parameters, sums.hessian[0] + ridge, converged=False, notes=notes)


def flower_arguments() -> dict[str, object]:
    """Arguments that every Flower strategy gets: every node that it sees takes part."""
    return {
        "fraction_train": 1.0,
        "fraction_evaluate": 0.0,
        "min_train_nodes": 1,
        "min_evaluate_nodes": 0,
        "min_available_nodes": 1,
    }


def _round(start: Start, flower: FedAvg, number: int, parameters: FloatArray) -> FloatArray:
    query = _query(start, parameters)
    arrays, any_node = ArrayRecord({_KEY: Array(parameters)}), cast("Grid", _AnyNode())
    (message,) = flower.configure_train(number, arrays, query.config(), any_node)
    replies = start.broadcast.ask(query, message.content)
    if not any(reply.rows for reply in replies):
        raise FederationError("no site that is left has a training row")
    aggregated, _ = flower.aggregate_train(number, _messages(message, replies))
    moved = _parameters(aggregated, parameters)
    if not np.all(np.isfinite(moved)):
        raise FederationError("the fit is not finite", hint="lower the strategy's step sizes")
    return moved


def _messages(asked: Message, replies: Sequence[Reply]) -> list[Message]:
    """The replies as Flower's strategies read them: one record of arrays, one of weights."""
    asked.metadata.__dict__["_message_id"] = "round"  # as Flower's own grids do
    contents = [
        RecordDict(
            {
                "arrays": ArrayRecord({name: Array(a) for name, a in reply.arrays.items()}),
                "metrics": MetricRecord({"num-examples": reply.rows}),
            }
        )
        for reply in replies
    ]
    return [Message(content, reply_to=asked) for content in contents]


def _query(start: Start, parameters: FloatArray) -> Query:
    """The question of a round; the ridge is shared out over the rows that are in the fit now."""
    known, active = start.broadcast.known, start.broadcast.roster.active
    rows = sum(known.counts[site]["train"] for site in active or ())
    options = {
        "local-steps": LOCAL_STEPS,
        "learning-rate": LEARNING_RATE,
        "ridge": start.study.penalty / max(rows, 1),
    } | dict(start.broadcast.request.options)  # checked before the run: its strategy's own
    return replace(start.query, kind="descent", parameters=parameters[None], options=options)


def _parameters(aggregated: ArrayRecord | None, before: FloatArray) -> FloatArray:
    if aggregated is None:
        return before
    (array,) = aggregated.values()
    return np.asarray(array.numpy(), np.float64)


def _start(start: Start, flower: FedAvg) -> tuple[FloatArray, int]:
    if start.kept is None:
        parameters = np.zeros(1 + len(start.design.columns))
        parameters[0] = log_odds(start.prevalence)
        return parameters, 0
    for name, moment in start.kept["moments"].items():
        setattr(flower, name, {key: np.array(value) for key, value in moment.items()})
    return np.array(start.kept["parameters"]), int(start.kept["round"])


def _document(flower: FedAvg, number: int, parameters: FloatArray) -> dict[str, Any]:
    moments: dict[str, Mapping[str, Any] | None] = {m: getattr(flower, m, None) for m in _MOMENTS}
    kept = {
        name: {key: np.asarray(value).tolist() for key, value in moment.items()}
        for name, moment in moments.items()
        if moment is not None
    }
    return {"round": number, "parameters": parameters.tolist(), "moments": kept}
