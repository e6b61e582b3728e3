"""Record a retraining: one MLflow run with its evidence and its report, kept up to date.

The run stands in an experiment of its own beside the model's. It names the model versions and runs
that it is about, so a version leads back to what was seen, decided and judged before it served.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fedrisk.home import Home
from fedrisk.registry.code_version import code_version
from fedrisk.registry.released_card import renew_card
from fedrisk.registry.store import Store, experiment_id, open_store
from fedrisk.settings import Settings

#: Tag of a retraining's run, and of a version that one brought.
RETRAINING = "fedrisk.retraining"


def record_retraining(
    home: Home, settings: Settings, retraining: Mapping[str, Any], report: str, *, ended: bool
) -> str:
    """Write a retraining into its MLflow run, or bring the run up to date.

    Parameters
    ----------
    home, settings
    retraining : dict
        JSON values: id, scope, trigger, created, state, reason, transitions.
    report : str
        HTML.
    ended : bool
        Whether nothing more comes, so that the run is finished.

    Returns
    -------
    str
        MLflow's identifier of the run.

    Raises
    ------
    RegistryError
        When the store cannot be used.
    """
    store = open_store(home, settings)
    with store.writing():
        experiment = experiment_id(store, f"{retraining['scope']}-retraining")
        run = _find(store, experiment, str(retraining["id"]))
        if run is None:
            tags = {RETRAINING: str(retraining["id"]), **_code_tags()}
            created = store.client.create_run(experiment, run_name=str(retraining["id"]), tags=tags)
            run = str(created.info.run_id)
        for name, value in _told(retraining).items():
            store.client.set_tag(run, name, value)
        for name, number in _figures(retraining).items():
            store.client.log_metric(run, name, number)
        store.client.log_text(run, json.dumps(retraining, indent=1), "retraining.json")
        store.client.log_text(run, report, "report.html")
        _link_versions(store, retraining)
        renew_card(store, retraining, evidence_of(retraining))
        if ended:
            store.client.set_terminated(run, "FINISHED")
        return run


def _find(store: Store, experiment: str, identifier: str) -> str | None:
    quoted = identifier.replace("'", "")
    found = store.client.search_runs([experiment], f"tags.`{RETRAINING}` = '{quoted}'")
    return str(found[0].info.run_id) if found else None


def _code_tags() -> dict[str, str]:
    code = code_version()
    commit = {"mlflow.source.git.commit": code["commit"]} if "commit" in code else {}
    return {"fedrisk.version": code["version"], **commit}


def evidence_of(retraining: Mapping[str, Any]) -> dict[str, Any]:
    """What all steps of a retraining found, together; a later step's word counts."""
    found: dict[str, Any] = {}
    for each in retraining.get("transitions", ()):
        found |= each.get("evidence", {})
    return found


def _told(retraining: Mapping[str, Any]) -> dict[str, str]:
    """What people search by."""
    evidence = evidence_of(retraining)
    told = {
        "state": retraining["state"],
        "trigger": retraining["trigger"],
        "reason": retraining.get("reason"),
        "verdict": (evidence.get("verdict") or {}).get("verdict"),
        "diagnosis": (evidence.get("verdict") or {}).get("diagnosis"),
        "action": (evidence.get("decision") or {}).get("action"),
        "gate": (evidence.get("gate") or {}).get("verdict"),
        "champion": evidence.get("champion"),
        "challenger": evidence.get("version"),
        "sites": " ".join(evidence.get("sites", ())),
        "rows_fitted": " to ".join(
            str(evidence[name]) for name in ("since", "split") if evidence.get(name)
        ),
        "rows_judged": " to ".join(
            str(evidence[name]) for name in ("split", "until") if evidence.get(name)
        ),
        "chain": (list(retraining.get("transitions", ())) or [{}])[-1].get("chain"),
    }
    return {f"fedrisk.{name}": str(value)[:4000] for name, value in told.items() if value}


def _figures(retraining: Mapping[str, Any]) -> dict[str, float]:
    """Figures of every model on the rows of the gate."""
    models = (evidence_of(retraining).get("comparison") or {}).get("models", {})
    return {
        f"{name}/{figure}": float(found["value"])
        for name, figures in models.items()
        for figure, found in figures.items()
        if found is not None
    }


def _link_versions(store: Store, retraining: Mapping[str, Any]) -> None:
    """Let each version that was fitted name the retraining that it came from."""
    for each in evidence_of(retraining).get("fitted", {}).values():
        store.client.set_model_version_tag(
            str(retraining["scope"]), str(each["version"]), RETRAINING, str(retraining["id"])
        )
