"""Ask every site and collect the answers: a deadline for everything, a quorum for every message."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedrisk.errors import EgressError, SiteRefusedError
from fedrisk.federation.collection import Collection, site_of
from fedrisk.federation.compatibility import check_version
from fedrisk.federation.membership import Roster
from fedrisk.federation.packing import unpack
from fedrisk.federation.plausibility import Known, check_reply
from fedrisk.federation.query import MESSAGE_TYPES, Query, Reply, read_head, with_receipt
from fedrisk.federation.receipts import Countersigner
from fedrisk.study.request import SiteRequest
from fedrisk.study.training import RoundRecord

Watcher = Callable[[RoundRecord], None]
#: What a run was asked for.
Asked = TypeVar("Asked", bound=SiteRequest)


def ignore(_record: RoundRecord) -> None:
    """Watch nothing."""


@dataclass
class Broadcast(Generic[Asked]):
    """The coordinator's side of the conversation with the sites of one run.

    Attributes
    ----------
    grid : Grid
        Flower's transport: deployed, simulated or in memory.
    request : SiteRequest
        Names the sites, the quorum, and the deadline of every message in seconds.
    poll_seconds : float
        How often to look for replies.
    watch : callable
        Called with each finished round by `announce`.
    rounds : list of RoundRecord
        What has happened so far.
    known : Known
        What the sites said at the summary; later answers must agree with it.
    roster : Roster
        Who takes part still.
    countersigner : Countersigner or None
        Of a federation whose sites keep egress logs: binds nodes to names, checks heads.
    versions : dict of site to str
        The release of fedrisk that each site answered with.
    unfinished : RoundRecord or None
        The round that ended the run, for fewer sites than the quorum answered well.
    """

    grid: Grid
    request: Asked
    poll_seconds: float = 0.2
    watch: Watcher = ignore
    rounds: list[RoundRecord] = field(default_factory=list)
    known: Known = field(default_factory=Known)
    roster: Roster = field(init=False)
    countersigner: Countersigner | None = None
    versions: dict[str, str] = field(default_factory=dict)
    unfinished: RoundRecord | None = field(default=None, init=False)
    _announced: int = 0

    def __post_init__(self) -> None:
        self.roster = Roster.of(self.request.sites, self.request.quorum)

    def ask(self, query: Query, content: RecordDict | None = None) -> list[Reply]:
        """Send a query to every site and return the plausible replies in the order of their names.

        Who does not answer well is dropped from the run, as the round's record tells.

        Parameters
        ----------
        query : Query
        content : RecordDict, optional
            The same question in the words of a Flower strategy, instead of the query's own.

        Raises
        ------
        QuorumError
            When fewer sites than the quorum are left, naming who is missing and why.
        SiteRefusedError
            The same, where all that are missing refused.
        HomeError
            When the coordinator's own files cannot be used; no site is dropped then.
        """
        started, sent = time.monotonic(), query.content() if content is None else content
        number = len(self.rounds) + 1
        heads = _Heads(self.countersigner)
        self.roster.nodes |= heads.nodes()

        def make(node: int, seconds: float) -> Message:
            kind = MESSAGE_TYPES[query.kind]
            content = with_receipt(sent, heads.receipt(self.roster.nodes.get(node)))
            return Message(content, node, kind, ttl=seconds, group_id=str(number))

        def judge(message: Message) -> Reply:
            check_release(message)  # first: the rest may mean something else there
            heads.check(message)
            reply = read_reply(message, self.request.study.hash)
            check_reply(reply, query, self.known)
            self.versions[reply.site] = reply.version
            return reply

        def removed() -> frozenset[str]:
            # A site whose key was changed meanwhile is a new node, and is asked again there.
            self.roster.nodes |= heads.nodes()
            return heads.removed()

        deadline = self.request.deadline
        asked = Collection(
            self.grid, self.roster, make, judge, deadline, self.poll_seconds, removed
        )
        asked.run()
        replies = [asked.replies[site] for site in sorted(asked.replies)]
        record = RoundRecord(
            number=number,
            kind=query.kind,
            seconds=time.monotonic() - started,
            bytes_out=asked.bytes_out,
            bytes_in=sum(reply.size for reply in replies),
            sites=tuple(reply.site for reply in replies),
            dropped={site: asked.faults[site].message for site in sorted(asked.faults)},
        )
        self.unfinished = record
        self.roster.close(set(asked.replies), asked.faults)
        self.unfinished = None
        self.rounds.append(record)
        return replies

    def annotate(
        self, metrics: dict[str, float], per_site: dict[str, dict[str, float]] | None = None
    ) -> None:
        """Add figures to the last round."""
        update = {"metrics": metrics, "per_site": per_site or {}}
        self.rounds[-1] = self.rounds[-1].model_copy(update=update)

    def announce(self) -> None:
        """Tell whoever watches of the rounds that have finished since."""
        while self._announced < len(self.rounds):
            self._announced += 1
            self.watch(self.rounds[self._announced - 1])

    def document(self) -> dict[str, Any]:
        """What a checkpoint keeps: rounds, roster, the sites' releases."""
        rounds = [record.model_dump(mode="json") for record in self.rounds]
        return {"rounds": rounds, "roster": self.roster.document(), "versions": self.versions}

    def restore(self, document: Mapping[str, Any]) -> None:
        """Take up what `document` gave; its rounds are not announced again."""
        self.rounds = [RoundRecord.model_validate(record) for record in document["rounds"]]
        self.roster.restore(document["roster"])
        self.versions = dict(document["versions"])
        self._announced = len(self.rounds)


