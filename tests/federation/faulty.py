"""Grids that misbehave: real sites in memory, and what may go wrong between them and us."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.packing import pack, unpack
from fedrisk.federation.query import MESSAGE_TYPES
from fedrisk.study import parse_study
from fedrisk.study.training import TrainingRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = {message_type: kind for kind, message_type in MESSAGE_TYPES.items()}

#: Looks at a site's reply to its m-th message and returns what arrives in its place, or nothing.
Fault = Callable[["Faulty", Message, Message, int], Message | None]


class Faulty(InMemoryGrid):
    """Replies of the sites named in ``faults`` pass through their fault.

    Attributes
    ----------
    heard : dict of site to list of str
        Kinds of the messages that each site had.
    """

    def __init__(self, sites: Mapping[str, Path], faults: Mapping[str, Fault]) -> None:
        super().__init__(sites)
        self.names = dict(enumerate(sites, start=1))
        self.node_of = {name: node for node, name in self.names.items()}
        self.faults = dict(faults)
        self.heard: dict[str, list[str]] = {name: [] for name in sites}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        identifiers = list(super().push_messages(messages))
        for message, identifier in zip(messages, identifiers, strict=True):
            site = self.names[message.metadata.dst_node_id]
            self.heard[site].append(KINDS[message.metadata.message_type])
            if site in self.faults:
                reply = self._replies.pop(identifier)
                changed = self.faults[site](self, message, reply, len(self.heard[site]))
                if changed is not None:
                    self._replies[identifier] = changed
        return identifiers


def silent(_grid: Faulty, _asked: Message, _reply: Message, _number: int) -> None:
    """Answer nothing."""


def error(code: int, reason: str) -> Fault:
    """Flower's error instead of an answer."""

    def fault(_grid: Faulty, asked: Message, _reply: Message, _number: int) -> Message:
        return Message(Error(code, reason), reply_to=asked)

    return fault


#: A site whose app raises.
crash = error(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, "Traceback\n  ...\nMemoryError: out")


def only(kind: str, fault: Fault) -> Fault:
    """The fault in answer to questions of one kind."""

    def chosen(grid: Faulty, asked: Message, reply: Message, number: int) -> Message | None:
        wanted = KINDS[asked.metadata.message_type] == kind
        return fault(grid, asked, reply, number) if wanted else reply

    return chosen


def at(first: int, fault: Fault, last: int = 10**9) -> Fault:
    """The fault from the site's message ``first`` to ``last``."""

    def chosen(grid: Faulty, asked: Message, reply: Message, number: int) -> Message | None:
        return fault(grid, asked, reply, number) if first <= number <= last else reply

    return chosen


