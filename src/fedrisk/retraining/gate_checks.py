"""What the gate checks of a challenger, one function a concern; each check explains itself.

Two kinds. **No worse**, of AUROC, Brier score and log loss over all rows: the confidence bound must
lie inside the margin; all three must, so no correction for three is due (an intersection-union
test; Berger, Technometrics 1982;24:295). **Safeguards**, of calibration, seasons, sites, subgroups,
net benefit and churn: the estimate, shrunken where a group is small, must lie inside the margin.
What is beyond a margin fails if that is likely (``Margins.doubt``), else it is undecided.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any, Literal

from fedrisk.models.comparison import Comparison, Difference, Estimate, ModelFigures
from fedrisk.models.comparison.rows import group_families
from fedrisk.retraining.margins import Margins
from fedrisk.retraining.shrinkage import Measured, Shrunken, shrink
from fedrisk.study import Study

Outcome = Literal["pass", "fail", "undecided", "not judged"]
#: Groups of a family with fewer events are told about, and weigh nothing.
LEAST_GROUP_EVENTS = 1.0
_SITE = "site"


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes
    ----------
    name : str
        Such as ``auroc`` or ``observed_expected season:DJF``.
    outcome : Outcome
    value : float or None
        The estimate that was judged; None where it is not known.
    bound : float or None
        The confidence bound, where one was judged.
    margin : float or None
        What value or bound was held to.
    sentence : str
    """

    name: str
    outcome: Outcome
    value: float | None
    bound: float | None
    margin: float | None
    sentence: str

    def document(self) -> dict[str, Any]:
        """The check as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Examined:
    """One challenger under examination.

    Attributes
    ----------
    comparison : Comparison
    study : Study
    margins : Margins
    alpha : float
        One-sided error rate of each confidence bound.
    name : str
        The challenger's.
    """

    comparison: Comparison
    study: Study
    margins: Margins
    alpha: float
    name: str

    @property
    def challenger(self) -> ModelFigures:
        """The challenger's figures."""
        return self.comparison.models[self.name]

    @property
    def champion(self) -> ModelFigures:
        """The champion's figures."""
        return self.comparison.models[self.comparison.champion]

    @property
    def difference(self) -> Difference:
        """Challenger less champion."""
        return self.comparison.differences[self.name]

    @property
    def z(self) -> float:
        """How many standard errors a bound lies from its estimate."""
        return NormalDist().inv_cdf(1 - self.alpha)

    def families(self) -> dict[str, tuple[str, ...]]:
        """Groups that were told about, by family: season, each subgroup, and site."""
        named = dict(group_families(self.study))
        named[_SITE] = tuple(g for g in self.comparison.groups if g.startswith(f"{_SITE}:"))
        told = self.comparison.groups
        return {family: tuple(g for g in names if g in told) for family, names in named.items()}


def every_check(
    comparison: Comparison, study: Study, margins: Margins, alpha: float, name: str
) -> tuple[Check, ...]:
    """Every check of one challenger, in the order of `CHECKS`."""
    examined = Examined(comparison, study, margins, alpha, name)
    return tuple(check for concern in CHECKS for check in concern(examined))


def beyond(value: float, se: float | None, low: float, high: float = math.inf) -> float:
    """Chance that a figure lies outside a range, 0 to 1, from its estimate and standard error.

    >>> round(beyond(0.0, 1.0, -1.0, 1.0), 2), beyond(2.0, None, -1.0, 1.0)
    (0.32, 1.0)
    """
    if not se:
        return 0.0 if low <= value <= high else 1.0
    figure = NormalDist(value, se)
    return figure.cdf(low) + 1 - figure.cdf(high)


def safeguard(inside: bool, chance: float, doubt: float) -> Outcome:
    """Pass inside a margin; fail where it is likely that the figure is beyond, else undecided."""
    if inside:
        return "pass"
    return "fail" if chance >= doubt else "undecided"


def no_worse(examined: Examined) -> list[Check]:
    """AUROC, Brier score and log loss: with confidence no worse than the margins allow."""
    told, champion, margins = examined.difference, examined.champion, examined.margins
    checks = [_no_worse(examined, "auroc", told.auroc, margins.auroc, better=1)]
    for name, difference, own, share in (
        ("brier", told.brier, champion.brier, margins.brier),
        ("log_loss", told.log_loss, champion.log_loss, margins.log_loss),
    ):
        margin = share * own.value if own else None
        checks.append(_no_worse(examined, name, difference, margin, better=-1))
    return checks


