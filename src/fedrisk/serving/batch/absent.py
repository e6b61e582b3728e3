"""Keeps pandas out of a process that scores by Arrow.

Arrow loads pandas where it is installed, which takes seconds and 60 MB, only to find that no value
belongs to it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType


class _Absent:
    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of this process", name=name)


def keep_pandas_out() -> None:
    """Let this process do as if pandas were not installed."""
    sys.meta_path.insert(0, _Absent())