def altered(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    """One array of the answer changed, by its name, where the answer holds it."""

    def fault(_grid: Faulty, asked: Message, reply: Message, _number: int) -> Message:
        arrays = unpack(reply.content.array_records["arrays"])
        if name in arrays:
            arrays[name] = change(arrays[name].copy())
        return with_arrays(asked, reply, arrays)

    return fault


def with_arrays(asked: Message, reply: Message, arrays: Mapping[str, np.ndarray]) -> Message:
    """The reply with other arrays."""
    record = pack(arrays)
    others = {key: value for key, value in reply.content.items() if key != "arrays"}
    return Message(RecordDict({**others, "arrays": record}), reply_to=asked)


def rewritten(change: Callable[[RecordDict], None]) -> Fault:
    """The content changed in place."""

    def fault(_grid: Faulty, _asked: Message, reply: Message, _number: int) -> Message:
        change(reply.content)
        return reply

    return fault


class Sequence(InMemoryGrid):
    """A grid that behaves at every call as its next step says; afterwards as it should.

    Parameters
    ----------
    sites : mapping of name to path
    steps : mapping of method name to list of callables
        Each takes the real method's outcome as a function, and returns or raises.
    """

    def __init__(
        self, sites: Mapping[str, Path], steps: Mapping[str, list[Callable[..., object]]]
    ) -> None:
        super().__init__(sites)
        self.steps = {name: list(each) for name, each in steps.items()}
        self.calls = dict.fromkeys(("get_node_ids", "push_messages", "pull_messages"), 0)

    def _step(self, name: str, call: Callable[[], object]) -> object:
        self.calls[name] += 1
        waiting = self.steps.get(name)
        return waiting.pop(0)(call) if waiting else call()

    def get_node_ids(self) -> Iterable[int]:
        return self._step("get_node_ids", super().get_node_ids)  # type: ignore[return-value]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages, push = list(messages), super().push_messages
        return self._step("push_messages", lambda: push(messages))  # type: ignore[return-value]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        wanted, pull = list(message_ids), super().pull_messages
        return self._step("pull_messages", lambda: pull(wanted))  # type: ignore[return-value]


class Slow(InMemoryGrid):
    """Replies of ``slow`` sites are there only after so many looks."""

    def __init__(self, sites: Mapping[str, Path], slow: Mapping[str, int]) -> None:
        super().__init__(sites)
        self.left = {node: slow.get(name, 0) for node, name in enumerate(sites, start=1)}

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = []
        for identifier in [i for i in message_ids if i in self._replies]:
            node = self._replies[identifier].metadata.src_node_id
            self.left[node] -= 1
            if self.left[node] < 0:
                ready.append(identifier)
        return super().pull_messages(ready)


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Deaf(InMemoryGrid):
    """Some nodes never answer; keeps when each was asked, and until when an answer is welcome."""

    def __init__(self, sites: Mapping[str, Path], nodes: set[int], clock: Clock) -> None:
        super().__init__(sites)
        self.deaf, self.clock = nodes, clock
        self.asked: list[tuple[float, float]] = []

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        identifiers = list(super().push_messages(messages))
        for message, identifier in zip(messages, identifiers, strict=True):
            if message.metadata.dst_node_id in self.deaf:
                now = round(self.clock.now)
                self.asked.append((now, round(now + message.metadata.ttl)))
                self._replies.pop(identifier)
        return identifiers


class Working(Deaf):
    """Those nodes answer so many seconds after each question."""

    def __init__(
        self, sites: Mapping[str, Path], nodes: set[int], clock: Clock, seconds: float
    ) -> None:
        super().__init__(sites, set(), clock)
        self.working, self.seconds = nodes, seconds
        self.ready: dict[str, float] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        identifiers = list(super().push_messages(messages))
        for identifier in identifiers:
            slow = self._replies[identifier].metadata.src_node_id in self.working
            self.ready[identifier] = self.clock.now + (self.seconds if slow else 0.0)
        return identifiers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return super().pull_messages(i for i in message_ids if self.ready[i] <= self.clock.now)


class Late(Faulty):
    """A node that is not connected before so many looks."""

    def __init__(
        self, sites: Mapping[str, Path], faults: Mapping[str, Fault], node: int, looks: int
    ) -> None:
        super().__init__(sites, faults)
        self.late, self.looks = node, looks

    def get_node_ids(self) -> Iterable[int]:
        self.looks -= 1
        return [node for node in super().get_node_ids() if node != self.late or self.looks < 0]


class Counting(InMemoryGrid):
    """Five hundred sites that answer in turn, a few at each look; counts the calls."""

    def __init__(self, count: int, at_once: int) -> None:
        super().__init__({})
        self.nodes, self.at_once, self.waiting = range(1, count + 1), at_once, list[Message]()
        self.pushed = 0

    def get_node_ids(self) -> Iterable[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            self.pushed += 1
            message.metadata.__dict__["_message_id"] = str(message.metadata.dst_node_id)
            reply = Message(Error(0, "none"), reply_to=message)
            reply.metadata.__dict__["_src_node_id"] = message.metadata.dst_node_id
            self.waiting.append(reply)
            yield str(message.metadata.dst_node_id)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready, self.waiting = self.waiting[: self.at_once], self.waiting[self.at_once :]
        return ready


class Roll(dict[int, str]):
    """A roster's nodes that counts how often all of them are gone through."""

    passes = 0

    def values(self):  # type: ignore[no-untyped-def]
        Roll.passes += 1
        return super().values()

    def items(self):  # type: ignore[no-untyped-def]
        Roll.passes += 1
        return super().items()


STUDY = parse_study(
    {
        "name": "faulty",
        "label": "died",
        "positive": [1],
        "id": "patient",
        "features": [
            {"name": "age", "kind": "number", "minimum": 0, "maximum": 120, "missing": "allow"},
            {"name": "pressure", "kind": "number", "unit": "mmHg"},
            {"name": "sex", "kind": "category", "levels": ["f", "m"], "missing": "allow"},
        ],
    }
)


def write_sites(folder: Path, sizes: Mapping[str, int]) -> dict[str, Path]:
    """Rows of each site, whose risk rises with age."""
    sites = {}
    for seed, (name, rows) in enumerate(sizes.items()):
        rng = np.random.default_rng(seed)
        age, pressure = rng.uniform(20, 95, rows), rng.normal(125 + 5 * seed, 20, rows)
        died = rng.random(rows) < 1 / (1 + np.exp(4 - 0.05 * age + 0.02 * (pressure - 130)))
        shown = np.where(rng.random(rows) < 0.1, "", np.char.mod("%.1f", age))
        sex = rng.choice(["f", "m", ""], rows, p=[0.5, 0.45, 0.05])
        lines = [
            f"{seed}-{row // 2},{shown[row]},{pressure[row]:.1f},{sex[row]},{int(died[row])}"
            for row in range(rows)
        ]
        sites[name] = folder / f"{name}.csv"
        sites[name].write_text("\n".join(["patient,age,pressure,sex,died", *lines]) + "\n")
    return sites


def make_broadcast(grid: Grid, sites: Iterable[str], **changes: object) -> Broadcast:
    """The way to these sites, with a short deadline."""
    fields = {"run_id": "r1", "study": STUDY, "sites": tuple(sorted(sites)), "deadline": 0.4}
    document = fields | {"as_of": NOW.isoformat()} | changes
    return Broadcast(grid, TrainingRequest.model_validate(document), 0.001)
