"""What a follower last saw of the registry: one small file, which serving processes report."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

#: following: the caches are what the aliases say. away: the registry does not answer. empty: it
#: has no such model. refused: a version that an alias names fails its verification. unwritable: the
#: cache takes no other model, as on a full disk.
State = Literal["following", "away", "empty", "refused", "unwritable"]
#: Seconds after which a follower that has not looked again hangs or is gone: a look at a registry
#: that is away takes up to a minute, and so does the pause after it.
OLDEST: Final = 180.0
STATES: Final[tuple[State, ...]] = ("following", "away", "empty", "refused", "unwritable")


@dataclass(frozen=True)
class FollowerStatus:
    """The last look at the registry.

    Attributes
    ----------
    state : str
        One of `STATES`.
    at : str
        When, in ISO 8601.
    reason, hint : str
        Why the caches do not follow; empty while they do.
    """

    state: State
    at: str
    reason: str = ""
    hint: str = ""

    def document(self) -> dict[str, str]:
        """The status as JSON values, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value}


def write_status(path: Path, status: FollowerStatus) -> None:
    """Put a status in place of the last one, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(status.document()) + "\n", encoding="utf-8")
    draft.replace(path)


def read_status(path: Path) -> FollowerStatus | None:
    """The last status; None where nothing follows, or where the file cannot be understood."""
    with suppress(OSError, ValueError, TypeError):
        found = FollowerStatus(**json.loads(path.read_bytes()))
        return found if found.state in STATES else None
    return None
