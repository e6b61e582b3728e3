"""The report of one retraining: what was seen, decided, compared and released, as one HTML page.

Everything is in the page: no script, no font and no picture is fetched from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from fedrisk.registry.retraining_record import evidence_of
from fedrisk.retraining.plots import effect_plot, interval_plot

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; font-size: 13px; }
td, th { padding: .2rem .6rem; text-align: left; vertical-align: top; }
tr { border-bottom: 1px solid #ccc; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
.state { display: inline-block; padding: .1rem .5rem; border-radius: .3rem; background: #eee; }
.fail { color: #b00020; } .pass { color: #00695c; }
pre { font-size: 12px; white-space: pre-wrap; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
"""
#: Names of figures on the page.
_FIGURES = (
    ("auroc", "AUROC", None),
    ("brier", "Brier score", None),
    ("log_loss", "log loss", None),
    ("observed_expected", "observed / expected events", 1.0),
    ("calibration_slope", "calibration slope", 1.0),
)


def render_report(retraining: Mapping[str, Any]) -> str:
    """The page.

    Parameters
    ----------
    retraining : dict
        JSON values: id, scope (the model), trigger, created, state, reason, and transitions, each
        with state, at, reason, evidence, inputs, fence and chain.
    """
    transitions: Sequence[Mapping[str, Any]] = retraining.get("transitions", ())
    evidence = evidence_of(retraining)
    parts = [
        _head(retraining),
        _verdict(evidence.get("verdict")),
        _decision(evidence.get("decision")),
        _comparison(evidence.get("comparison")),
        _gate(evidence.get("gate")),
        _trial(evidence.get("trial")),
        _steps(transitions),
        _lineage(evidence, transitions),
        _raw(transitions),
    ]
    title = escape(f"Retraining {retraining['id']} of {retraining['scope']}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>{title}</h1>\n"
        + "\n".join(part for part in parts if part)
        + "\n</body></html>\n"
    )


def _head(retraining: Mapping[str, Any]) -> str:
    state, reason = escape(str(retraining["state"])), escape(str(retraining.get("reason", "")))
    begun = escape(f"Begun by {retraining['trigger']}, {retraining['created']}.")
    return f'<p><span class="state">{state}</span> {reason}</p>\n<p>{begun}</p>'


def _verdict(verdict: Mapping[str, Any] | None) -> str:
    if not verdict:
        return ""
    features = verdict.get("per_feature", {})
    sites = [
        [site, each.get("status"), each.get("rows"), each.get("labelled"), each.get("events"),
         "; ".join(each.get("reasons", ()))]
        for site, each in verdict.get("per_site", {}).items()
    ]  # fmt: skip
    return "\n".join(
        (
            f"<h2>What the rows say: {escape(str(verdict.get('verdict')))}, "
            f"{escape(str(verdict.get('diagnosis')))}</h2>",
            _list(verdict.get("sentences", ())),
            effect_plot(features) if features else "",
            _table(("site", "status", "rows", "labelled", "events", "reasons"), sites),
        )
    )


def _decision(decision: Mapping[str, Any] | None) -> str:
    if not decision:
        return ""
    return (
        f"<h2>What was decided: {escape(str(decision.get('action')))}</h2>"
        f"<p>{escape(str(decision.get('reason', '')))}</p>"
    )


def _comparison(comparison: Mapping[str, Any] | None) -> str:
    if not comparison:
        return ""
    counts = ("rows", "events", "people", "treated")
    told = ", ".join(f"{comparison.get(name, 0):,.0f} {name}" for name in counts)
    plots = [_figure_plot(comparison, *each) for each in _FIGURES]
    return "\n".join((f"<h2>On the same rows</h2><p>{told}</p>", *plots, _groups(comparison)))


def _figure_plot(
    comparison: Mapping[str, Any], key: str, label: str, reference: float | None
) -> str:
    rows = [
        (name, found[key]["value"], found[key]["se"])
        for name, found in comparison["models"].items()
        if found.get(key) is not None
    ]
    return interval_plot(rows, label, reference) if rows else ""


def _groups(comparison: Mapping[str, Any]) -> str:
    """Observed / expected of every model in every group that is told."""
    rows = [
        (f"{group}, {model}", found["observed_expected"]["value"], found["observed_expected"]["se"])
        for group, models in comparison.get("groups", {}).items()
        for model, found in models.items()
        if found.get("observed_expected") is not None
    ]
    return interval_plot(rows, "observed / expected events by group", 1.0) if rows else ""


def _gate(gate: Mapping[str, Any] | None) -> str:
    if not gate:
        return ""
    said = escape(str(gate.get("verdict")))
    parts = [f"<h2>The gate: {said}</h2><p>{escape(str(gate.get('reason', '')))}</p>"]
    for name, each in gate.get("challengers", {}).items():
        parts.append(f"<h3>{escape(name)}: {escape(str(each.get('verdict')))}</h3>")
        parts.append(_list(each.get("sentences", ())))
        checks = [
            [check["name"], check["outcome"], check["value"], check["bound"], check["margin"]]
            for check in each.get("checks", ())
        ]
        parts.append(_table(("check", "outcome", "value", "bound", "margin"), checks))
    return "\n".join(parts)


def _trial(trial: Mapping[str, Any] | None) -> str:
    return f"<h2>In service</h2><pre>{_json(trial)}</pre>" if trial else ""


def _steps(transitions: Sequence[Mapping[str, Any]]) -> str:
    rows = [[each["at"], each["state"], each["reason"], each["fence"]] for each in transitions]
    return "<h2>Steps</h2>\n" + _table(("when", "state", "why", "holder"), rows)


def _lineage(evidence: Mapping[str, Any], transitions: Sequence[Mapping[str, Any]]) -> str:
    """From a model version back to runs, rows and what every step looked at."""
    rows: list[list[Any]] = [
        [f"{name} is version {each.get('version')}", f"run {each.get('run_id')}"]
        for name, each in evidence.get("fitted", {}).items()
    ]
    if "split" in evidence:
        since, split, until = (evidence.get(name) for name in ("since", "split", "until"))
        rows.append(["fitted on rows", f"{since or 'the first'} to {split}"])
        rows.append(["judged by rows", f"{split} to {until}"])
    rows += [
        [f"{name}, as {each['state']} saw it", f"SHA-256 {value}"]
        for each in transitions
        for name, value in each.get("inputs", {}).items()
    ]
    if transitions:
        rows.append(["chain of steps", f"SHA-256 {transitions[-1].get('chain', '')}"])
    return "<h2>Lineage</h2>\n" + _table(("what", "which"), rows)


def _raw(transitions: Sequence[Mapping[str, Any]]) -> str:
    parts = [
        f"<details><summary>{escape(each['state'])}</summary><pre>{_json(each['evidence'])}</pre></details>"
        for each in transitions
        if each.get("evidence")
    ]
    return "<h2>Evidence</h2>\n" + "\n".join(parts) if parts else ""


def _json(document: object) -> str:
    return escape(json.dumps(document, indent=1, ensure_ascii=False))


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(str(each))}</li>" for each in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    if not rows:
        return ""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td>{'' if value is None else value}</td>"
    if isinstance(value, int | float):
        return f'<td class="n">{value:.5g}</td>'
    text = escape(str(value))
    kind = {"pass": ' class="pass"', "fail": ' class="fail"'}.get(text, "")
    return f"<td{kind}>{text}</td>"
