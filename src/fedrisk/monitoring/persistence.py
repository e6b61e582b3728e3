"""Drift is what lasts: findings of the same subject in k of a site's last n windows."""

from __future__ import annotations

from collections.abc import Sequence

from fedrisk.monitoring.finding import WindowRecord
from fedrisk.monitoring.rules import VerdictRules


def drifted_subjects(past: Sequence[WindowRecord], rules: VerdictRules) -> tuple[str, ...]:
    """Subjects that were found in ``persistent`` of the last ``among`` windows.

    Parameters
    ----------
    past : sequence of WindowRecord
        Of one site, oldest first.
    rules : VerdictRules

    Returns
    -------
    tuple of str
        In order of first appearance. A change that has gone again in the last window counts
        while it is within the last ``among``.
    """
    times: dict[str, int] = {}
    for record in past[-rules.among :]:
        for finding in record.findings:
            times[finding.subject] = times.get(finding.subject, 0) + finding.found
    return tuple(subject for subject, count in times.items() if count >= rules.persistent)
