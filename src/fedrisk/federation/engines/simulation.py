"""Flower's simulation runtime: hundreds of sites as actors on this machine."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrisk.federation.client_app import make_client_app
from fedrisk.federation.progress import Progress
from fedrisk.study.training import TrainingRequest

#: Runs a request over a Grid and writes its outcome; the composition root gives it.
Execute = Callable[[Grid, TrainingRequest], None]


def run_simulation(
    request: TrainingRequest, sites: Mapping[str, Path], folder: Path, execute: Execute
) -> dict[str, Any]:
    """Run a request over simulated sites.

    Parameters
    ----------
    request : TrainingRequest
    sites : mapping of name to path
    folder : Path
        The run's folder, where ``execute`` leaves the outcome.
    execute : callable
        Runs the request over Flower's Grid.

    Returns
    -------
    dict
        The outcome.

    Raises
    ------
    FedriskError
        The error that the run ended by.
    """
    from flwr.simulation import run_simulation as run_flower

    entries = [(name, path.resolve()) for name, path in sites.items()]
    client_app = make_client_app(lambda context: entries[int(context.node_config["partition-id"])])
    server = ServerApp()

    @server.main()
    def main(grid: Grid, _context: Context) -> None:
        execute(grid, request)

    logging.getLogger("flwr").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # Ray announces a change of its own that concerns machines with accelerators.
        warnings.simplefilter("ignore", FutureWarning)
        run_flower(
            server,
            client_app,
            num_supernodes=len(sites),
            backend_config={
                "init_args": {
                    "num_cpus": os.cpu_count() or 1,
                    "include_dashboard": False,
                    "log_to_driver": False,
                    "logging_level": logging.ERROR,
                },
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            },
        )
    outcome = Progress(folder).outcome()
    if outcome is None:
        raise RuntimeError("the server app ended without an outcome")
    return outcome
