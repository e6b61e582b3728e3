"""Another patch release warns; another minor or major one is refused on both sides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Message

from fedrisk import __version__
from fedrisk.errors import FederationError, QuorumError, SiteRefusedError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.compatibility import check_version, compatible, version_warnings
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.query import Query
from fedrisk.study import Study
from fedrisk.study.training import TrainingRequest

MAJOR, MINOR, PATCH = (int(part) for part in __version__.split("."))
NEXT_PATCH = f"{MAJOR}.{MINOR}.{PATCH + 1}"
NEXT_MINOR = f"{MAJOR}.{MINOR + 1}.0"


class OtherRelease(InMemoryGrid):
    """The first site runs another release."""

    version = NEXT_MINOR

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        for message in super().pull_messages(message_ids):
            if message.metadata.src_node_id == 1:
                message.content.config_records["site"]["version"] = self.version
            yield message


def broadcast(study: Study, grid: InMemoryGrid, sites: dict[str, Path]) -> Broadcast:
    request = TrainingRequest(
        run_id="r", study=study, sites=tuple(sites), as_of="2026-01-01", deadline=5.0
    )
    return Broadcast(grid, request, 0.001)


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("0.3.0", "0.3.7", True),
        ("0.3.0", "0.4.0", False),
        ("1.2.0", "1.3.0", False),
        ("1.2.0", "2.2.0", False),
        ("1.10.0", "1.1.0", False),
    ],
)
def test_the_rule(one: str, other: str, together: bool) -> None:
    assert compatible(one, other) is compatible(other, one) is together


def test_refusal_names_both_releases() -> None:
    with pytest.raises(FederationError, match=r"site 'a' runs fedrisk 9\.0\.0.* 0\.1\.0 here"):
        check_version("9.0.0", "site 'a'", own="0.1.0")


def test_a_message_without_a_release_is_judged_by_its_other_parts() -> None:
    check_version("", "site 'a'", own="0.1.0")
    assert version_warnings({"a": ""}, own="0.1.0") == []


def test_coordinator_refuses_a_site_and_names_it(study: Study, sites: dict[str, Path]) -> None:
    with pytest.raises(QuorumError, match=f"site 'north' runs fedrisk {NEXT_MINOR}"):
        broadcast(study, OtherRelease(sites), sites).ask(Query("summary", study, "r", "2026-01-01"))


def test_coordinator_notes_another_patch_release(study: Study, sites: dict[str, Path]) -> None:
    grid = OtherRelease(sites)
    grid.version = NEXT_PATCH
    asking = broadcast(study, grid, sites)
    assert len(asking.ask(Query("summary", study, "r", "2026-01-01"))) == 3
    (warning,) = version_warnings(asking.versions)
    assert "'north'" in warning
    assert NEXT_PATCH in warning
    again = broadcast(study, grid, sites)
    again.restore(asking.document())
    assert again.versions == asking.versions


def test_site_refuses_a_coordinator(study: Study, sites: dict[str, Path]) -> None:
    query = replace(Query("summary", study, "r", "2026-01-01"), version=NEXT_MINOR)
    with pytest.raises(SiteRefusedError, match=f"the coordinator runs fedrisk {NEXT_MINOR}"):
        broadcast(study, InMemoryGrid(sites), sites).ask(query)


def test_site_answers_another_patch_release(study: Study, sites: dict[str, Path]) -> None:
    query = replace(Query("summary", study, "r", "2026-01-01"), version=NEXT_PATCH)
    assert len(broadcast(study, InMemoryGrid(sites), sites).ask(query)) == 3
