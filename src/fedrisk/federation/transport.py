"""Flower's grid with an end to every wait.

A call of the grid may take far longer than a message's deadline: 7200 s for the objects of one
reply, for ever where SuperLink is away. So each call runs in a thread of its own and is waited for
briefly; what it brings later is taken then. Replies are fetched together, and alone once that has
failed or hung, so that one site's reply does not keep the others' back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from flwr.app import Message
from flwr.serverapp import Grid

from fedrisk.federation.calls import Call

#: Seconds that a call of the grid is waited for; also how long one outlasts the deadline, or two,
#: where replies that were fetched together have to be fetched alone.
CALL_SECONDS = 30.0
#: Replies that are fetched at once, each alone.
AT_ONCE = 20
#: What a transport that is away raises; anything else is about what it was given.
AWAY = (OSError, httpx.HTTPError)

T = TypeVar("T")


@dataclass(frozen=True)
class Pushed:
    """What became of a message that the grid was given.

    Attributes
    ----------
    node : int
    message : Message
    began : float
        When the grid was given it.
    identifier : str
        Flower's; empty when it did not take the message.
    """

    node: int
    message: Message
    began: float
    identifier: str


@dataclass(frozen=True)
class Broken:
    """A reply that cannot be read: the transport works, but not for this one."""

    identifier: str
    error: Exception


@dataclass(frozen=True)
class _Push:
    nodes: list[int]
    messages: list[Message]
    began: float
    call: Call[list[str]]


@dataclass(frozen=True)
class _Pull:
    identifiers: list[str]
    alone: bool
    call: Call[list[Message]]


@dataclass
class Transport:
    """The grid during one message to all sites.

    Attributes
    ----------
    grid : Grid
    end : float
        When the message's deadline has passed, by ``clock``.
    clock : callable
        Seconds, like `time.monotonic`.
    error : Exception or None
        What the last call failed by, or that it hangs; None where it worked.
    """

    grid: Grid
    end: float
    clock: Callable[[], float] = time.monotonic
    error: Exception | None = None
    _listing: Call[list[int]] | None = None
    _pushes: list[_Push] = field(default_factory=list)
    _pulls: list[_Pull] = field(default_factory=list)
    _one_by_one: bool = False

    def connected(self) -> list[int]:
        """Nodes that are connected; none where the grid does not say so in time."""
        if self._listing is None:
            if self._over():
                return []
            self._listing = Call(lambda: list(self.grid.get_node_ids()))
        if not self._ends(self._listing, CALL_SECONDS):
            return []
        listing, self._listing = self._listing, None
        return sorted(set(self._outcome(listing) or ()))

    def push(self, nodes: list[int], messages: list[Message]) -> None:
        """Give the grid a message for each node; `pushed` tells what became of them."""
        if self._over():
            return
        call = Call(lambda: list(self.grid.push_messages(messages) or ()))
        self._pushes.append(_Push(nodes, messages, self.clock(), call))
        self._ends(call, CALL_SECONDS)

    def pushed(self) -> Iterator[Pushed]:
        """Messages that the grid has taken or refused since the last look."""
        for push in [push for push in self._pushes if push.call.ended()]:
            self._pushes.remove(push)
            taken = [identifier or "" for identifier in self._outcome(push.call) or ()]
            taken += [""] * (len(push.nodes) - len(taken))
            for node, message, identifier in zip(push.nodes, push.messages, taken, strict=False):
                yield Pushed(node, message, push.began, identifier)

    def fetch(self, asked: Iterable[str]) -> Iterator[Message | Broken]:
        """Replies that are there, of the messages with these identifiers."""
        yield from self._gather()
        alone = {pull.identifiers[0] for pull in self._pulls if pull.alone}
        wanted = [identifier for identifier in asked if identifier not in alone]
        if not wanted or self._over():
            return
        if not self._one_by_one:
            yield from self._pull([wanted], alone=False)
            if not any(pull.identifiers is wanted for pull in self._pulls):
                return
        self._one_by_one = False
        for start in range(0, len(wanted), AT_ONCE):
            yield from self._pull([[one] for one in wanted[start : start + AT_ONCE]], alone=True)
            if self._one_by_one or self._over():
                return

    def stuck(self, identifier: str) -> bool:
        """Whether fetching this one's reply alone has not ended."""
        return any(pull.alone and identifier in pull.identifiers for pull in self._pulls)

    def unsent(self) -> set[int]:
        """Nodes whose message the grid has neither taken nor refused."""
        return {node for push in self._pushes for node in push.nodes}

    def _pull(self, groups: list[list[str]], *, alone: bool) -> Iterator[Message | Broken]:
        begun = [
            _Pull(group, alone, Call(lambda ids=group: list(self.grid.pull_messages(ids))))  # type: ignore[misc]
            for group in groups
        ]
        self._pulls += begun
        limit = time.monotonic() + CALL_SECONDS
        for pull in begun:
            self._ends(pull.call, max(limit - time.monotonic(), 0.0))
        yield from self._gather()

    def _gather(self) -> Iterator[Message | Broken]:
        """What calls have brought, also those that were left behind."""
        for pull in [pull for pull in self._pulls if pull.call.ended()]:
            self._pulls.remove(pull)
            found = self._outcome(pull.call)
            if self.error is None:
                yield from found or ()
            elif not pull.alone or isinstance(self.error, AWAY):
                self._one_by_one = True
            else:
                broken, self.error = self.error, None
                yield Broken(pull.identifiers[0], broken)

    def _over(self) -> bool:
        """Whether a call that failed or hung took the time that was left."""
        return self.error is not None and self.clock() > self.end

    def _ends(self, call: Call[T], seconds: float) -> bool:
        if call.ended(seconds):
            return True
        self.error = TimeoutError(
            f"a call of Flower's grid has not ended within {CALL_SECONDS:g} s"
        )
        return False

    def _outcome(self, call: Call[T]) -> T | None:
        """What a call that ended brought; None where it failed, and `error` says why."""
        try:
            found = call.result()
        except Exception as error:  # noqa: BLE001 Flower's transports raise their libraries' errors
            self.error = error
            return None
        self.error = None
        return found
