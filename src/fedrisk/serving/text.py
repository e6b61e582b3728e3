"""Values of text formats: what is missing, what is a number, what is a level.

The rules are those that sites train by: white space around a value does not matter, an empty value
and ``NA`` are missing, a number is decimal with an optional exponent and finite, and levels are
compared as `plain` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Texts that stand for a missing value, after white space around them is taken off.
MISSING = ("", "NA")
#: A decimal number, as a pattern for Python and for Arrow's RE2.
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
#: What other programs write for values that are no finite number.
NOT_FINITE = r"^[+-]?(?i:inf|infinity|nan)$"
_NUMBER, _NOT_FINITE = re.compile(NUMBER), re.compile(NOT_FINITE)
_WHOLE = re.compile(r"[+-]?\d+\.0+")


def number_or_text(text: str) -> float | str | None:
    """A number, None where missing, or the text itself where it is no number.

    >>> [number_or_text(t) for t in (" -1.5e3 ", "NA", "much", "inf")]
    [-1500.0, None, 'much', inf]
    """
    stripped = text.strip()
    if stripped in MISSING:
        return None
    if _NUMBER.match(stripped) or _NOT_FINITE.match(stripped):
        return float(stripped)
    return text


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
    """Finds a value's level.

    Parameters
    ----------
    levels : sequence of str
        In the study's order.
    """

    MISSING, UNKNOWN = -1, -2

    def __init__(self, levels: Sequence[str]) -> None:
        self._levels = tuple(levels)
        self._exact = {level: code for code, level in enumerate(levels)}
        alike = {plain(level): code for code, level in enumerate(levels)}
        # Where "1" and "1.0" are both levels, only the very text tells.
        self._alike = alike if len(alike) == len(self._exact) else {}

    def code(self, value: object) -> int:
        """Place among the levels, or ``MISSING`` or ``UNKNOWN``.

        >>> reader = LevelReader(("1", "2"))
        >>> [reader.code(value) for value in ("2", " 1.0", "NA", None, 3)]
        [1, 0, -1, -1, -2]
        """
        text = "" if value is None else str(value).strip()
        if text in MISSING:
            return self.MISSING
        return self._exact.get(text, self._alike.get(plain(value), self.UNKNOWN))

    def level_or_text(self, text: str) -> str | None:
        """The level, None where missing, or the text itself where it is no level."""
        code = self.code(text)
        if code == self.MISSING:
            return None
        return text if code == self.UNKNOWN else self._levels[code]
