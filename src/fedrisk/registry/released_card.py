"""The model card of a version that a retraining brought: how it came to serve, in Markdown.

The card that was written when the model was fitted says what it is. What was found since (what
called for it, the gate, the trial, the release or the return) is a section at its end, written anew
whenever the retraining goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fedrisk.registry.bundle import CARD
from fedrisk.registry.model_card import table
from fedrisk.registry.record import MODEL_FOLDER
from fedrisk.registry.store import Store
from fedrisk.registry.versions import get_version

SECTION = "## How it came to serve"
#: Figures of the gate that the card tells.
_FIGURES = ("auroc", "brier", "log_loss", "observed_expected", "calibration_slope")


def renew_card(store: Store, retraining: Mapping[str, Any], evidence: Mapping[str, Any]) -> None:
    """Bring the card of the chosen version up to date; nothing where none was chosen.

    Parameters
    ----------
    store : Store
    retraining : dict
        JSON values: id, scope, trigger, state, reason, transitions.
    evidence : dict
        What the retraining's steps found, together.
    """
    if not evidence.get("version"):
        return
    found = get_version(store, str(retraining["scope"]), str(evidence["version"]))
    place = f"{MODEL_FOLDER}/{CARD}"
    with TemporaryDirectory(prefix="fedrisk-") as temporary:
        path = store.client.download_artifacts(found.mlflow_run, place, temporary)
        card = Path(path).read_text(encoding="utf-8")
    written = card.partition(SECTION)[0].rstrip() + "\n\n" + section(retraining, evidence)
    store.client.log_text(found.mlflow_run, written, place)


def section(retraining: Mapping[str, Any], evidence: Mapping[str, Any]) -> str:
    """The section of a retraining."""
    verdict, gate = evidence.get("verdict") or {}, evidence.get("gate") or {}
    parts = [
        SECTION,
        f"Retraining {retraining['id']}, begun by {retraining['trigger']}, now "
        f"*{retraining['state']}*: {retraining.get('reason', '')}",
        f"What called for it: {verdict.get('verdict', 'unknown')} ({verdict.get('diagnosis')}).",
        *(f"- {sentence}" for sentence in verdict.get("sentences", ())),
        f"The gate said *{gate.get('verdict', 'nothing')}* on rows from {evidence.get('split')} to "
        f"{evidence.get('until')}, of people that no model was fitted on.",
        _figures(evidence.get("comparison") or {}),
        _steps(retraining.get("transitions", ())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(comparison: Mapping[str, Any]) -> str:
    models = comparison.get("models", {})
    rows = [
        [name, *(_number(figures.get(each)) for each in _FIGURES)]
        for name, figures in models.items()
    ]
    return table(["model", *_FIGURES], rows) if rows else ""


def _number(estimate: Mapping[str, Any] | None) -> str:
    return "" if estimate is None else f"{estimate['value']:.4g}"


def _steps(transitions: Sequence[Mapping[str, Any]]) -> str:
    rows = [[each.get("at", ""), each["state"], each.get("reason", "")] for each in transitions]
    return table(["when", "state", "why"], rows) if rows else ""
