"""The report of a retraining: everything is told, nothing is fetched, nothing is markup."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest

from fedrisk.retraining.gate import judge_all
from fedrisk.retraining.margins import Margins, Spending
from fedrisk.retraining.plots import effect_plot, interval_plot
from fedrisk.retraining.report import render_report

from .test_gate import NOW, STUDY, compared

HOSTILE = "<script>alert(1)</script>"


def retraining(**evidence: Any) -> dict[str, Any]:
    step = {
        "number": 1,
        "before": "opened",
        "state": "frozen",
        "at": "2026-01-05T06:00:00+00:00",
        "fence": 3,
        "reason": "harm was measured",
        "evidence": evidence,
        "inputs": {"champion": "ab" * 32},
        "chain": "cd" * 32,
    }
    return {
        "id": "20260105T060000-abc",
        "scope": "heart",
        "trigger": "drift",
        "created": "2026-01-05T06:00:00+00:00",
        "state": "refused",
        "reason": f"refuse {HOSTILE}",
        "transitions": [step],
    }


@pytest.fixture(scope="module")
def evidence() -> dict[str, Any]:
    comparison = compared(1, 4000, 0.6, 0.2)
    verdicts = judge_all(comparison, STUDY, Margins(), Spending(), NOW)
    challengers = {name: each.document() for name, each in verdicts.items()}
    feature = {"effect": 2.5, "drifted": True}
    return {
        "verdict": {
            "verdict": "harm",
            "diagnosis": "concept",
            "sentences": ["PM2.5 counts for more."],
            "per_feature": {"pm25": feature, "age": {"effect": 0.2, "drifted": False}},
            "per_site": {HOSTILE: {"status": "harm", "rows": 12.0, "labelled": 3.0, "events": 1.0}},
        },
        "decision": {"action": "retrain", "reason": "harm"},
        "comparison": comparison.document(),
        "gate": {"verdict": "refuse", "reason": "too little", "challengers": challengers},
        "fitted": {"exact": {"version": "7", "run_id": "r7"}},
        "split": "2026-01-01",
        "until": "2026-02-01",
    }


def test_everything_is_told(evidence: dict[str, Any]) -> None:
    page = render_report(retraining(**evidence))
    for text in (
        "What the rows say: harm, concept",
        "PM2.5 counts for more.",
        "What was decided: retrain",
        "The gate: refuse",
        "exact is version 7",
        "the first to 2026-01-01",
        "SHA-256 " + "ab" * 32,
        "SHA-256 " + "cd" * 32,
        "observed / expected events by group",
        "AUROC",
    ):
        assert text in page, text
    for check in next(iter(evidence["gate"]["challengers"].values()))["checks"]:
        assert check["name"] in page


def test_nothing_that_came_from_outside_is_markup_and_nothing_is_fetched(evidence) -> None:
    page = render_report(retraining(**evidence))
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 2
    assert " src=" not in page
    assert 'href="http' not in page


def test_a_retraining_that_ended_at_once_has_a_page_too() -> None:
    page = render_report(retraining() | {"transitions": []})
    assert "Retraining 20260105T060000-abc of heart" in page
    assert "<svg" not in page


def test_plots_hold_their_numbers_and_are_the_same_again() -> None:
    effects = {"pm25": {"effect": 2.5, "drifted": True}, "age": {"effect": None}}
    svg = effect_plot(effects)
    assert svg == effect_plot(effects)
    texts = {"".join(e.itertext()).strip() for e in ElementTree.fromstring(svg).iter()}
    assert {"pm25", "age"} <= texts
    rows = [("champion", 0.7, 0.01), ("challenger", 0.75, None)]
    texts = {
        "".join(e.itertext()).strip()
        for e in ElementTree.fromstring(interval_plot(rows, "AUROC", 0.5)).iter()
    }
    assert {"champion", "challenger", "AUROC"} <= texts


@pytest.mark.parametrize("count", [0, 1, 40])
def test_plots_of_any_length_are_drawn(count: int) -> None:
    values = np.linspace(0, 1, count)
    rows = [(f"group {number}", float(value), 0.1) for number, value in enumerate(values)]
    ElementTree.fromstring(interval_plot(rows, "x"))
    ElementTree.fromstring(effect_plot({name: {"effect": v} for name, v, _ in rows}))
