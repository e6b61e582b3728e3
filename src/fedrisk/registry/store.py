"""Open the MLflow store: SQLite and files under the home, or the server that settings name.

Nothing here touches MLflow's process-wide tracking address: a `Store` carries its own client.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from fedrisk.errors import FedriskError, ModelNotFoundError, RegistryError
from fedrisk.home import Home, locked
from fedrisk.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Names in MLflow's environment, as defaults: about ten seconds until a server that is away is
#: given up, where MLflow by itself would try for several minutes.
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
SQLITE = "sqlite:///"


@dataclass(frozen=True)
class Store:
    """An opened MLflow store.

    Attributes
    ----------
    client : MlflowClient
        Bound to ``uri`` for tracking and registry.
    uri : str
    artifacts : str or None
        Where new experiments keep files; None leaves it to the server.
    lock : Path
        File whose lock orders the writers of this machine.
    """

    client: MlflowClient
    uri: str
    artifacts: str | None
    lock: Path

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what MLflow raises into a RegistryError that names this store."""
        with _errors(self.uri):
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One writer at a time on this machine, with `errors`; the wait for another is bounded."""
        with locked(self.lock, RegistryError), _errors(self.uri):
            yield


def prepare_mlflow() -> None:
    """Import MLflow without telemetry, chatter, or minutes of retries.

    MLflow reads these from the environment alone; values that the operator set are kept.
    """
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    # Standard output is for a command's answer; there MLflow prints where a run on a server is.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own code
        import mlflow.pyfunc
        from mlflow.telemetry import set_telemetry_client

    # Ends the client of an MLflow that was imported before this.
    set_telemetry_client()  # type: ignore[no-untyped-call]
    for logger in (mlflow.__name__, "alembic"):
        logging.getLogger(logger).setLevel(logging.ERROR)


def open_store(home: Home, settings: Settings) -> Store:
    """Open the store and create its tables where it is a fresh SQLite database.

    Raises
    ------
    RegistryError
        When the server does not answer, or the database is damaged or of another MLflow.
    """
    prepare_mlflow()
    from mlflow import MlflowClient

    uri = settings.tracking_uri or f"{SQLITE}{home.mlflow_database.absolute()}"
    remote = urlsplit(uri).scheme in ("http", "https", "databricks")
    artifacts = None if remote else home.mlflow_artifacts.absolute().as_uri()
    database = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else home.mlflow_database
    database.parent.mkdir(parents=True, exist_ok=True)
    lock = database.with_name(f".{database.name}.lock")
    # Creating the tables is not safe against a second process that does the same.
    with locked(lock, RegistryError), _errors(uri), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow about its own tables
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    return Store(client, uri, artifacts, lock)


def experiment_id(store: Store, name: str) -> str:
    """Find or make the experiment that a study's runs belong to; call it within `Store.writing`."""
    from mlflow.exceptions import MlflowException

    found = store.client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(store.client.create_experiment(name, artifact_location=store.artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = store.client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise RegistryError(
            f"experiment {name!r} was deleted in MLflow", hint="restore it, or rename the study"
        )
    return str(found.experiment_id)


def public(uri: str) -> str:
    """An address without its password.

    >>> public("postgresql://fedrisk:secret@db:5432/mlflow")
    'postgresql://db:5432/mlflow'
    """
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=host)) if parts.netloc else uri


@contextmanager
def _errors(uri: str) -> Iterator[None]:
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FedriskError:
        raise
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise ModelNotFoundError(f"registry {public(uri)}: {_line(error)}") from None
        raise RegistryError(f"registry {public(uri)}: {_line(error)}", _hint(uri)) from None
    except (SQLAlchemyError, requests.RequestException, OSError) as error:
        raise RegistryError(f"registry {public(uri)}: {_line(error)}", _hint(uri)) from None


def _line(error: Exception) -> str:
    """The first line, without the passwords that an address in it may carry."""
    first = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return re.sub(r"://[^/@\s]+@", "://", first)


def _hint(uri: str) -> str:
    if uri.startswith("http"):
        return "check that the server runs and that FEDRISK_TRACKING_URI names it"
    return "check that the database is reachable and was written by this version of MLflow"