def _no_worse(
    examined: Examined, name: str, told: Estimate | None, margin: float | None, better: int
) -> Check:
    if told is None or told.se is None or margin is None:
        said = f"{name}: its difference is not known"
        return Check(name, "undecided", None, None, margin, said)
    bound = told.value - better * examined.z * told.se
    limit = -better * margin
    outcome: Outcome = "pass"
    if better * (bound - limit) < 0:
        chance = beyond(better * told.value, told.se, better * limit)
        outcome = safeguard(False, chance, examined.margins.doubt)
    side = "lower" if better > 0 else "upper"
    words = {
        "pass": "no worse",
        "fail": "worse than the margin",
        "undecided": "perhaps worse than the margin",
    }
    said = (
        f"{name}: {words[outcome]}: {told.value:+.4f} against the champion, {side} "
        f"{1 - examined.alpha:.2%} bound {bound:+.4f}, margin {limit:+.4f}"
    )
    return Check(name, outcome, told.value, bound, limit, said)


def improvement(examined: Examined) -> list[Check]:
    """The log loss shows that the change is for the better, as far as the margins demand it.

    Each no-worse challenger may be a little worse than its champion, and after many the model is
    far worse than the first (bio-creep; Feng, Emerson and Simon, Biometrics 2021;77:31). A lower
    estimate each time keeps the sum from growing.
    """
    demanded, told = examined.margins.improvement, examined.difference.log_loss
    if demanded == "none" or told is None or told.se is None:
        return []
    bound = told.value + examined.z * told.se
    judged = told.value if demanded == "estimate" else bound
    # The same model twice has no difference and no error: that is surely no improvement.
    chance = beyond(-told.value, told.se, 0.0) if told.se else 1.0
    outcome = safeguard(judged < 0, chance, examined.margins.doubt)
    words = {"pass": "better", "fail": "no better", "undecided": "perhaps no better"}
    said = (
        f"improvement: {words[outcome]} than the champion: log loss {told.value:+.5f}, upper bound "
        f"{bound:+.5f}"
    )
    return [Check("improvement", outcome, told.value, bound, 0.0, said)]


def calibration(examined: Examined) -> list[Check]:
    """Observed over expected events, and the calibration slope, over all rows."""
    told, champion, margins = examined.challenger, examined.champion, examined.margins
    limit = margins.observed_expected
    ratios = (_log(told.observed_expected), _log(champion.observed_expected))
    checks = [_ratio("observed_expected", *ratios, limit, margins.doubt)]
    slope, own = told.calibration_slope, champion.calibration_slope
    name, low, high = "calibration_slope", margins.slope_low, margins.slope_high
    if slope is None:
        checks.append(Check(name, "undecided", None, None, None, f"{name}: not known"))
        return checks
    within = low <= slope.value <= high
    nearer = own is not None and abs(slope.value - 1) <= abs(own.value - 1)
    margin = low if slope.value < 1 else high
    said = f"{name}: {slope.value:.2f}, range {low:g} to {high:g}" + _against(own, within, nearer)
    outcome = safeguard(within or nearer, beyond(slope.value, slope.se, low, high), margins.doubt)
    checks.append(Check(name, outcome, slope.value, None, margin, said))
    return checks


def _log(ratio: Estimate | None) -> Shrunken | None:
    """The logarithm of a ratio, whose error is that of the logarithm."""
    return None if ratio is None else Shrunken(math.log(ratio.value), ratio.se or 0.0)


def _against(own: Estimate | None, within: bool, nearer: bool) -> str:
    if within or own is None:
        return ""
    return f"; the champion's {own.value:.2f} is {'no nearer' if nearer else 'nearer'} to 1"


def _ratio(
    name: str, log: Shrunken | None, champions: Shrunken | None, limit: float, doubt: float
) -> Check:
    """Observed over expected, within a factor of 1, or no further from 1 than the champion's."""
    if log is None:
        return Check(name, "undecided", None, None, limit, f"{name}: not known")
    within = abs(log.value) <= math.log(limit)
    nearer = champions is not None and abs(log.value) <= abs(champions.value)
    ratio = math.exp(log.value)
    said = f"{name}: {ratio:.2f}, range {1 / limit:.2f} to {limit:.2f}"
    if not within and champions is not None:
        word = "no nearer" if nearer else "nearer"
        said += f"; the champion's {math.exp(champions.value):.2f} is {word} to 1"
    chance = beyond(log.value, log.sd, -math.log(limit), math.log(limit))
    return Check(name, safeguard(within or nearer, chance, doubt), ratio, None, limit, said)


def by_group(examined: Examined) -> list[Check]:
    """Seasons, subgroups and sites: shrunken observed over expected, AUROC and log loss."""
    checks = []
    for family, groups in examined.families().items():
        checks += _observed_expected(examined, family, groups)
        if family != "season":
            margins = examined.margins
            margin = margins.site_auroc if family == _SITE else margins.subgroup_auroc
            checks += _group_differences(examined, "auroc", groups, margin, better=1)
            own = examined.champion.log_loss
            loss = margins.group_log_loss * (own.value if own else 0.0)
            checks += _group_differences(examined, "log_loss", groups, loss, better=-1)
    return checks


