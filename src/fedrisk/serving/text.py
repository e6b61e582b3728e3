"""Values of text formats: what is missing, what is a number.

The rules are those of the study for every text file: an empty field and ``NA`` are missing, a
number is decimal with an optional exponent and finite.
"""

from __future__ import annotations

import math
import re

#: Texts that stand for a missing value.
MISSING = ("", "NA")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def parse_number(text: str) -> float:
    """Read a finite decimal number; blanks around it do not matter.

    Raises
    ------
    ValueError
        When the text is something else.

    >>> parse_number(" -1.5e3 ")
    -1500.0
    """
    stripped = text.strip(" \t")
    if _NUMBER.fullmatch(stripped) is None:
        raise ValueError("must be a number")
    number = float(stripped)
    if not math.isfinite(number):
        raise ValueError("must be a finite number")
    return number


def number_or_text(text: str) -> float | str | None:
    """A number, None where missing, or the text itself where it is no number.

    >>> [number_or_text(t) for t in ("7", "NA", "much")]
    [7.0, None, 'much']
    """
    if text in MISSING:
        return None
    try:
        return parse_number(text)
    except ValueError:
        return text
