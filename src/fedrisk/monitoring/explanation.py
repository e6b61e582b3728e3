"""A verdict in sentences: what is concluded, from which numbers, and what could not be judged."""

from __future__ import annotations

from collections.abc import Iterator

from fedrisk.monitoring.diagnosis import Diagnosis, Signs, Status, seasonal_subjects
from fedrisk.monitoring.finding import Finding
from fedrisk.monitoring.harm import overdue
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.monitoring.validity import Judgeable

#: Subjects that are told of; the numbers of all are in the verdict.
_TOLD = 5
_HEADLINES: dict[Status, str] = {
    "stable": "nothing changed beyond what weeks of the same season differ by",
    "monitor": "something is to be watched, yet nothing calls for action",
    "drift": "the rows have changed, and it lasts",
    "harm": "the model does worse than it did",
    "quality": "data are broken; nothing should be fitted on them, and nothing be concluded",
    "insufficient evidence": "there is not enough to say whether anything changed",
}


def explain(
    signs: Signs,
    sorted_out: Judgeable,
    status: Status,
    diagnosis: Diagnosis,
    out_of_line: tuple[str, ...],
    rules: VerdictRules,
) -> tuple[str, ...]:
    """The verdict in sentences, the most important first."""
    said = [f"{status}: {_HEADLINES[status]}", *_of_faults(signs)]
    said += signs.measured.harm.sentences
    if out_of_line:
        said.append(f"{', '.join(out_of_line)} changed, and the other sites show nothing of it")
    said += list(_of_drift(signs, rules))
    if diagnosis == "season":
        named = ", ".join(seasonal_subjects(signs, rules)[:_TOLD])
        said.append(f"{named} differ from the year as a whole, as they do in every such season")
    said += list(_of_gaps(signs, sorted_out))
    return tuple(said)


def _of_faults(signs: Signs) -> list[str]:
    return [f"{site}: {fault.sentence}" for site in signs.broken for fault in signs.faults(site)]


def _of_drift(signs: Signs, rules: VerdictRules) -> Iterator[str]:
    drifted: dict[str, list[str]] = {}
    for site, subjects in signs.drifted.items():
        for subject in subjects:
            drifted.setdefault(subject, []).append(site)
    ranked = sorted(drifted, key=lambda subject: -signs.weight(subject))
    for subject in ranked[:_TOLD]:
        sites = drifted[subject]
        finding = max(
            filter(None, (signs.strongest(site, subject) for site in sites)),
            key=lambda each: each.effect,
        )
        weight = signs.weight(subject)
        minor = ", which the model hardly uses" if weight < rules.least_importance else ""
        share = (
            f" ({weight:.0%} of the model's spread{minor})" if subject in signs.importance else ""
        )
        yield f"{subject}{share} drifted at {', '.join(sites)}: {told(finding)}"
    if len(ranked) > _TOLD:
        yield f"so did {', '.join(ranked[_TOLD:])}"


def told(finding: Finding) -> str:
    """A finding with its numbers."""
    if finding.q_value is None or finding.p_value is None:
        return f"{finding.sentence}; how often that is chance cannot be told"
    return f"{finding.sentence}; p = {finding.p_value:.2g}, q = {finding.q_value:.2g}"


def _of_gaps(signs: Signs, sorted_out: Judgeable) -> Iterator[str]:
    """What was not judged, and why."""
    unseen = sorted(site for site, past in signs.recent.items() if past[-1].unseen_season)
    if unseen:
        yield (
            f"the reference has too few weeks of this season at {', '.join(unseen)} to tell "
            "chance from change"
        )
    if signs.overdue:
        yield overdue()
    if signs.vanished:
        yield f"no recent window came from {', '.join(signs.vanished)}"
    if sorted_out.unknown:
        yield (
            f"{', '.join(sorted_out.unknown)} took no part in training, and is compared with all "
            "sites that did"
        )
    for site, reasons in sorted_out.refused.items():
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        yield f"{site}: a window was not judged, because it {_reason(reasons[-1])}{more}"


def _reason(text: str) -> str:
    """``"DATES: is empty"`` as ``"is empty (DATES)"``."""
    dates, _, reason = text.partition(": ")
    return f"{reason} ({dates})"
