"""Features of a study: what a column may hold, in which unit, and what is plausible."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedrisk.study.values import MISSING

Missing = Literal["reject", "allow"]

#: Largest size of a number: squares and their sums over all rows stay finite.
LARGEST = 1e100
TOO_LARGE = f"must not be larger than {LARGEST:g} in size"


class _Strict(BaseModel):
    """Unknown keys are errors, and nothing changes after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class NumberFeature(_Strict):
    """A measured quantity.

    ``minimum`` and ``maximum`` are hard bounds: a value outside is an error. ``plausible`` is a
    closed range: a value outside is accepted and flagged. Without a hard bound, `LARGEST` is one.
    """

    name: str = Field(min_length=1)
    kind: Literal["number"] = "number"
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    plausible: tuple[float, float] | None = None
    missing: Missing = "reject"

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> NumberFeature:
        low = -float("inf") if self.minimum is None else self.minimum
        high = float("inf") if self.maximum is None else self.maximum
        if not low < high:
            raise ValueError("minimum must be below maximum")
        if self.plausible is not None and not low <= self.plausible[0] < self.plausible[1] <= high:
            raise ValueError("plausible must be [low, high] within minimum and maximum")
        named = (self.minimum, self.maximum, *(self.plausible or ()))
        if any(abs(bound) > LARGEST for bound in named if bound is not None):
            raise ValueError(f"a bound {TOO_LARGE}")
        return self

    @property
    def limits(self) -> tuple[float, float]:
        """Least and largest value that is accepted, whether declared or not."""
        low = -LARGEST if self.minimum is None else self.minimum
        high = LARGEST if self.maximum is None else self.maximum
        return low, high

    def outside_text(self, value: float) -> str:
        """The rule that a value outside `limits` breaks, in words.

        >>> NumberFeature(name="age", minimum=0).outside_text(1e308)
        'must not be larger than 1e+100 in size'
        """
        declared = self.minimum if value < 0 else self.maximum
        too_large = declared is None and LARGEST < abs(value) < float("inf")
        return TOO_LARGE if too_large else self.bounds_text

    @property
    def bounds_text(self) -> str:
        """The hard bounds as a rule in words, with the unit.

        >>> NumberFeature(name="age", unit="year", minimum=0, maximum=120).bounds_text
        'must be between 0 and 120 year'
        """
        unit = f" {self.unit}" if self.unit else ""
        if self.minimum is not None and self.maximum is not None:
            return f"must be between {self.minimum:g} and {self.maximum:g}{unit}"
        if self.minimum is not None:
            return f"must be at least {self.minimum:g}{unit}"
        if self.maximum is not None:
            return f"must be at most {self.maximum:g}{unit}"
        return "must be a number"


class CategoryFeature(_Strict):
    """One of a declared list of levels; the first level is the reference."""

    name: str = Field(min_length=1)
    kind: Literal["category"]
    levels: tuple[str, ...] = Field(min_length=2)
    unit: str = ""
    missing: Missing = "reject"

    @model_validator(mode="after")
    def _levels_are_distinct(self) -> CategoryFeature:
        if len(set(self.levels)) != len(self.levels):
            raise ValueError("levels must be distinct")
        if set(MISSING) & set(self.levels):
            raise ValueError("an empty level, or NA, cannot be told from a missing value")
        return self

    @property
    def bounds_text(self) -> str:
        """The levels as a rule in words."""
        return "must be one of " + ", ".join(self.levels)


Feature = Annotated[NumberFeature | CategoryFeature, Field(discriminator="kind")]
