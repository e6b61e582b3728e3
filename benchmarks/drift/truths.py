"""What is the right thing to say and to do about each scenario."""

from __future__ import annotations

from dataclasses import dataclass

QUIET = frozenset({"none", "monitor"})
ACTS = frozenset({"retrain", "recalibrate"})


@dataclass(frozen=True)
class Truth:
    """Right answers after the change.

    Attributes
    ----------
    diagnoses : frozenset of str
        Diagnoses of an alarm that are right; where empty every alarm is a false one.
    actions : frozenset of str
        Actions that are right as the strongest one; others are wrong.
    must_act : bool
        Whether quiet is wrong.
    promoted : bool or None
        Whether a better model must be promoted, must not, or may (None).
    """

    diagnoses: frozenset[str]
    actions: frozenset[str]
    must_act: bool
    promoted: bool | None


def _truth(
    diagnoses: str, actions: str, *, must_act: bool = False, promoted: bool | None = None
) -> Truth:
    """From lists with semicolons; quiet is always allowed unless something must be done."""
    allowed = frozenset(filter(None, actions.split("; ")))
    return Truth(
        frozenset(filter(None, diagnoses.split("; "))),
        allowed if must_act else allowed | QUIET,
        must_act,
        promoted,
    )


TRUTHS = {
    "none": _truth("", "", promoted=False),
    "season-only": _truth("season", "", promoted=False),
    "sensor-firmware": _truth(
        "covariate; concept; calibration", "investigate; retrain; recalibrate", must_act=True
    ),
    "unit-error": _truth("quality", "quality block", must_act=True, promoted=False),
    "missing-feed": _truth("quality", "quality block", must_act=True, promoted=False),
    "pollution-episode": _truth("covariate; season", "investigate", promoted=False),
    # The linear model knows no threshold of heat, so it is truly off for two weeks.
    "heat-wave": _truth(
        "covariate; season; concept; calibration", "investigate; site out of line", promoted=False
    ),
    "population-change": _truth("covariate", "investigate; retrain; recalibrate", must_act=True),
    "prevalence-change": _truth(
        "prevalence; calibration", "recalibrate; retrain", must_act=True, promoted=True
    ),
    # Twice the effect of fine particles adds a tenth to the log-odds: hardly more than a season.
    "concept-change": _truth(
        "concept; calibration; prevalence", "investigate; recalibrate; retrain"
    ),
    "concept-change x4": _truth(
        "concept; calibration; prevalence", "retrain; recalibrate", must_act=True, promoted=True
    ),
    # In the weeks of a watch the odds fall by a tenth.
    "slow-ageing": _truth("ageing; calibration; prevalence", "investigate; recalibrate; retrain"),
    "slow-ageing x4": _truth(
        "ageing; calibration; prevalence", "recalibrate; retrain", must_act=True, promoted=True
    ),
    "one-site": _truth("site out of line", "site out of line; investigate", must_act=True),
    "label-delay": _truth("", "", promoted=False),
    # Outcomes fall where somebody acts: an alarm is right, a promotion on such outcomes is not.
    "label-contamination": _truth(
        "prevalence; calibration; concept; ageing",
        "investigate; recalibrate; retrain",
        promoted=False,
    ),
}