def _observed_expected(examined: Examined, family: str, groups: tuple[str, ...]) -> list[Check]:
    margins = examined.margins
    limit = margins.observed_expected if family == "season" else margins.group_observed_expected
    scale = math.log(limit)
    told, champions = (
        shrink(_ratios(examined, model, groups), scale)
        for model in (examined.name, examined.comparison.champion)
    )
    checks = []
    for group in groups:
        name = f"observed_expected {group}"
        if group not in told:
            checks.append(_unjudged(name))
            continue
        checks.append(_ratio(name, told[group], champions.get(group), limit, margins.doubt))
    return checks


def _ratios(examined: Examined, model: str, groups: tuple[str, ...]) -> dict[str, Measured]:
    """Logarithms of observed over expected events that have an error."""
    found = {}
    for group in groups:
        figures = examined.comparison.groups[group][model]
        ratio = figures.observed_expected
        if ratio is not None and ratio.se is not None and figures.events >= LEAST_GROUP_EVENTS:
            found[group] = Measured(math.log(ratio.value), ratio.se, figures.events)
    return found


def _group_differences(
    examined: Examined, figure: str, groups: tuple[str, ...], margin: float, better: int
) -> list[Check]:
    measured = {}
    for group in groups:
        figures = examined.comparison.groups[group][examined.name]
        told: Estimate | None = getattr(figures.difference, figure)
        if told is not None and told.se is not None and figures.events >= LEAST_GROUP_EVENTS:
            measured[group] = Measured(told.value, told.se, figures.events)
    shrunken = shrink(measured, margin)
    return [
        _group_difference(
            f"{figure} {group}",
            shrunken.get(group),
            -better * margin,
            better,
            examined.margins.doubt,
        )
        for group in groups
    ]


def _group_difference(
    name: str, told: Shrunken | None, limit: float, better: int, doubt: float
) -> Check:
    if told is None:
        return _unjudged(name)
    chance = beyond(better * told.value, told.sd, better * limit)
    outcome = safeguard(better * (told.value - limit) >= 0, chance, doubt)
    said = (
        f"{name}: {told.value:+.4f} against the champion (shrunken), margin {limit:+.4f}; chance "
        f"to be beyond it {chance:.0%}"
    )
    return Check(name, outcome, told.value, None, limit, said)


def _unjudged(name: str) -> Check:
    return Check(
        name, "not judged", None, None, None, f"{name}: not judged: no events, or one person"
    )


def seasons_seen(examined: Examined) -> list[Check]:
    """Which seasons had no rows: nothing is known of the challenger in them."""
    named = group_families(examined.study).get("season", ())
    absent = [name for name in named if name not in examined.comparison.groups]
    if not absent:
        return []
    said = f"seasons without rows, in which nothing is known: {', '.join(absent)}"
    return [Check("seasons", "not judged", None, None, None, said)]


def net_benefit(examined: Examined) -> list[Check]:
    """Net benefit at the bands' lower limits: the loss is at most a share of the prevalence."""
    comparison = examined.comparison
    prevalence = comparison.events / comparison.rows
    checks = []
    for band, told in examined.difference.net_benefit.items():
        limit = -examined.margins.net_benefit * prevalence
        chance = beyond(told.value, told.se, limit)
        outcome = safeguard(told.value >= limit, chance, examined.margins.doubt)
        said = (
            f"net_benefit {band}: {1000 * told.value:+.2f} true positives in 1,000 rows against "
            f"the champion, margin {1000 * limit:+.2f}"
        )
        checks.append(Check(f"net_benefit {band}", outcome, told.value, None, limit, said))
    return checks


def churn(examined: Examined) -> list[Check]:
    """How many rows change their band, and how many leap over one."""
    cells = examined.comparison.churn[examined.name]
    rows = sum(map(sum, cells))
    if not rows:
        return [Check("churn", "not judged", None, None, None, "churn: no rows were told about")]
    stayed = sum(cells[place][place] for place in range(len(cells)))
    leapt = cells[0][-1] + cells[-1][0]
    return [
        _churned("churn", 1 - stayed / rows, examined.margins.churn, "change their band"),
        _churned("leap", leapt / rows, examined.margins.leap, "go from low to high or back"),
    ]


def _churned(name: str, share: float, limit: float, words: str) -> Check:
    outcome: Outcome = "fail" if share > limit else "pass"
    said = f"{name}: {share:.1%} of rows {words}, at most {limit:.1%}"
    return Check(name, outcome, share, None, limit, said)


#: Every concern; a new one costs a function, a test and a line here.
CHECKS: tuple[Callable[[Examined], list[Check]], ...] = (
    no_worse,
    improvement,
    calibration,
    by_group,
    seasons_seen,
    net_benefit,
    churn,
)
