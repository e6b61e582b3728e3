"""Flower's simulation runtime: hundreds of sites as actors on this machine."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedrisk.federation.client_app import make_client_app
from fedrisk.federation.progress import Progress
from fedrisk.study.questions import Request

#: Runs a request over a Grid and writes its outcome; the composition root gives it.
Execute = Callable[[Grid, Request], None]


def run_simulation(
    request: Request, sites: Mapping[str, Path], folder: Path, execute: Execute
) -> dict[str, Any]:
    """Run a request over simulated sites.

    SIGTERM ends this process at once, with exit code 143: what was checkpointed can be taken up.

    Parameters
    ----------
    request : Request
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
        with _ray(request.run_id):
            run_flower(
                server,
                client_app,
                num_supernodes=len(sites),
                backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}},
            )
    outcome = Progress(folder).outcome()
    if outcome is None:
        raise RuntimeError("the server app ended without an outcome")
    return outcome


@contextmanager
def _ray(run_id: str) -> Iterator[None]:
    """Start Ray, which Flower then finds running, and take SIGTERM back from it.

    Ray lets SIGTERM print a stack trace and end the process by codes of its own.
    """
    import ray

    former = signal.getsignal(signal.SIGTERM)
    if not ray.is_initialized():
        try:
            ray.init(
                runtime_env={"env_vars": {"PYTHONPATH": os.pathsep.join(sys.path)}},
                num_cpus=os.cpu_count() or 1,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except SystemExit:  # by Ray's handler, while it starts
            _end_at_once(run_id)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, lambda _number, _frame: _end_at_once(run_id))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _end_at_once(run_id: str) -> NoReturn:
    """End without unwinding: Ray's processes got the signal too, and none of them answers."""
    said = f"terminated; take the run up with --resume {run_id}, and the same --site ...\n"
    sys.stderr.write(said)
    sys.stderr.flush()
    os._exit(128 + signal.SIGTERM)