@dataclass
class _Heads:
    """Heads and receipts of one round; nothing where the sites keep no logs."""

    countersigner: Countersigner | None
    _after: dict[str, int] = field(default_factory=dict)

    def nodes(self) -> dict[int, str]:
        return {} if self.countersigner is None else self.countersigner.nodes()

    def removed(self) -> frozenset[str]:
        return frozenset() if self.countersigner is None else self.countersigner.removed()

    def receipt(self, site: str | None) -> str:
        """The receipt to send; of a question that is asked again, the first one counts."""
        found = self.countersigner and site and self.countersigner.receipt(site)
        if not found or not site:
            return ""
        self._after.setdefault(site, found.head.sequence)
        return found.text()

    def check(self, message: Message) -> None:
        """Refuse a reply whose site's log is not what it was; its own refusal says more."""
        if self.countersigner is None:
            return
        head, site = read_head(message.content), site_of(message) or ""
        if head is None and "refusal" in message.content.config_records:
            return
        self.countersigner.take(site, head, self._after.get(site, 0))


def read_reply(message: Message, study_hash: str) -> Reply:
    """Read one reply.

    Parameters
    ----------
    message : Message
    study_hash : str
        Of the study that was asked about; an answer must name it, a refusal need not: it may be
        that the site could not read the question.

    Raises
    ------
    SiteRefusedError
        When the site refused.
    EgressError
        When it cannot be read, or answers about another study.
    """
    content = message.content
    about = content.config_records["site"]
    site = str(about["name"])
    if "refusal" in content.config_records:
        refusal = content.config_records["refusal"]
        raise SiteRefusedError(
            f"site {site!r} refuses: {refusal['reason']!s}", str(refusal["hint"])
        )
    said = str(about.get("study-hash", "it names none"))
    if said != study_hash:
        raise EgressError(f"site {site!r} answers about another study: {said[:64]}")
    try:
        arrays = unpack(content.array_records["arrays"])
        rows = int(str(about["rows"]))
    except (KeyError, ValueError) as error:
        raise EgressError(f"site {site!r} sent no readable answer: {error!r}") from None
    return Reply(site, arrays, rows, str(about.get("version", "")))


def check_release(message: Message) -> None:
    """Refuse a reply whose site's release of fedrisk does not work with this one.

    Raises
    ------
    FederationError
        Names the site and both releases.
    """
    about = message.content.config_records["site"]
    check_version(str(about.get("version", "")), f"site {about['name']!r}")
