"""The champion and one before it on the same matured rows: which one serves better.

What was champion months ago need not be fit today, so nobody returns to it before the sites have
judged it on their latest matured rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from fedrisk.models.comparison import Comparison
from fedrisk.retraining.plan import WatchRules
from fedrisk.retraining.ports import StoredVersion
from fedrisk.retraining.steps.step import Scene
from fedrisk.study.questions import ComparisonRequest, ComparisonResult

NEW, BEFORE = "champion", "before"


@dataclass(frozen=True)
class Reevaluated:
    """What matured rows say of an earlier champion beside the present one.

    Attributes
    ----------
    version : str
        The earlier one.
    fit : bool
        Whether it may serve.
    sentence : str
    comparison : dict
        Document of the comparison.
    """

    version: str
    fit: bool
    sentence: str
    comparison: dict[str, Any]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "version": self.version,
            "fit": self.fit,
            "sentence": self.sentence,
            "comparison": self.comparison,
        }


def compare_on_matured(
    scene: Scene, name: str, before: StoredVersion, since: str | None, as_of: datetime
) -> ComparisonResult:
    """Ask the sites about the present champion and an earlier one.

    Parameters
    ----------
    scene : Scene
    name : str
        Ends the run's id: the same name asks the same.
    before : StoredVersion
    since : str or None
        Rows from then on.
    as_of : datetime
        Labels that are mature then count.
    """
    present = scene.world.registry.stored(scene.require("promoted", "version"))
    timed = present.study.time is not None
    until = (as_of - present.study.maturity).isoformat(timespec="seconds") if timed else None
    request = ComparisonRequest(
        run_id=f"{scene.loop.id}-{name}",
        study=present.study,
        sites=tuple(scene.require("frozen", "sites")),
        as_of=as_of.isoformat(timespec="seconds"),
        models={NEW: dict(present.document), BEFORE: dict(before.document)},
        since=since if timed else None,
        until=until,
        deadline=scene.plan.deadline,
    )
    return scene.world.sites.compare(request)


def harm(comparison: Comparison, rules: WatchRules) -> str:
    """Why the champion before serves better, by matured labels; empty where it does not.

    Both models are judged on the same rows by log loss, which is proper: no miscalibration can make
    it look better (Gneiting and Raftery, JASA 2007;102:359).
    """
    difference = comparison.differences[BEFORE].log_loss
    if comparison.events < rules.least_events or difference is None or difference.se is None:
        return ""
    if difference.value + rules.errors * difference.se >= 0:
        return ""
    return (
        f"on {comparison.rows:,.0f} matured rows with {comparison.events:,.0f} events the champion "
        f"before has a log loss lower by {-difference.value:.5f} (standard error "
        f"{difference.se:.5f})"
    )


def unfit(comparison: Comparison, rules: WatchRules) -> str:
    """Why the champion before must not serve again; empty where it may.

    It need not be better than a champion that fails in service, but calibrated within bounds, and
    not clearly worse than it by labels.
    """
    figures = comparison.models[BEFORE]
    if figures.observed_expected is None:
        return "no matured event says how it fares"
    ratio, bound = figures.observed_expected.value, rules.most_observed_expected
    if not 1 / bound <= ratio <= bound:
        return f"it sees {ratio:.2f} events for each that it expects"
    return ""


def reevaluate(scene: Scene, version: str) -> Reevaluated:
    """Judge an earlier champion on the rows that the gate had, and whatever matured since."""
    before = scene.world.registry.stored(version)
    as_of = datetime.fromisoformat(scene.require("returning", "as_of"))
    since = scene.require("frozen", "split")
    found = compare_on_matured(scene, f"return-{version}", before, since, as_of)
    comparison = Comparison.from_document(found.comparison)
    why = unfit(comparison, scene.plan.watch)
    sentence = why or (
        f"judged again on {comparison.rows:,.0f} matured rows with {comparison.events:,.0f} events"
    )
    return Reevaluated(version, not why, sentence, dict(found.comparison))


def data_time(scene: Scene) -> datetime:
    """As of when the sites' rows are looked at now."""
    return scene.as_of or scene.now


def maturity(scene: Scene) -> timedelta:
    """How long after a row's time its label is final."""
    return timedelta(seconds=scene.require("frozen", "maturity_seconds"))


def matured_span(scene: Scene) -> timedelta:
    """For how long labels of rows since the data were frozen have been mature."""
    return (
        data_time(scene)
        - datetime.fromisoformat(scene.require("frozen", "as_of"))
        - maturity(scene)
    )
