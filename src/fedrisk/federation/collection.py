"""One message to every site and the wait for their answers, which always ends.

Every way to fail is one site's: no answer by the deadline, a refusal, an app that fails, a reply
that cannot be read or cannot be true. Messages that the transport lost are sent again, for a site
whose SuperNode was restarted answers then; questions have no side effects, so the first answer
counts and later ones are ignored. The transport itself may fail: it is tried again until the time
is over. One call of Flower's grid is not bounded here: it may outlast the deadline by as long as
Flower itself allows, 7200 s for pulling the objects of a reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedrisk.errors import EgressError, FederationError, FedriskError, SiteRefusedError
from fedrisk.federation.membership import Roster
from fedrisk.federation.query import Reply

#: Flower's error codes that say that a message or its reply was lost on the way.
LOST = frozenset(
    {
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
    }
)
#: Seconds after which a silent site is asked again, at most this part of the deadline, and how much
#: longer each further wait is: a question may be lost without a word, but a site that is asked
#: while it works has to do the work twice. A site that has taken longer is given as many times what
#: it took.
PATIENCE, LARGEST_PART, LONGER = 20.0, 0.5, 3.0
#: Part of the deadline to wait before asking again where the transport has reported a loss.
PAUSE = 0.02
#: Seconds since the last node came in which a site that connects late is waited for, at most the
#: same part of the deadline, where every other node has answered or failed.
LATE = 10.0
#: What a transport that is away raises; anything else is about what it was given.
AWAY = (OSError, httpx.HTTPError)
#: Longest reason of a site that is repeated, in characters.
LONGEST_REASON = 500

#: Makes the message for a node, to be answered within so many seconds.
Make = Callable[[int, float], Message]
#: Reads and judges a reply, given the name of the site that sent it.
Judge = Callable[[Message], Reply]

T = TypeVar("T")


@dataclass
class Collection:
    """The answers to one message.

    Attributes
    ----------
    grid : Grid
    roster : Roster
        Who is asked; learns which node is which site.
    make, judge : callable
    deadline : float
        Seconds.
    poll_seconds : float
    replies : dict of site to Reply
    faults : dict of site to error
    bytes_out : int
        Payload of the messages that were sent.
    """

    grid: Grid
    roster: Roster
    make: Make
    judge: Judge
    deadline: float
    poll_seconds: float
    replies: dict[str, Reply] = field(default_factory=dict)
    faults: dict[str, FedriskError] = field(default_factory=dict)
    bytes_out: int = 0
    _asked: dict[str, int] = field(default_factory=dict)  # message id: node
    _sent: dict[str, float] = field(default_factory=dict)  # message id: when
    _due: dict[int, float] = field(default_factory=dict)  # node: when to ask it (again)
    _waits: dict[int, float] = field(default_factory=dict)  # node: seconds of its next wait
    _newest: float = 0.0  # when a node was last asked for the first time
    _nameless: dict[int, FedriskError] = field(default_factory=dict)
    _strangers: dict[int, str] = field(default_factory=dict)  # node: what it is
    _losses: dict[int, str] = field(default_factory=dict)  # node: what became of its message
    _error: Exception | None = None  # of the transport's last call
    _one_by_one: bool = False  # how replies are fetched, once fetching them together has failed

    def __post_init__(self) -> None:
        active = self.roster.active
        self._active = None if active is None else frozenset(active)
        self._before = frozenset(self.roster.nodes.values())
        self._bound = set(self._before)

    def run(self) -> None:
        """Ask, and return when every site has settled or the deadline has passed.

        Afterwards every active site is in `replies` or in `faults`.
        """
        end = time.monotonic() + self.deadline
        while True:
            self._ask(end)
            self._take(end)
            left = end - time.monotonic()
            if self._settled() or left <= 0:
                break
            time.sleep(min(self.poll_seconds, left))
        self._close()

    def _ask(self, end: float) -> None:
        now = time.monotonic()
        nodes = [node for node in self._unsettled(end) if self._due.get(node, now) <= now]
        if not nodes:
            return
        messages = [self.make(node, max(end - now, 1.0)) for node in nodes]
        for node in nodes:
            self._newest = self._newest if node in self._due else now
            self._due[node] = now + self._patience(node)
        taken = self._call(lambda: self.grid.push_messages(messages), end) or []
        reason = repr(self._error) if self._error else "Flower took no message for it"
        taken += [None] * (len(nodes) - len(taken))  # type: ignore[list-item]
        for node, message, identifier in zip(nodes, messages, taken, strict=False):
            if identifier:
                self._asked[identifier], self._sent[identifier] = node, now
                self.bytes_out += content_size(message)
            else:  # Flower gives None for a message that it could not take
                self._lost(node, reason, now)

    def _patience(self, node: int) -> float:
        """Seconds until a node that stays silent is asked again; longer each time."""
        usual = LONGER * self.roster.seconds.get(node, 0.0)
        first = min(max(PATIENCE, usual), LARGEST_PART * self.deadline)
        wait = self._waits.get(node, first)
        self._waits[node] = LONGER * wait
        return wait

    def _unsettled(self, end: float) -> list[int]:
        """Nodes to ask: those of active sites, and those that have not said who they are."""
        names, known = self.roster.nodes, list[int]()
        if self._active is not None:
            missing = self._active - self.replies.keys() - self.faults.keys()
            known = [node for node, site in names.items() if site in missing]
            if missing <= {names[node] for node in known}:
                return known
        connected = sorted(set(self._call(self.grid.get_node_ids, end) or ()))
        done = {*names, *self._nameless, *self._strangers}
        if self._active is None:
            if len(connected) < (self.roster.quorum or 1):
                return []
            settled = self.replies.keys() | self.faults.keys()
            done -= {node for node in names if names[node] not in settled}
        return known + [node for node in connected if node not in done]

    def _take(self, end: float) -> None:
        """Fetch replies; one by one where one of them may have kept the others back."""
        if not self._asked:
            return
        if not self._one_by_one:
            together = list(self._asked)
            found = self._call(lambda: self.grid.pull_messages(together), end)
            self._one_by_one = found is None
            self._settle_all(found or ())
            return
        self._one_by_one = False
        for identifier, node in list(self._asked.items()):
            found = self._call(lambda one=identifier: self.grid.pull_messages([one]), end)  # type: ignore[misc]
            self._settle_all(found or ())
            if found is None:
                self._one_by_one = True
                if isinstance(self._error, AWAY):
                    return
                del self._asked[identifier]
                own = self.roster.nodes.get(node)
                reason = f"{_named(node, own)} sent no readable answer: {_short(repr(self._error))}"
                self._blame(node, own, EgressError(reason))
                self._error = None

    def _call(self, call: Callable[[], Iterable[T]], end: float) -> list[T] | None:
        """What a call of the grid brings; None where it fails, and `_error` says why."""
        if self._error is not None and time.monotonic() > end:
            return None  # a call that hung took the time that was left
        try:
            found = list(call())
        except Exception as error:  # noqa: BLE001 Flower's transports raise their libraries' errors
            self._error = error
            return None
        self._error = None
        return found

    def _settle_all(self, messages: Iterable[Message]) -> None:
        now = time.monotonic()
        for message in messages:
            asked = message.metadata.reply_to_message_id
            node = self._asked.pop(asked, None)
            if node is not None:
                if not message.has_error():
                    self.roster.seconds[node] = now - self._sent[asked]
                self._settle(node, message, now)

    def _settle(self, node: int, message: Message, now: float) -> None:
        own = self.roster.nodes.get(node)
        done = node in self._nameless or node in self._strangers
        if done or own in self.replies or own in self.faults:
            return
        if message.has_error():
            self._failed(node, own, message, now)
            return
        said = site_of(message)
        if said is None or (own is not None and said != own):
            what = "sent no readable answer" if said is None else f"calls itself {_short(said)!r}"
            self._blame(node, own, EgressError(f"{_named(node, own)} {what}"))
        elif self._active is not None and said not in self._active:
            self._strangers[node] = f"node {node} is no site of this run"
        elif own is None and said in self._before:
            self._strangers[node] = f"node {node} calls itself {said!r}, which another node is"
        elif own is None and said in self._bound:
            self.replies.pop(said, None)
            self.faults[said] = FederationError(f"two sites call themselves {said}")
            self._strangers[node] = f"node {node} calls itself {said!r} too"
        else:
            self.roster.nodes[node] = said
            self._bound.add(said)
            self._judge(said, message)

    def _judge(self, site: str, message: Message) -> None:
        try:
            self.replies[site] = self.judge(message)
        except FedriskError as error:
            self.faults[site] = error
        except Exception as error:  # noqa: BLE001 whatever a site's bytes do is that site's fault
            reason = f"site {site!r} sent no readable answer: {_short(repr(error))}"
            self.faults[site] = EgressError(reason)

    def _failed(self, node: int, own: str | None, message: Message, now: float) -> None:
        lines = (message.error.reason or "").strip().splitlines() or ["no reason"]
        if message.error.code in LOST:
            self._lost(node, lines[-1], now)
            return
        reason = f"{_named(node, own)} failed: {_short(lines[-1])}"
        self._blame(node, own, SiteRefusedError(reason, hint="the site's log says more"))

    def _lost(self, node: int, reason: str, now: float) -> None:
        self._losses[node] = _short(reason)
        self._waits.pop(node, None)
        self._due[node] = now + PAUSE * self.deadline

    def _blame(self, node: int, own: str | None, error: FedriskError) -> None:
        if own is None:
            self._nameless[node] = error
        else:
            self.faults[own] = error

    def _settled(self) -> bool:
        if self._unnamed():
            return False  # also where every site has answered: one may be a second of its name
        if self._active is None:
            asked = {self.roster.nodes.get(node) for node in self._due} - {None}
            return bool(self._due) and asked <= self.replies.keys() | self.faults.keys()
        settled = len(self.replies) + len(self.faults)
        if settled >= len(self._active):
            return True
        # A node that failed without a name may be no site of this run, and a site connect late.
        late = time.monotonic() - self._newest >= min(LATE, LARGEST_PART * self.deadline)
        return late and settled + len(self._nameless) >= len(self._active)

    def _unnamed(self) -> set[int]:
        """Nodes that were asked and have not said who they are."""
        return {*self._due} - {*self.roster.nodes, *self._nameless, *self._strangers}

    def _close(self) -> None:
        """Name everyone who has not answered, with what is known about why."""
        asked = {self.roster.nodes[node]: node for node in self._due if node in self.roster.nodes}
        if self._active is None:
            self.faults |= {f"node {node}": error for node, error in self._nameless.items()}
            unnamed = {f"node {node}": node for node in self._unnamed()}
            silent = asked | unnamed
        else:
            silent = {site: asked.get(site, -1) for site in self._active}
        notes = self._notes()
        for site, node in silent.items():
            if site not in self.replies and site not in self.faults:
                known = self._losses.get(node, "") if node in self._due else notes
                if not known and self._error is not None:
                    known = repr(self._error)
                self.faults[site] = self._silence(site, known)

    def _notes(self) -> str:
        """What became of the nodes that did not say who they are, or are no site of this run."""
        lost = [f"node {n}: {self._losses[n]}" for n in self._unnamed() if n in self._losses]
        told = [error.message for error in self._nameless.values()]
        return "; ".join([*told, *self._strangers.values(), *lost])

    def _silence(self, site: str, known: str) -> FedriskError:
        told = f" ({_short(known)})" if known else ""
        return FederationError(
            f"site {site!r} did not answer within {self.deadline:g} s{told}",
            hint=f"look at the log of {site!r}: its SuperNode may not run or not be connected",
        )


def _named(node: int, site: str | None) -> str:
    return f"node {node}" if site is None else f"site {site!r}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"


def site_of(message: Message) -> str | None:
    """The name that a reply's sender gives itself, or None."""
    try:
        return str(message.content.config_records["site"]["name"])
    except Exception:  # noqa: BLE001 whatever a site's bytes do is that site's fault
        return None


def content_size(message: Message) -> int:
    """Payload of a message's records in bytes, without Flower's envelope."""
    return sum(record.count_bytes() for record in message.content.values())
