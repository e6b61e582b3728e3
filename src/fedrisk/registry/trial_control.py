"""How a challenger is tried, as the registry says it and serving processes read it.

The loop writes a tag on the challenger's version; the follower writes what the tag says beside the
caches, as ``trial.json``; serving processes take it up without a restart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from fedrisk.durable import write_whole
from fedrisk.errors import RegistryError


@dataclass(frozen=True, slots=True)
class TrialControl:
    """What a challenger may do.

    Attributes
    ----------
    share : float
        Part of the requests that it answers, from 0 to 1.
    shadow : bool
        Whether it scores what the champion answered.

    Raises
    ------
    RegistryError
        When the share is outside 0 to 1.

    >>> TrialControl(0.1, shadow=True).text()
    '{"share": 0.1, "shadow": true}'
    """

    share: float = 0.0
    shadow: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.share) and 0.0 <= self.share <= 1.0):
            raise RegistryError(f"a challenger's share is from 0 to 1, not {self.share}")

    def text(self) -> str:
        """As the tag and the file have it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> TrialControl:
        """Read `text`.

        Raises
        ------
        RegistryError
            When it is none.
        """
        try:
            found: Any = json.loads(text)
            if not isinstance(found, Mapping) or not isinstance(found["shadow"], bool):
                raise TypeError("not share and shadow")
            return cls(float(found["share"]), found["shadow"])
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(f"this says not how to try a challenger: {error}") from None


#: Nothing of the challenger reaches anybody.
NO_TRIAL = TrialControl()


def write_trial(file: Path, says: str) -> bool:
    """Let a file say how the challenger is tried; empty takes it away. Whether that is news."""
    if says == (file.read_text(encoding="utf-8") if file.exists() else ""):
        return False
    if says:
        write_whole(file, says)
    else:
        file.unlink(missing_ok=True)
    return True


def read_trial(file: Path) -> TrialControl | None:
    """What a file says; None where there is none.

    Raises
    ------
    RegistryError
        When it says nothing that can be read.
    """
    try:
        return TrialControl.from_text(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{file} cannot be read: {error}") from None
