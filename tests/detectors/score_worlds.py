"""Profiles of scores whose meaning is known: covariate, label and concept shifts."""

from __future__ import annotations

import numpy as np

from fedrisk.models.logistic import expit
from fedrisk.profiles.profile import Profile, score_edges

MEAN, SPREAD = -2.5, 1.2


def counted(logits, events, *, labelled: bool = True) -> Profile:
    """A profile of scores, by the bins that sites count in."""
    places = np.searchsorted(score_edges(), logits, side="right")
    rows = np.bincount(places, minlength=194).astype(float)
    if not labelled:
        return Profile("study", float(len(logits)), {}, {}, {}, rows)
    hits = np.bincount(places, weights=events, minlength=194)
    return Profile("study", float(len(logits)), {}, {}, {}, rows, {}, rows, hits)


def draw(rows: int, seed: int, *, mean=MEAN, sd=SPREAD, shift=0.0, slope=1.0):
    """Scores, and outcomes whose log-odds are ``shift + slope * score``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(mean, sd, rows)
    return logits, (rng.random(rows) < expit(shift + slope * logits)).astype(float)


def draw_with_prevalence(rows: int, seed: int, prevalence: float):
    """Scores of events and of others as in the reference, in another proportion."""
    logits, events = draw(20 * rows, seed)
    rng = np.random.default_rng(seed + 1)
    many = rng.binomial(rows, prevalence)
    chosen = np.concatenate(
        [
            rng.choice(np.flatnonzero(events == 1), many),
            rng.choice(np.flatnonzero(events == 0), rows - many),
        ]
    )
    return logits[chosen], events[chosen]
