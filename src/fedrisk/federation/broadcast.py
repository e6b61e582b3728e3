"""Ask every site and collect the answers, with a deadline for everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedrisk.errors import EgressError, FederationError, QuorumError, SiteRefusedError
from fedrisk.federation.query import MESSAGE_TYPES, Query, Reply
from fedrisk.study.training import RoundRecord, TrainingRequest

Watcher = Callable[[RoundRecord], None]


def ignore(_record: RoundRecord) -> None:
    """Watch nothing."""


@dataclass
class Broadcast:
    """The coordinator's side of the conversation with the sites of one run.

    Attributes
    ----------
    grid : Grid
        Flower's transport: deployed, simulated or in memory.
    request : TrainingRequest
        Names the sites that must answer and the deadline in seconds.
    poll_seconds : float
        How often to look for replies.
    watch : callable
        Called with each finished round.
    rounds : list of RoundRecord
        What has happened so far.
    """

    grid: Grid
    request: TrainingRequest
    poll_seconds: float = 0.2
    watch: Watcher = ignore
    rounds: list[RoundRecord] = field(default_factory=list)
    _nodes: tuple[int, ...] = ()

    def nodes(self) -> tuple[int, ...]:
        """Node ids of the sites, waiting for as many as the request names.

        Raises
        ------
        QuorumError
            When fewer have connected at the deadline.
        """
        wanted = max(len(self.request.sites), 1)
        deadline = time.monotonic() + self.request.deadline
        while len(self._nodes) < wanted:
            self._nodes = tuple(sorted(self.grid.get_node_ids()))
            if len(self._nodes) >= wanted:
                break
            if time.monotonic() > deadline:
                raise QuorumError(
                    f"{len(self._nodes)} of {wanted} sites connected within "
                    f"{self.request.deadline:g} s",
                    hint="look at the logs of the sites that are missing",
                )
            time.sleep(self.poll_seconds)
        return self._nodes

    def ask(self, query: Query) -> list[Reply]:
        """Send a query to every site and return their replies in the order of their names.

        Raises
        ------
        QuorumError
            When a site has not answered at the deadline.
        SiteRefusedError
            When a site refuses, with its reason.
        """
        messages = [
            Message(
                query.content(),
                dst_node_id=node,
                message_type=MESSAGE_TYPES[query.kind],
                group_id=str(len(self.rounds) + 1),
            )
            for node in self.nodes()
        ]
        return self.exchange(query.kind, messages)

    def exchange(self, kind: str, messages: Sequence[Message]) -> list[Reply]:
        """Send messages that are ready made, such as a Flower strategy's; else as `ask`."""
        return [read_reply(message) for message in self.exchange_raw(kind, messages)]

    def exchange_raw(self, kind: str, messages: Sequence[Message]) -> list[Message]:
        """Send messages and return Flower's replies, checked, in the order of the sites' names."""
        started = time.monotonic()
        replies = self._collect(messages)
        by_site = sorted(replies, key=lambda message: read_reply(message).site)
        answers = [read_reply(message) for message in by_site]
        self._check_names([reply.site for reply in answers])
        self._note(
            RoundRecord(
                number=len(self.rounds) + 1,
                kind=kind,
                seconds=time.monotonic() - started,
                bytes_out=sum(content_size(message.content) for message in messages),
                bytes_in=sum(reply.size for reply in answers),
                sites=tuple(reply.site for reply in answers),
            )
        )
        return by_site

    def annotate(
        self, metrics: dict[str, float], per_site: dict[str, dict[str, float]] | None = None
    ) -> None:
        """Add figures to the last round, and tell whoever watches."""
        last = self.rounds[-1].model_copy(update={"metrics": metrics, "per_site": per_site or {}})
        self.rounds[-1] = last
        self.watch(last)

    def _note(self, record: RoundRecord) -> None:
        self.rounds.append(record)

    def _collect(self, messages: Sequence[Message]) -> list[Message]:
        deadline = time.monotonic() + self.request.deadline
        waiting = set(self.grid.push_messages(messages))
        replies: list[Message] = []
        while waiting:
            for message in self.grid.pull_messages(waiting):
                replies.append(message)
                waiting.discard(message.metadata.reply_to_message_id)
            if waiting and time.monotonic() > deadline:
                raise QuorumError(
                    f"{len(waiting)} of {len(replies) + len(waiting)} sites did not answer within "
                    f"{self.request.deadline:g} s"
                )
            if waiting:
                time.sleep(self.poll_seconds)
        return replies

    def _check_names(self, names: Sequence[str]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise FederationError(f"two sites call themselves {', '.join(twice)}")
        expected = set(self.request.sites)
        if expected and set(names) != expected:
            missing, extra = sorted(expected - set(names)), sorted(set(names) - expected)
            raise FederationError(
                f"sites differ from the request: missing {missing}, extra {extra}"
            )


def content_size(content: RecordDict) -> int:
    """Payload of a message's records in bytes, without Flower's envelope."""
    records: Iterable[object] = content.values()
    return sum(record.count_bytes() for record in records)  # type: ignore[attr-defined]


def read_reply(message: Message) -> Reply:
    """Read one reply.

    Raises
    ------
    SiteRefusedError
        When the site refused, or its app failed.
    """
    if message.has_error():
        raise SiteRefusedError(
            f"node {message.metadata.src_node_id} failed: {message.error.reason}",
            hint="the site's log says more",
        )
    content = message.content
    site = str(content.config_records["site"]["name"])
    if "refusal" in content.config_records:
        refusal = content.config_records["refusal"]
        raise SiteRefusedError(
            f"site {site!r} refuses: {refusal['reason']!s}", str(refusal["hint"])
        )
    try:
        arrays = {name: array.numpy() for name, array in content.array_records["arrays"].items()}
        rows = int(str(content.metric_records["metrics"]["num-examples"]))
    except (KeyError, ValueError) as error:
        raise EgressError(f"site {site!r} sent no readable answer: {error!r}") from None
    return Reply(site, arrays, rows)
