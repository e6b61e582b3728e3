"""One value of a file or a message: when it is missing, when a number, and which level it is.

These rules hold wherever rows are read, at the sites that train and where the model scores: white
space around a value does not matter, an empty value and ``NA`` are missing, a number is decimal
with an optional exponent, and levels are compared as `plain` writes them. `fedrisk.study.columns`
reads whole columns by the same rules.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

#: Texts that stand for a missing value, after white space around them is taken off.
MISSING = ("", "NA")
#: A decimal number, or what programs write for one that is not finite; for Python and Arrow's RE2.
NUMBER = (
    r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
    r"|^[+-]?([iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])$"
)
_NUMBER = re.compile(NUMBER)
_WHOLE = re.compile(r"[+-]?\d+\.0+")


def number_or_text(text: str) -> float | str | None:
    """A number, None where missing, or the text itself where it is no number.

    >>> [number_or_text(t) for t in (" -1.5e3 ", "NA", "much", "inf")]
    [-1500.0, None, 'much', inf]
    """
    stripped = text.strip()
    if stripped in MISSING:
        return None
    return float(stripped) if _NUMBER.match(stripped) else text


def is_missing(value: object) -> bool:
    """Whether a value of any type stands for none.

    >>> [is_missing(value) for value in (None, float("nan"), " NA ", "nan", 0)]
    [True, True, True, False, False]
    """
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and value.strip() in MISSING)


def plain(value: object) -> str:
    """Write a value so that formats agree: 1, 1.0, "1" and "1.0" are all ``1``.

    >>> plain(2.0), plain("2.0"), plain(True), plain("True"), plain("II")
    ('2', '2', 'true', 'true', 'II')
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if _WHOLE.fullmatch(text):
        text = text.partition(".")[0]
    return text.lower() if text.lower() in ("true", "false") else text


class LevelReader:
    """Finds a value's level: the one with its very text, else the one that `plain` writes alike.

    Parameters
    ----------
    levels : sequence of str
        In the study's order.
    """

    MISSING, UNKNOWN = -1, -2

    def __init__(self, levels: Sequence[str]) -> None:
        self._levels = tuple(levels)
        self._exact = {level: code for code, level in enumerate(levels)}
        alike = Counter(map(plain, levels))
        # Where "1" and "1.0" are both levels, only the very text tells.
        self._alike = {plain(x): code for x, code in self._exact.items() if alike[plain(x)] == 1}

    def code(self, value: object) -> int:
        """Place among the levels, or ``MISSING`` or ``UNKNOWN``.

        >>> reader = LevelReader(("1", "2"))
        >>> [reader.code(value) for value in ("2", " 1.0", "NA", None, 3)]
        [1, 0, -1, -1, -2]
        """
        if is_missing(value):
            return self.MISSING
        return self._exact.get(str(value).strip(), self._alike.get(plain(value), self.UNKNOWN))

    def level_or_text(self, text: str) -> str | None:
        """The level, None where missing, or the text itself where it is no level."""
        code = self.code(text)
        if code == self.MISSING:
            return None
        return text if code == self.UNKNOWN else self._levels[code]
