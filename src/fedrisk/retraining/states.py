"""The states of one retraining, and which may follow which.

::

    opened ─► frozen ─► trained ─► gated ─► registered ─► shadow ─► awaiting approval ─► canary
                                                             └──────────────────────────►┘ │
                     done ◄─ watched ◄─ promoted ◄─ cleared ◄──────────────────────────────┘
                                            └─► returning ─► returned
    any state before promoted ─► closing ─► done | refused | abandoned

A state names what is done. ``cleared`` and ``returning`` are written down before the champion
moves, and ``closing`` before the challenger is taken away, so that whoever comes after a crash
knows what was about to happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

State = Literal[
    "opened",
    "frozen",
    "trained",
    "gated",
    "registered",
    "shadow",
    "awaiting approval",
    "canary",
    "cleared",
    "promoted",
    "watched",
    "returning",
    "closing",
    "done",
    "refused",
    "abandoned",
    "returned",
]
#: How a retraining ends.
End = Literal["done", "refused", "abandoned", "returned"]

STATES: Final[tuple[State, ...]] = get_args(State)
ENDS: Final[frozenset[State]] = frozenset(get_args(End))
FIRST: Final[State] = "opened"

#: By state, what may come next.
FOLLOWERS: Final[Mapping[State, frozenset[State]]] = {
    "opened": frozenset({"frozen", "closing"}),
    "frozen": frozenset({"trained", "closing"}),
    "trained": frozenset({"gated", "closing"}),
    "gated": frozenset({"registered", "closing"}),
    "registered": frozenset({"shadow", "closing"}),
    "shadow": frozenset({"awaiting approval", "canary", "closing"}),
    "awaiting approval": frozenset({"canary", "closing"}),
    "canary": frozenset({"cleared", "closing"}),
    "cleared": frozenset({"promoted", "closing"}),
    "promoted": frozenset({"watched", "returning"}),
    "watched": frozenset({"done"}),
    "returning": frozenset({"returned", "abandoned"}),
    "closing": frozenset({"done", "refused", "abandoned"}),
    "done": frozenset(),
    "refused": frozenset(),
    "abandoned": frozenset(),
    "returned": frozenset(),
}


def may_follow(state: State, after: State) -> bool:
    """Whether a retraining in ``after`` may go on to ``state``.

    >>> may_follow("promoted", after="cleared"), may_follow("promoted", after="gated")
    (True, False)
    """
    return state in FOLLOWERS[after]
