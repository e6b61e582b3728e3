"""Whether outcomes can say which model is better: where scores change care, they may not.

A high score leads to care, care averts the event, and the row then says that the score was wrong. A
model fitted on such rows learns that high risk is low, and on such rows it looks better (Lenert,
Matheny and Walsh, J Am Med Inform Assoc 2019;26:1645; Liley et al., AISTATS 2021).
"""

from __future__ import annotations

from dataclasses import dataclass

from fedrisk.models.comparison import Comparison
from fedrisk.retraining.margins import Margins


@dataclass(frozen=True)
class Identifiability:
    """Whether the rows that were judged have outcomes that no score altered.

    Attributes
    ----------
    identifiable : bool
    ask_untreated : bool
        Whether a comparison on untreated rows alone might do.
    sentences : tuple of str
    """

    identifiable: bool
    ask_untreated: bool
    sentences: tuple[str, ...]


def treated_share(comparison: Comparison) -> float:
    """Share of events among treated rows, 0 to 1: of the observed or of the expected, if larger.

    Care averts events, so the observed share alone understates how much was altered.
    """
    events = sum(each["events"] for each in comparison.bands.values())
    observed = comparison.treated_events / events if events else 0.0
    without = comparison.treated_expected + max(events - comparison.treated_events, 0.0)
    expected = comparison.treated_expected / without if without else 0.0
    return max(observed, expected)


def identifiability(comparison: Comparison, margins: Margins) -> Identifiability:
    """Judge the rows of a comparison.

    Parameters
    ----------
    comparison : Comparison
    margins : Margins
        ``treated_share`` and ``untreated_share``.
    """
    if comparison.untreated:
        return _of_untreated(comparison, margins)
    share = treated_share(comparison)
    if share <= margins.treated_share:
        said = (f"{share:.1%} of events are of treated rows",) if comparison.treated else ()
        return Identifiability(True, False, said)
    return Identifiability(
        False,
        _supported(comparison, margins) == "",
        (
            f"{share:.1%} of events, observed or expected, are of rows whose score led to care, "
            f"more than {margins.treated_share:.1%}: outcomes may be altered and do not tell which "
            "model is better",
            _supported(comparison, margins) or "a comparison on untreated rows alone may tell",
        ),
    )


def _of_untreated(comparison: Comparison, margins: Margins) -> Identifiability:
    missing = _supported(comparison, margins)
    if missing:
        return Identifiability(False, False, (missing,))
    said = (
        f"judged on {comparison.rows:,.0f} untreated rows, weighted to stand for all: right if "
        "chance alone decided who of a risk level was treated",
    )
    return Identifiability(True, False, said)


def _supported(comparison: Comparison, margins: Margins) -> str:
    """Which risk level has too few untreated rows to stand for it; empty where none has."""
    for band, told in comparison.bands.items():
        if not told["rows"]:
            continue
        share = 1 - told["treated"] / told["rows"]
        if share < margins.untreated_share:
            return (
                f"{share:.1%} of the rows at {band} risk are untreated, fewer than "
                f"{margins.untreated_share:.1%}: nobody shows what happens without care; "
                "hold a random share back from acting on the score"
            )
    return ""
