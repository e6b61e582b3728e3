"""One message to every site and the wait for their answers, which always ends.

Every way to fail is one site's: no answer by the deadline, a refusal, an app that fails, a reply
that cannot be read or cannot be true. Messages that the transport lost are sent again, for a site
whose SuperNode was restarted answers then; questions have no side effects, so the first answer
counts and later ones are ignored.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

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
#: Part of the deadline after which a silent site is asked once more, and part of it to wait before
#: asking again where the transport has reported a loss.
ASK_AGAIN, PAUSE = 0.5, 0.02

#: Makes the message for a node, to be answered within so many seconds.
Make = Callable[[int, float], Message]
#: Reads and judges a reply, given the name of the site that sent it.
Judge = Callable[[Message], Reply]


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
    _due: dict[int, float] = field(default_factory=dict)  # node: when to ask it (again)
    _nameless: dict[int, FedriskError] = field(default_factory=dict)
    _strangers: set[int] = field(default_factory=set)

    def run(self) -> None:
        """Ask, and return when every site has settled or the deadline has passed.

        Afterwards every active site is in `replies` or in `faults`.
        """
        end = time.monotonic() + self.deadline
        while True:
            self._ask(time.monotonic(), end)
            self._take(time.monotonic())
            if self._settled() or time.monotonic() > end:
                break
            time.sleep(min(self.poll_seconds, self.deadline))
        self._close()

    def _ask(self, now: float, end: float) -> None:
        nodes = [node for node in self._unsettled() if self._due.get(node, now) <= now]
        messages = [self.make(node, max(end - now, 1.0)) for node in nodes]
        if not messages:
            return
        for node in nodes:
            self._due[node] = now + self.deadline * (1 if node in self._due else ASK_AGAIN)
        identifiers = self.grid.push_messages(messages)
        for node, message, identifier in zip(nodes, messages, identifiers, strict=False):
            if identifier:  # Flower gives None for a message that it could not take
                self._asked[identifier] = node
                self.bytes_out += content_size(message)

    def _unsettled(self) -> list[int]:
        """Nodes to ask: those of active sites, and those that have not said who they are."""
        active, bound = self.roster.active, self.roster.nodes
        settled = {*self.replies, *self.faults}
        known = [n for n, site in bound.items() if site in (active or ()) and site not in settled]
        if active is not None and {*active} - settled <= {bound[node] for node in known}:
            return known
        connected = sorted(set(self.grid.get_node_ids()))
        if active is None and len(connected) < (self.roster.quorum or 1):
            return []
        done = {*bound, *self._nameless, *self._strangers}
        return known + [node for node in connected if node not in done]

    def _take(self, now: float) -> None:
        if not self._asked:
            return
        for message in list(self.grid.pull_messages(list(self._asked))):
            node = self._asked.pop(message.metadata.reply_to_message_id, None)
            if node is not None:
                self._settle(node, message, now)

    def _settle(self, node: int, message: Message, now: float) -> None:
        own = self.roster.nodes.get(node)
        if own in self.replies or own in self.faults:
            return
        if message.has_error():
            self._failed(node, own, message, now)
            return
        said = site_of(message)
        if said is None or (own is not None and said != own):
            what = "sent no readable answer" if said is None else f"calls itself {said!r}"
            self._blame(node, own, EgressError(f"{_named(node, own)} {what}"))
        elif self.roster.active is not None and said not in self.roster.active:
            self._strangers.add(node)
        elif own is None and said in self.roster.nodes.values():
            self.replies.pop(said, None)
            self.faults[said] = FederationError(f"two sites call themselves {said}")
            self._strangers.add(node)
        else:
            self.roster.nodes[node] = said
            self._judge(said, message)

    def _judge(self, site: str, message: Message) -> None:
        try:
            self.replies[site] = self.judge(message)
        except FedriskError as error:
            self.faults[site] = error
        except Exception as error:  # noqa: BLE001 whatever a site's bytes do is that site's fault
            reason = f"site {site!r} sent no readable answer: {error!r}"
            self.faults[site] = EgressError(reason)

    def _failed(self, node: int, own: str | None, message: Message, now: float) -> None:
        if message.error.code in LOST:
            self._due[node] = now + PAUSE * self.deadline
            return
        lines = (message.error.reason or "").strip().splitlines() or ["no reason"]
        reason = f"{_named(node, own)} failed: {lines[-1]}"
        self._blame(node, own, SiteRefusedError(reason, hint="the site's log says more"))

    def _blame(self, node: int, own: str | None, error: FedriskError) -> None:
        if own is None:
            self._nameless[node] = error
        else:
            self.faults[own] = error

    def _settled(self) -> bool:
        if self._unnamed():
            return False  # also where every site has answered: one may be a second of its name
        names = {*self.replies, *self.faults}
        if self.roster.active is None:
            return bool(self._due) and self._bound() <= names
        return len(names) + len(self._nameless) >= len(self.roster.active)

    def _unnamed(self) -> set[int]:
        """Nodes that were asked and have not said who they are."""
        return {*self._due} - {*self.roster.nodes} - {*self._nameless} - self._strangers

    def _close(self) -> None:
        """Name everyone who has not answered, with what is known about why."""
        if self.roster.active is None:
            self.faults |= {f"node {node}": error for node, error in self._nameless.items()}
            self.faults |= {f"node {n}": self._silence(f"node {n}") for n in self._unnamed()}
        for site in {*(self.roster.active or self._bound())} - {*self.replies, *self.faults}:
            self.faults[site] = self._silence(site)

    def _bound(self) -> set[str]:
        return set(self.roster.nodes.values())

    def _silence(self, site: str) -> FedriskError:
        notes = [error.message for error in self._nameless.values()]
        notes += [f"node {node} is no site of this run" for node in sorted(self._strangers)]
        known = f" ({'; '.join(notes)})" if notes and site not in self._bound() else ""
        return FederationError(
            f"site {site!r} did not answer within {self.deadline:g} s{known}",
            hint=f"look at the log of {site!r}: its SuperNode may not run or not be connected",
        )


def _named(node: int, site: str | None) -> str:
    return f"node {node}" if site is None else f"site {site!r}"


def site_of(message: Message) -> str | None:
    """The name that a reply's sender gives itself, or None."""
    try:
        return str(message.content.config_records["site"]["name"])
    except Exception:  # noqa: BLE001 whatever a site's bytes do is that site's fault
        return None


def content_size(message: Message) -> int:
    """Payload of a message's records in bytes, without Flower's envelope."""
    return sum(record.count_bytes() for record in message.content.values())
