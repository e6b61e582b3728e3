"""Labels that cannot be right: events that stopped coming, labels turned round, labels overdue."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import exp, lgamma, log

from fedrisk.models.logistic import Z95
from fedrisk.monitoring.outcomes import Outcomes
from fedrisk.monitoring.performance import performance
from fedrisk.monitoring.quality import Fault
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import Study

#: Events are missing where fewer than this share of the expected came, ...
_FEW = 1 / 3
#: ... and so few would hardly come were half of the expected due.
_HARDLY = 1e-4
#: Most rows have an event, though at most this share was expected.
_RARE = 0.25
#: An AUROC that is surely below this ranks the wrong way round.
_TURNED = 0.45


def label_faults(outcomes: Sequence[Outcomes], rules: VerdictRules) -> tuple[Fault, ...]:
    """Faults of the labels of one site's recent matured windows, taken together.

    Parameters
    ----------
    outcomes : sequence of Outcomes
    rules : VerdictRules
    """
    figures = performance(outcomes)
    if not figures.rows:
        return ()
    share = figures.observed / figures.rows
    if (
        figures.observed < _FEW * figures.expected
        and poisson_at_most(figures.observed, figures.expected / 2) < _HARDLY
    ):
        sentence = (
            f"{figures.observed:,.0f} events of {figures.expected:,.0f} expected: they seem to "
            f"be missing, or counted before they are known"
        )
        return (Fault("labels", "labels", share, sentence),)
    if share > 0.5 and figures.expected < _RARE * figures.rows:
        sentence = f"{share:.0%} of rows have an event: events and the rest seem to be exchanged"
        return (Fault("labels", "labels", share, sentence),)
    if figures.observed >= rules.least_events and _ranks_backwards(
        figures.auroc, figures.auroc_error
    ):
        sentence = f"the AUROC is {figures.auroc:.2f}: labels seem to be turned round or mixed up"
        return (Fault("labels", "labels", share, sentence),)
    return ()


def _ranks_backwards(auroc: float | None, error: float | None) -> bool:
    return auroc is not None and error is not None and auroc + Z95 * error < _TURNED


def poisson_at_most(count: float, mean: float) -> float:
    """Probability that a Poisson variable is at most ``count``; 1 where the mean is 0.

    >>> round(poisson_at_most(2, 1.0), 4)
    0.9197
    """
    if mean <= 0:
        return 1.0
    terms = (exp(k * log(mean) - mean - lgamma(k + 1)) for k in range(int(count) + 1))
    return min(sum(terms), 1.0)


def is_mature(study: Study, window: SiteWindow, now: datetime) -> bool:
    """Whether every label of a window is due."""
    return window.end + study.maturity <= now


def is_labelled(window: SiteWindow, rules: VerdictRules) -> bool:
    """Whether so many scored rows of a window have their label that others cannot matter much.

    Events are often known before it is known who had none: half of the labels say nothing.
    """
    labelled, scored = (float(a.sum()) for a in (window.profile.labelled, window.profile.scores))
    return labelled > 0 and labelled >= rules.labelled_share * scored
