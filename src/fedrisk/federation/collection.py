"""One message to every site and the wait for their answers, which always ends.

Every way to fail is one site's: no answer by the deadline, a refusal, an app that fails, a reply
that cannot be read or cannot be true. Messages that the transport lost are sent again, for a site
whose SuperNode was restarted answers then; questions have no side effects, so the first answer
counts and later ones are ignored. The transport itself may fail: it is tried again until the time
is over, and no call of it is waited for to its end (`fedrisk.federation.transport`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedrisk.errors import (
    EgressError,
    FederationError,
    FedriskError,
    HomeError,
    SiteRefusedError,
)
from fedrisk.federation.membership import Roster
from fedrisk.federation.query import Reply
from fedrisk.federation.transport import Broken, Pushed, Transport

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
#: Seconds between two looks at who was removed.
REMOVED_SECONDS = 1.0
#: Longest reason of a site that is repeated, in characters.
LONGEST_REASON = 500

#: Makes the message for a node, to be answered within so many seconds.
Make = Callable[[int, float], Message]
#: Reads and judges a reply, given the name of the site that sent it.
Judge = Callable[[Message], Reply]


def nobody() -> frozenset[str]:
    """Sites that were removed where none can be."""
    return frozenset()


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
    removed : callable
        Tells the sites that the federation's operator has removed: they are not waited for.
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
    removed: Callable[[], frozenset[str]] = nobody
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
    _look_at_removed: float = 0.0

    def __post_init__(self) -> None:
        active = self.roster.active
        self._active = None if active is None else frozenset(active)
        self._before = frozenset(self.roster.nodes.values())
        self._bound = set(self._before)
        self._transport = Transport(self.grid, 0.0, lambda: time.monotonic())

    def run(self) -> None:
        """Ask, and return when every site has settled or the deadline has passed.

        Afterwards every active site is in `replies` or in `faults`.

        Raises
        ------
        HomeError
            When the coordinator's own files cannot be used: that is no site's fault.
        """
        end = self._transport.end = time.monotonic() + self.deadline
        while True:
            self._drop_removed()
            self._ask(end)
            self._take()
            left = end - time.monotonic()
            if self._settled() or left <= 0:
                break
            time.sleep(min(self.poll_seconds, left))
        self._close()

    def _drop_removed(self) -> None:
        """Let go of sites that were removed meanwhile; a look reads a file, so once a second."""
        now = time.monotonic()
        if self._active is None or now < self._look_at_removed:
            return
        self._look_at_removed = now + REMOVED_SECONDS
        for site in self._active & self.removed() - self.replies.keys() - self.faults.keys():
            self.faults[site] = FederationError(f"site {site!r} was removed from the federation")

    def _ask(self, end: float) -> None:
        now = time.monotonic()
        nodes = [node for node in self._unsettled() if self._due.get(node, now) <= now]
        if nodes:
            for node in nodes:
                self._newest = self._newest if node in self._due else now
                self._due[node] = now + self._patience(node)
            messages = [self.make(node, max(end - now, 1.0)) for node in nodes]
            self._transport.push(nodes, messages)
        for pushed in self._transport.pushed():
            self._sent_or_lost(pushed)

    def _sent_or_lost(self, pushed: Pushed) -> None:
        if pushed.identifier:
            self._asked[pushed.identifier] = pushed.node
            self._sent[pushed.identifier] = pushed.began
            self.bytes_out += content_size(pushed.message)
            return
        error = self._transport.error
        reason = repr(error) if error else "Flower took no message for it"
        self._lost(pushed.node, reason, time.monotonic())

    def _patience(self, node: int) -> float:
        """Seconds until a node that stays silent is asked again; longer each time."""
        usual = LONGER * self.roster.seconds.get(node, 0.0)
        first = min(max(PATIENCE, usual), LARGEST_PART * self.deadline)
        wait = self._waits.get(node, first)
        self._waits[node] = LONGER * wait
        return wait

    def _unsettled(self) -> list[int]:
        """Nodes to ask: those of active sites, and those that have not said who they are."""
        names, known = self.roster.nodes, list[int]()
        if self._active is not None:
            missing = self._active - self.replies.keys() - self.faults.keys()
            known = [node for node, site in names.items() if site in missing]
            if missing <= {names[node] for node in known}:
                return known
        connected = self._transport.connected()
        done = {*names, *self._nameless, *self._strangers}
        if self._active is None:
            if len(connected) < (self.roster.quorum or 1):
                return []
            settled = self.replies.keys() | self.faults.keys()
            done -= {node for node in names if names[node] not in settled}
        return known + [node for node in connected if node not in done]

    def _take(self) -> None:
        now = time.monotonic()
        for found in self._transport.fetch(list(self._asked)):
            if isinstance(found, Broken):
                self._unreadable(found)
                continue
            asked = found.metadata.reply_to_message_id
            node = self._asked.pop(asked, None)
            if node is not None:
                if not found.has_error():
                    self.roster.seconds[node] = now - self._sent[asked]
                self._settle(node, found, now)

    def _unreadable(self, broken: Broken) -> None:
        node = self._asked.pop(broken.identifier, None)
        if node is not None:
            own = self.roster.nodes.get(node)
            reason = f"{_named(node, own)} sent no readable answer: {_short(repr(broken.error))}"
            self._blame(node, own, EgressError(reason))

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
        except HomeError:  # of the coordinator's own files
            raise
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
        for identifier, node in self._asked.items():
            if self._transport.stuck(identifier):
                self._losses[node] = "fetching its answer does not end"
        for node in self._transport.unsent():
            self._losses[node] = "Flower has neither taken nor refused its message"
        notes, error = self._notes(), self._transport.error
        for site, node in silent.items():
            if site not in self.replies and site not in self.faults:
                known = self._losses.get(node, "") if node in self._due else notes
                if not known and error is not None:
                    known = repr(error)
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
