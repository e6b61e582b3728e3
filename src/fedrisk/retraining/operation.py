"""A command that somebody asks the watch to run: what may be asked, and what is told of it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, get_args

from fedrisk.errors import UsageError

Command = Literal["drift", "retrain", "train"]
#: queued: another runs. running: its command runs, or ran when the watch ended. waiting: its
#: retraining goes on, and the watch with it. ended: nothing follows.
State = Literal["queued", "running", "waiting", "ended"]
COMMANDS: Final[tuple[Command, ...]] = get_args(Command)
TRIGGERS: Final = ("drift", "scheduled", "manual")
#: Ids name files and runs.
ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
#: Characters of a study file, and bytes of what is asked.
LONGEST_STUDY, LONGEST_BODY = 500_000, 1_100_000
#: By command, what may be said beside it; the first ones have to be.
_ARGUMENTS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "drift": ((), ()),
    "retrain": (("trigger",), ()),
    "train": (("study",), ("model", "strategy", "promote")),
}


@dataclass(frozen=True)
class Asked:
    """What somebody asks for.

    Attributes
    ----------
    id : str
        The asker's own: the same one again is the same operation.
    command : {"drift", "retrain", "train"}
    arguments : dict
        ``trigger`` of a retraining; of a training ``study``, the text of a study file, and
        ``model``, ``strategy``, ``promote``.
    """

    id: str
    command: Command
    arguments: Mapping[str, Any]

    @property
    def text(self) -> str:
        """The arguments, to keep and to compare."""
        return json.dumps(dict(self.arguments), sort_keys=True)


@dataclass(frozen=True)
class Operation:
    """What somebody asked for, and what became of it.

    Attributes
    ----------
    asked : Asked
    state : {"queued", "running", "waiting", "ended"}
    at : datetime
        When it was asked for.
    begun : int
        How often its command was begun; more than once where the watch ended in the middle.
    began, ended : datetime or None
    code : int or None
        The command's exit code, once it has ended.
    answer : dict or None
        The JSON that it printed; of a retraining that goes on, how that stands.
    lines : tuple of str
        What it told last, beside its answer.
    told : int
        How many lines it told in all.
    """

    asked: Asked
    state: State
    at: datetime
    begun: int = 0
    began: datetime | None = None
    ended: datetime | None = None
    code: int | None = None
    answer: Mapping[str, Any] | None = None
    lines: tuple[str, ...] = field(default=())
    told: int = 0

    def document(self) -> dict[str, Any]:
        """As JSON; a study's text is not repeated."""
        shown = {k: v for k, v in self.asked.arguments.items() if k != "study"}
        return {
            "id": self.asked.id,
            "command": self.asked.command,
            "arguments": shown,
            "state": self.state,
            "asked": _text(self.at),
            "began": _text(self.began),
            "ended": _text(self.ended),
            "begun": self.begun,
            "code": self.code,
            "answer": None if self.answer is None else dict(self.answer),
            "lines": list(self.lines),
            "told": self.told,
        }


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="seconds")


def new_id(now: datetime) -> str:
    """An id that nobody else makes."""
    return f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"


def read_asked(body: bytes, now: datetime) -> Asked:
    """Read what somebody asks for.

    Parameters
    ----------
    body : bytes
        A JSON object: ``command``, its arguments, and ``id`` where the asker names one.
    now : datetime

    Raises
    ------
    UsageError
        When it asks for nothing that the watch does.

    >>> from datetime import UTC
    >>> read_asked(b'{"command": "drift", "id": "a"}', datetime(2026, 1, 1, tzinfo=UTC))
    Asked(id='a', command='drift', arguments={})
    """
    try:
        found = json.loads(body)
    except ValueError:
        raise UsageError("what is asked is not JSON") from None
    if not isinstance(found, dict):
        raise UsageError("what is asked is no JSON object", hint='{"command": "drift"}')
    command = found.pop("command", None)
    if command not in COMMANDS:
        raise UsageError(f"the watch runs no {command!r}", hint=f"one of {', '.join(COMMANDS)}")
    identifier = found.pop("id", None)
    if identifier is None:
        identifier = new_id(now)
    if not (isinstance(identifier, str) and ID.fullmatch(identifier)):
        raise UsageError("an id is of letters, digits, '.', '_' and '-', at most 48")
    _check(command, found)
    return Asked(identifier, command, found)


def _check(command: Command, found: Mapping[str, Any]) -> None:
    needed, more = _ARGUMENTS[command]
    for name in needed:
        if name not in found:
            raise UsageError(f"{command} needs {name!r}")
    for name, value in found.items():
        if name not in (*needed, *more):
            raise UsageError(f"{command} takes no {name!r}")
        if not isinstance(value, bool if name == "promote" else str):
            raise UsageError(f"{name!r} of {command} is {type(value).__name__}")
    if command == "retrain" and found["trigger"] not in TRIGGERS:
        raise UsageError(f"no trigger {found['trigger']!r}", hint=f"one of {', '.join(TRIGGERS)}")
    if len(found.get("study", "")) > LONGEST_STUDY:
        raise UsageError(f"a study file has at most {LONGEST_STUDY:,} characters here")
    for name in ("model", "strategy"):
        if name in found and not ID.fullmatch(found[name]):
            raise UsageError(f"{found[name]!r} is no {name}")
