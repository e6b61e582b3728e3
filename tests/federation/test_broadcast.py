"""Every message has a deadline, and a reply that cannot be read names its site."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict

from fedrisk.errors import EgressError, FederationError, QuorumError, SiteRefusedError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.query import Query
from fedrisk.models.summary import FeatureSummary
from fedrisk.study import Study
from fedrisk.study.training import TrainingRequest


class Silent(InMemoryGrid):
    """The sites are there and never answer."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return []


class Altered(InMemoryGrid):
    """One site's reply is replaced by another content."""

    def __init__(self, sites: dict[str, Path], content: RecordDict) -> None:
        super().__init__(sites)
        self.content = content

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message in super().pull_messages(message_ids):
            if message.metadata.src_node_id == 1:
                message.content = self.content
            yield message


def ask(study: Study, sites: dict[str, Path], grid: InMemoryGrid, deadline: float = 5.0):
    request = TrainingRequest(
        run_id="r", study=study, sites=tuple(sites), as_of="2026-01-01", deadline=deadline
    )
    return Broadcast(grid, request, 0.001).ask(Query("summary", study, "r", "2026-01-01"))


def test_replies_come_in_the_order_of_names(study: Study, sites: dict[str, Path]) -> None:
    backwards = dict(reversed(sites.items()))
    replies = ask(study, sites, InMemoryGrid(backwards))
    assert [reply.site for reply in replies] == ["north", "south", "west"]


def test_silence_ends_at_the_deadline(study: Study, sites: dict[str, Path]) -> None:
    with pytest.raises(QuorumError, match=r"0 of the 3 sites .* site 'west' did not answer within"):
        ask(study, sites, Silent(sites), deadline=0.05)


def test_missing_sites_end_at_the_deadline(study: Study, sites: dict[str, Path]) -> None:
    connected = {"north": sites["north"]}
    with pytest.raises(QuorumError, match="1 of the 3 sites that are needed answered"):
        ask(study, sites, InMemoryGrid(connected), deadline=0.05)


def test_two_sites_with_one_name(study: Study, sites: dict[str, Path]) -> None:
    replies = RecordDict(
        {
            "site": ConfigRecord({"name": "south", "rows": 1}),
            "arrays": ArrayRecord(),
        }
    )
    with pytest.raises(FederationError, match="two sites call themselves south"):
        ask(study, sites, Altered(sites, replies))


def test_reply_without_figures_is_named(study: Study, sites: dict[str, Path]) -> None:
    content = RecordDict({"site": ConfigRecord({"name": "north", "study-hash": study.hash})})
    with pytest.raises(QuorumError, match="'north' sent no readable answer"):
        ask(study, sites, Altered(sites, content))


def test_refusal_carries_its_reason(study: Study, sites: dict[str, Path]) -> None:
    refusal = ConfigRecord({"reason": "not today", "hint": "ask the site", "class": "x"})
    content = RecordDict({"site": ConfigRecord({"name": "north"}), "refusal": refusal})
    with pytest.raises(SiteRefusedError, match="'north' refuses: not today") as refused:
        ask(study, sites, Altered(sites, content))
    assert refused.value.hint == "ask the site"


@pytest.mark.parametrize(
    ("array", "text"),
    [(np.full(3, np.nan), "not finite"), (np.zeros(2), "has shape")],
)
def test_impossible_records_are_refused(
    study: Study, sites: dict[str, Path], array: np.ndarray, text: str
) -> None:
    query = Query("summary", study, "r", "2026-01-01")
    reply = ask(study, sites, InMemoryGrid(sites))[0]
    arrays = dict(reply.arrays)
    size = arrays["feature_summary/sums"].shape
    arrays["feature_summary/sums"] = np.resize(array, size) if "finite" in text else array[:1]
    with pytest.raises(EgressError, match=f"'north'.*{text}"):
        type(reply)(reply.site, arrays, reply.rows).record(FeatureSummary, query.dimensions)


def test_missing_field_is_refused(study: Study, sites: dict[str, Path]) -> None:
    reply = ask(study, sites, InMemoryGrid(sites))[0]
    arrays = {name: a for name, a in reply.arrays.items() if not name.endswith("/levels")}
    with pytest.raises(EgressError, match="has fields"):
        type(reply)(reply.site, arrays, 1).record(
            FeatureSummary, Query("summary", study, "r", "x").dimensions
        )


def test_array_survives_the_wire_to_the_last_bit() -> None:
    values = np.array([1 / 3, np.nextafter(1, 2), 1e-300])
    assert ArrayRecord({"a": Array(values)})["a"].numpy().tolist() == values.tolist()
