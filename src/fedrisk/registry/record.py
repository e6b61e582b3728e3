"""Record a finished run: one MLflow run, then one model version without an alias.

The version is created last and in one request, with its tags. So whatever goes wrong before leaves
a run that MLflow shows as failed (or, after a kill, as running) and no version; recording again
starts afresh, or finds the version that is already there.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fedrisk.home import Home
from fedrisk.registry.bundle import write_bundle
from fedrisk.registry.code_version import code_version
from fedrisk.registry.model_card import model_card
from fedrisk.registry.pyfunc import read_scorer
from fedrisk.registry.store import Store, experiment_id, open_store
from fedrisk.registry.versions import HASHES, RUN_ID, STUDY_HASH, SUMMARY, find_run
from fedrisk.settings import Settings
from fedrisk.study.training import TrainingResult

if TYPE_CHECKING:
    from mlflow.entities import Run

#: Folder of the model among a run's artifacts.
MODEL_FOLDER = "model"
METRICS_PER_REQUEST = 1000


def record_training(result: TrainingResult, home: Home, settings: Settings) -> str:
    """Record a run and register its model.

    Parameters
    ----------
    result : TrainingResult
    home : Home
    settings : Settings

    Returns
    -------
    str
        The model version. The same run recorded again answers the same version.

    Raises
    ------
    ModelFileError
        When the model is damaged or fails its self-test; nothing is recorded then.
    RegistryError
        When the store cannot be used; no version is registered then.
    """
    read_scorer(result.model, result.checks)
    store = open_store(home, settings)
    with store.writing():
        known = find_run(store, result.request.run_id)
        if known is not None:
            # The process may have died after the version was made and before its run was ended.
            store.client.set_terminated(known.mlflow_run, "FINISHED")
            return known.version
        experiment = experiment_id(store, result.request.study.name)
        _fail_leftovers(store, experiment, result.request.run_id)
        return _record(store, experiment, result, settings)


def _record(store: Store, experiment: str, result: TrainingResult, settings: Settings) -> str:
    name = settings.registry_name or result.request.study.name
    run = store.client.create_run(
        experiment, run_name=result.request.run_id, tags=_run_tags(result)
    )
    run_id: str = run.info.run_id
    try:
        _log_figures(store, run, result)
        hashes = _log_files(store, run_id, result)
        version = _register(store, name, run, result, hashes)
    except BaseException:
        with suppress(Exception):
            store.client.set_terminated(run_id, "FAILED")
        raise
    store.client.set_terminated(run_id, "FINISHED")
    return version


def _fail_leftovers(store: Store, experiment: str, run_id: str) -> None:
    """Runs of ours that died before their version was registered did not finish."""
    condition = f"tags.`{RUN_ID}` = '{run_id}' and attributes.status = 'RUNNING'"
    for run in store.client.search_runs([experiment], condition):
        store.client.set_terminated(run.info.run_id, "FAILED")


def _run_tags(result: TrainingResult) -> dict[str, str]:
    code = code_version()
    tags = {
        RUN_ID: result.request.run_id,
        STUDY_HASH: result.request.study.hash,
        "fedrisk.version": code["version"],
    }
    if "commit" in code:
        tags["mlflow.source.git.commit"] = code["commit"]
    return tags


def _log_figures(store: Store, run: Run, result: TrainingResult) -> None:
    from mlflow.entities import Metric, Param

    request = result.request
    parameters = {
        "study": request.study.name,
        "model": request.model,
        "strategy": request.strategy,
        "penalty": request.study.penalty,
        "seed": request.seed,
        "as_of": request.as_of,
        "most_rounds": request.rounds,
        **{f"options/{name}": value for name, value in request.options.items()},
    }
    store.client.log_batch(
        run.info.run_id, params=[Param(key, str(value)) for key, value in parameters.items()]
    )
    metrics = [
        Metric(key, value, run.info.start_time, step) for key, value, step in figures(result)
    ]
    for start in range(0, len(metrics), METRICS_PER_REQUEST):
        store.client.log_batch(run.info.run_id, metrics[start : start + METRICS_PER_REQUEST])


def figures(result: TrainingResult) -> Iterator[tuple[str, float, int]]:
    """Every figure of a run as MLflow's key, value and step; the step is the round's number.

    Overall figures are ``auroc``, a site's ``site/NAME/auroc``, a round's ``round/seconds``, and a
    site's in a round ``site/NAME/round/seconds``.
    """
    last = result.rounds[-1].number if result.rounds else 0
    yield "seconds", result.seconds, last
    yield from _numbers("", result.metrics, last)
    for site, values in result.per_site.items():
        yield from _numbers(f"site/{metric_name(site)}/", values, last)
    for site, counts in result.rows.items():
        rows = {f"rows_{kind}": float(count) for kind, count in counts.items()}
        yield from _numbers(f"site/{metric_name(site)}/", rows, last)
    for each in result.rounds:
        own = {"seconds": each.seconds, "bytes_out": each.bytes_out, "bytes_in": each.bytes_in}
        yield from _numbers("round/", own | each.metrics, each.number)
        for site, seen in each.per_site.items():
            yield from _numbers(f"site/{metric_name(site)}/round/", seen, each.number)


def _numbers(
    prefix: str, values: Mapping[str, float | None], step: int
) -> Iterator[tuple[str, float, int]]:
    for name, value in values.items():
        if value is not None and math.isfinite(value):
            yield prefix + metric_name(name), float(value), step


def metric_name(name: str) -> str:
    """A name that MLflow takes as part of a metric's key; a changed one ends in its hash.

    >>> metric_name("St. Anna"), metric_name("a/b")
    ('St. Anna', 'a_b-c14cddc0')
    """
    clean = re.sub(r"[^\w.\- ]|^\.+$", "_", name)[:100]
    return clean if clean == name else f"{clean}-{sha256(name.encode()).hexdigest()[:8]}"


def _log_files(store: Store, run_id: str, result: TrainingResult) -> dict[str, str]:
    client = store.client
    client.log_text(run_id, result.request.study.canonical, "study.json")
    client.log_text(run_id, _rounds_table(result), "rounds.csv")
    with TemporaryDirectory(prefix="fedrisk-") as temporary:
        folder = Path(temporary) / MODEL_FOLDER
        hashes = write_bundle(folder, result, model_card(result), run_id)
        client.log_artifacts(run_id, str(folder), MODEL_FOLDER)
    return hashes


def _rounds_table(result: TrainingResult) -> str:
    names = list(dict.fromkeys(name for each in result.rounds for name in each.metrics))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    fixed = ["number", "kind", "seconds", "bytes_out", "bytes_in"]
    writer.writerow([*fixed, "sites", *names])
    for each in result.rounds:
        row: list[Any] = [getattr(each, name) for name in fixed]
        writer.writerow([*row, " ".join(each.sites), *(each.metrics.get(name) for name in names)])
    return stream.getvalue()


def _register(
    store: Store, name: str, run: Run, result: TrainingResult, hashes: Mapping[str, str]
) -> str:
    from mlflow.exceptions import MlflowException

    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = store.client.create_model_version(
        name,
        source=f"{run.info.artifact_uri}/{MODEL_FOLDER}",
        run_id=run.info.run_id,
        tags=_version_tags(result, hashes),
        description=result.request.study.title,
    )
    return str(version.version)


def _version_tags(result: TrainingResult, hashes: Mapping[str, str]) -> dict[str, str]:
    summary = {
        "auroc": result.metrics.get("auroc"),
        "rows": sum(counts.get("train", 0) for counts in result.rows.values()),
        "sites": len(result.rows),
        "strategy": result.request.strategy,
    }
    return {
        RUN_ID: result.request.run_id,
        STUDY_HASH: result.request.study.hash,
        HASHES: json.dumps(dict(hashes)),
        SUMMARY: json.dumps(summary),
    }
