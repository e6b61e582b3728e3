"""Rounds of Flower's averaging strategies on the same design matrix, for comparison."""

from __future__ import annotations

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord
from flwr.serverapp.strategy import FedAvg

from fedrisk.federation.query import Query
from fedrisk.federation.strategies.base import Fit, Start, sums_at
from fedrisk.models.newton import log_odds
from fedrisk.study.records import FloatArray

#: Local gradient steps between two rounds, and their length in units of the inverse curvature.
LOCAL_STEPS = 20.0
LEARNING_RATE = 1.0
_KEY = "local_update/parameters"


def average(start: Start, flower: FedAvg) -> Fit:
    """Run a Flower strategy for the request's number of rounds.

    Flower's strategy configures each round and aggregates its replies; messages go through our own
    collection, which has a deadline.
    """
    broadcast, nodes = start.broadcast, start.broadcast.nodes()
    parameters = np.zeros(1 + len(start.design.columns))
    parameters[0] = log_odds(start.prevalence)
    arrays = ArrayRecord({_KEY: Array(parameters)})
    for number in range(1, broadcast.request.rounds + 1):
        messages = list(flower.configure_train(number, arrays, _config(start), broadcast.grid))
        replies = broadcast.exchange_raw("descent", messages[: len(nodes)])
        aggregated, _ = flower.aggregate_train(number, replies)
        moved = _parameters(aggregated, parameters)
        broadcast.annotate({"step": float(np.max(np.abs(moved - parameters)))})
        parameters, arrays = moved, ArrayRecord({_KEY: Array(moved)})
    sums = sums_at(start, parameters[None])
    ridge = np.diag([0.0, *[start.study.penalty] * (len(parameters) - 1)])
    gradient = sums.gradient[0] + ridge @ parameters
    notes = {"gradient_per_row": float(np.max(np.abs(gradient))) / start.rows}
    return Fit(parameters, sums.hessian[0] + ridge, converged=False, notes=notes)


def flower_arguments(start: Start) -> dict[str, object]:
    """Arguments that every Flower strategy gets: all sites take part in every round."""
    sites = len(start.broadcast.nodes())
    return {
        "fraction_train": 1.0,
        "fraction_evaluate": 0.0,
        "min_train_nodes": sites,
        "min_evaluate_nodes": 0,
        "min_available_nodes": sites,
    }


def _config(start: Start) -> ConfigRecord:
    options = {
        "local-steps": LOCAL_STEPS,
        "learning-rate": LEARNING_RATE,
        "ridge": start.study.penalty / start.rows,
    } | dict(start.broadcast.request.options)
    query = start.query
    return Query(
        "descent", query.study, query.run_id, query.as_of, query.design, options=options
    ).config()


def _parameters(aggregated: ArrayRecord | None, before: FloatArray) -> FloatArray:
    if aggregated is None:
        return before
    (array,) = aggregated.values()
    return np.asarray(array.numpy(), np.float64)
