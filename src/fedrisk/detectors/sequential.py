"""Evidence against the model that may be looked at after every window, and stopped at any time.

It is what somebody wins who bets against a null hypothesis and may not borrow: while the null
holds, the expected fortune never exceeds the stake of 1, so the chance that it ever reaches 1/alpha
is at most alpha (Ville's inequality), however often and whenever one looks. Testing by betting:
Shafer, J R Stat Soc A 2021;184:407. A bet pays a likelihood ratio, so its logarithm is the log loss
of the null less that of what is bet on.

A fixed stake on the first window is soon lost while nothing is wrong, and a change that comes later
would have to win it back. Therefore a share ``1 / k(k+1)`` of the stake enters with window k; the
shares add up to 1, so the whole is a bet like any other (a mixture over the time of the change:
Shin, Ramdas and Rinaldo, New England J Stat Data Sci 2024;2:229).

Rows count through the score bins of labelled windows. The chances are those of an event given the
score and all that came before: people who are at higher risk than their score says in every one of
their rows are against the null. The tolerance is there for this, and for what bins round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from fedrisk.detectors.score_bins import bin_logits
from fedrisk.errors import StudyError
from fedrisk.models.logistic import expit
from fedrisk.profiles import Profile
from fedrisk.study.records import FloatArray

#: Shifts of the log-odds beyond the tolerance that are bet on; the fortune is the mean over them.
SHIFTS = (0.1, 0.2, 0.35, 0.6, 1.0, 1.6)
#: Directions of the shift below and above the split: all up, all down, and the two ways in which a
#: slope other than 1 shows.
DIRECTIONS = ((1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0))


@dataclass(frozen=True)
class Fortune:
    """What bets on several alternatives have come to, on the log scale.

    Attributes
    ----------
    windows : int
        How many were bet on.
    logs : (bets,) array
        Logarithm of each bet's fortune, without what has not entered yet.
    highest : float
        Largest e-value so far.
    """

    windows: int
    logs: FloatArray
    highest: float

    @classmethod
    def start(cls, bets: int) -> Self:
        """Nothing has entered."""
        return cls(0, np.full(bets, -np.inf), 1.0)

    @property
    def e_value(self) -> float:
        """The fortune: 1 at the start; large is evidence against the null."""
        top = max(float(np.max(self.logs)), 0.0)
        entered = float(np.mean(np.exp(self.logs - top)))
        return float(np.exp(min(top + np.log(entered + self._waiting * np.exp(-top)), 700.0)))

    @property
    def _waiting(self) -> float:
        return 1.0 / (self.windows + 1)

    @property
    def p_value(self) -> float:
        """Anytime-valid p-value: 1 over the largest e-value so far."""
        return min(1.0, 1.0 / self.highest)

    def after(self, log_factors: FloatArray) -> Self:
        """The fortune after one window, given the logarithm of what each bet pays, ``(bets,)``."""
        share = -np.log((self.windows + 1) * (self.windows + 2))
        logs = np.logaddexp(self.logs, share) + log_factors
        moved = replace(self, windows=self.windows + 1, logs=logs)
        return replace(moved, highest=max(self.highest, moved.e_value))

    def document(self) -> dict[str, Any]:
        """The fortune as JSON values."""
        logs = [None if np.isinf(value) else float(value) for value in self.logs]
        return {"windows": self.windows, "logs": logs, "highest": self.highest}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `document`."""
        logs = [-np.inf if value is None else float(value) for value in document["logs"]]
        return cls(int(document["windows"]), np.array(logs), float(document["highest"]))


@dataclass(frozen=True)
class CalibrationEvidence:
    """Evidence that events come oftener or more seldom than scores say.

    The null: in every score bin the odds of an event are within a factor of ``exp(tolerance)`` of
    what the score says. Each bet is a likelihood ratio of log-odds that are shifted further, all
    up, all down, or apart above and below ``split``, against the null's nearest border.

    Attributes
    ----------
    tolerance : float
        Log odds ratio, at least 0.
    split : float
        Log-odds, fixed before the first window: the mean of the reference's scores, say.
    fortune : Fortune

    Examples
    --------
    >>> watch = CalibrationEvidence.start(split=-3.0)
    >>> rows, events = np.zeros(194), np.zeros(194)
    >>> rows[72], events[72] = 1000.0, 90.0  # a risk of 4.9 %, and 9 % had an event
    >>> watch = watch.after_counts(rows, events)
    >>> watch.rejects(alpha=0.01)
    True
    """

    tolerance: float
    split: float
    fortune: Fortune

    @classmethod
    def start(cls, split: float, tolerance: float = 0.1) -> Self:
        """Before the first window; raises ValueError on a negative tolerance."""
        if not (tolerance >= 0 and np.isfinite(split)):
            raise ValueError(f"tolerance {tolerance}, split {split}: at least 0, finite")
        return cls(tolerance, split, Fortune.start(len(DIRECTIONS) * len(SHIFTS)))

    def after(self, profile: Profile) -> Self:
        """With one more window's labelled rows; windows must not repeat rows."""
        return self.after_counts(profile.labelled, profile.events)

    def after_counts(self, rows: FloatArray, events: FloatArray) -> Self:
        """With one more window, by score bin: labelled rows and events, ``(194,)`` each.

        A window without labelled rows changes nothing.
        """
        if not rows.sum():
            return self
        return replace(self, fortune=self.fortune.after(self._pays(rows, events)))

    def _pays(self, rows: FloatArray, events: FloatArray) -> FloatArray:
        """Log likelihood ratios of the bets, ``(directions * shifts,)``."""
        logits, shifts = bin_logits(), np.array(SHIFTS)
        below, above = np.array(DIRECTIONS).T
        way = np.where(logits < self.split, below[:, None], above[:, None])
        border = expit(logits + way * self.tolerance)[:, None, :]
        bet = way[:, None, :] * shifts[None, :, None]
        pays = bet @ events - np.log1p(border * np.expm1(bet)) @ rows
        return np.asarray(pays, np.float64).ravel()

    @property
    def e_value(self) -> float:
        return self.fortune.e_value

    @property
    def p_value(self) -> float:
        return self.fortune.p_value

    def rejects(self, alpha: float) -> bool:
        """Whether the null was ever refuted at this level, over all looks so far."""
        return self.fortune.p_value <= alpha

    def document(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "kind": "calibration",
            "tolerance": self.tolerance,
            "split": self.split,
            "fortune": self.fortune.document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Rebuild from `document`; raises StudyError when it is no such document."""
        try:
            found = cls.start(float(document["split"]), float(document["tolerance"]))
            return replace(found, fortune=_read(document, found.fortune))
        except (KeyError, TypeError, ValueError) as error:
            raise StudyError(f"not evidence on calibration: {error!r}") from None


def _read(document: Mapping[str, Any], like: Fortune) -> Fortune:
    fortune = Fortune.from_document(document["fortune"])
    if document["kind"] != "calibration" or fortune.logs.shape != like.logs.shape:
        raise ValueError(f"kind {document['kind']!r} with {len(fortune.logs)} bets")
    return fortune
