"""Rows with known truth for the tests of comparisons: no files, no sites, no federation."""

from __future__ import annotations

from typing import Any

import numpy as np

from fedrisk.models.comparison import ComparedRows, group_memberships
from fedrisk.models.logistic import expit
from fedrisk.study import Study, parse_study

STUDY = parse_study(
    {
        "name": "compared",
        "label": "event",
        "positive": [1],
        "id": "person",
        "time": "day",
        "treated": "acted",
        "subgroups": ["sex"],
        "bands": {"medium": 0.1, "high": 0.3},
        "features": [
            {"name": "x", "kind": "number"},
            {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        ],
    }
)


def site_rows(
    rng: np.random.Generator,
    rows: int,
    *,
    noise: tuple[float, ...] = (0.5, 0.5),
    people: int | None = None,
    study: Study = STUDY,
    **changed: Any,
) -> ComparedRows:
    """Rows whose true log-odds each model sees with its own noise; the first is the champion."""
    truth = rng.normal(-2.0, 1.0, rows)
    events = rng.random(rows) < expit(truth)
    logits = np.stack([truth + rng.normal(0, each, rows) for each in noise])
    columns = {"x": truth, "sex": rng.integers(0, 2, rows).astype(np.int32)}
    months = rng.integers(1, 13, rows)
    persons = np.arange(rows) if people is None else rng.integers(0, people, rows)
    own: dict[str, Any] = {
        "bands": study.bands,
        "logits": logits,
        "events": events,
        "treated": np.zeros(rows, bool),
        "people": persons,
        "days": np.arange(rows),
        "groups": group_memberships(study, columns, months),
    }
    return ComparedRows(**{**own, **changed})


def together(*sites: ComparedRows) -> ComparedRows:
    """The rows of all sites as one site's; people and days stay apart."""
    people = [rows.people + place * 10**6 for place, rows in enumerate(sites)]
    days = [rows.days + place * 10**6 for place, rows in enumerate(sites)]
    return ComparedRows(
        bands=sites[0].bands,
        logits=np.hstack([rows.logits for rows in sites]),
        events=np.hstack([rows.events for rows in sites]),
        treated=np.hstack([rows.treated for rows in sites]),
        people=np.hstack(people),
        days=np.hstack(days),
        groups=np.hstack([rows.groups for rows in sites]),
    )
