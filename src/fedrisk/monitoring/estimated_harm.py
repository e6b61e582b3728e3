"""Harm as far as scores tell it, while labels are not mature: stated conditions, or no claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fedrisk.detectors.performance_estimate import EstimatedPerformance, estimate_performance
from fedrisk.detectors.sequential import CalibrationEvidence
from fedrisk.monitoring.harm import TOGETHER, Harm
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.profiles.profile import Profile
from fedrisk.profiles.reference import Reference, merge
from fedrisk.profiles.site_window import SiteWindow

#: Two-sided 99 % quantile of the normal distribution: how sure a loss has to be.
_Z99 = 2.575829303548901


def estimated_harm(
    reference: Reference,
    windows: Sequence[SiteWindow],
    evidence: Mapping[str, Mapping[str, Any]],
    rules: VerdictRules,
) -> Harm:
    """Harm by confidence-based estimation over the sites' last windows.

    Scores are compared with those of the same sites and seasons of the reference. That nothing is
    estimated is no sign that nothing is wrong, so without harm the answer is ``unknown``.

    Parameters
    ----------
    reference : Reference
        With at least one block.
    windows : sequence of SiteWindow
        Current ones, sound ones alone.
    evidence : dict of str to dict
        State documents of the e-processes: what earlier labels say against the scores.
    rules : VerdictRules
    """
    recent = _last(windows, rules.among)
    if not recent:
        return Harm("unknown")
    known = evidence.get(TOGETHER)
    e_value = None if known is None else CalibrationEvidence.from_document(known).e_value
    current = merge(window.profile for window in recent)
    found = estimate_performance(_compared(reference, recent), current, e_value)
    if found is None:
        return Harm("unknown")
    if found.holds is False:
        return Harm("unknown", _figures(found), sentences=_refused(found))
    return _judged(found, rules)


def _last(windows: Sequence[SiteWindow], most: int) -> list[SiteWindow]:
    """Each site's last windows."""
    by_site: dict[str, list[SiteWindow]] = defaultdict(list)
    for window in sorted(windows, key=lambda each: each.start):
        by_site[window.site].append(window)
    return [window for past in by_site.values() for window in past[-most:]]


def _compared(reference: Reference, windows: Sequence[SiteWindow]) -> Profile:
    """The reference of the same sites and seasons; all of it where it has none of them."""
    wanted = {(window.site, window.season) for window in windows}
    parts = [reference.of(*key) for key in sorted(wanted)]
    chosen = [part for part in parts if part.scores.any()]
    return merge(chosen) if chosen else reference.overall()


def _judged(found: EstimatedPerformance, rules: VerdictRules) -> Harm:
    loss, error = found.auroc_loss, found.auroc_error
    if loss is None or error is None:
        return Harm("unknown", _figures(found))
    harmed = loss >= rules.estimated_auroc_loss and loss > _Z99 * error
    said = (
        f"labels are not known yet; if a score still means what it did, the AUROC is "
        f"{found.auroc:.2f} where {found.reference_auroc:.2f} is usual"
    )
    return Harm("estimated" if harmed else "unknown", _figures(found), sentences=(said,))


def _refused(found: EstimatedPerformance) -> tuple[str, ...]:
    return ("without labels nothing can be said of the model's performance:", *found.failures)


def _figures(found: EstimatedPerformance) -> dict[str, float | None]:
    return {
        "rows": found.rows,
        "estimated_auroc": found.auroc,
        "estimated_auroc_loss": found.auroc_loss,
        "estimated_prevalence": found.prevalence,
        "estimated_brier": found.brier,
    }
