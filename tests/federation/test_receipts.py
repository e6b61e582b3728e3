"""The coordinator notices a log that went back, was rewritten, or is another's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flwr.app import Message

from fedrisk.attestation import Head, Receipt, read_private, receipt_is_signed, sign_head
from fedrisk.errors import EgressError, HomeError, QuorumError, TamperedLogError
from fedrisk.federation import receipts as receipts_module
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.provisioning.keys import make_signing_pair
from fedrisk.federation.provisioning.members import Member, Members, MembersFile
from fedrisk.federation.query import Query
from fedrisk.federation.receipts import Countersigner
from fedrisk.sites.policy import OPEN, write_policy
from fedrisk.study import Study
from fedrisk.study.training import TrainingRequest

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def public(private: Path) -> str:
    return private.with_suffix(".pub").read_text(encoding="utf-8").strip()


@pytest.fixture
def federation(tmp_path: Path, sites: dict[str, Path]) -> dict[str, Path]:
    """A folder for each site, known to the coordinator as the nodes 1, 2, 3."""
    coordinator, _ = make_signing_pair(tmp_path / "federation", "coordinator")
    folders, members = {}, {}
    for node, (name, data) in enumerate(sites.items(), start=1):
        folder = tmp_path / "folders" / name
        key, _ = make_signing_pair(folder, "signing")
        (folder / "site.toml").write_text(
            f'site = "{name}"\ndata = "{data}"\ncoordinator_key = "{public(coordinator)}"\n'
        )
        write_policy(folder / "policy.toml", OPEN)
        members[name] = Member(status="approved", signing_key=public(key), node=str(node))
        folders[name] = folder
    Members(sites=members).write(tmp_path / "federation" / "sites.json")
    return folders


@pytest.fixture
def signer(tmp_path: Path, federation: dict[str, Path]) -> Countersigner:
    place = tmp_path / "federation"
    key = read_private(place / "coordinator.key")
    return Countersigner(place / "heads", MembersFile(place / "sites.json"), key, lambda: NOW)


def head(folder: Path, sequence: int, text: str = "a", site: str = "") -> Head:
    key = read_private(folder / "signing.key")
    return sign_head(site or folder.name, sequence, text * 64, NOW.isoformat(), key)


class Folders(InMemoryGrid):
    """Sites that keep logs in their folders."""

    def __init__(self, folders: dict[str, Path]) -> None:
        super().__init__(folders)
        for context, folder in zip(self._contexts.values(), folders.values(), strict=True):
            context.node_config = {"folder": str(folder)}


def ask(study: Study, grid: InMemoryGrid, signer: Countersigner, run: str, **limits: object):
    fields = {"run_id": run, "study": study, "sites": ("north", "south", "west")}
    request = TrainingRequest.model_validate(
        fields | {"as_of": "2026-01-01", "deadline": 5.0} | limits
    )
    asking = Broadcast(grid, request, 0.001, countersigner=signer)
    asking.ask(Query("summary", study, run, "2026-01-01"))
    return asking


def receipts(folder: Path) -> list[Receipt]:
    file = folder / "egress" / "receipts.jsonl"
    return [Receipt.from_text(line) for line in file.read_text().splitlines()]


def test_a_head_is_kept_and_countersigned(
    signer: Countersigner, federation: dict[str, Path], tmp_path: Path
) -> None:
    signer.take("north", head(federation["north"], 3), after=0)
    receipt = signer.receipt("north")
    assert receipt is not None
    assert receipt.head.sequence == 3
    assert receipt_is_signed(receipt, public(tmp_path / "federation" / "coordinator.key"))
    assert signer.receipt("south") is None


def test_no_head_is_refused(signer: Countersigner) -> None:
    with pytest.raises(TamperedLogError, match="'north' sent no signed head"):
        signer.take("north", None, after=0)


def test_another_site_s_head_is_refused(signer: Countersigner, federation: dict[str, Path]) -> None:
    south, north = federation["south"], federation["north"]
    named = head(south, 1, site="north"), head(north, 1, site="south")
    for forged in (head(south, 1), *named):
        with pytest.raises(TamperedLogError, match=r"'north'.*not signed by the key"):
            signer.take("north", forged, after=0)


def test_a_removed_site_s_head_is_refused(
    signer: Countersigner, federation: dict[str, Path]
) -> None:
    with signer.members.changing() as file:
        file.read().remove("north", NOW).write(file.path)
    assert "north" not in signer.nodes().values()
    with pytest.raises(TamperedLogError, match="'north'"):
        signer.take("north", head(federation["north"], 1), after=0)


def test_a_log_that_went_back_is_refused(
    signer: Countersigner, federation: dict[str, Path]
) -> None:
    signer.take("north", head(federation["north"], 3), after=0)
    with pytest.raises(TamperedLogError, match="went back to entry 3; entry 3 was seen"):
        signer.take("north", head(federation["north"], 3), after=3)
    with pytest.raises(TamperedLogError, match=r"entry 3 .* another than was seen"):
        signer.take("north", head(federation["north"], 3, "b"), after=2)


def test_replies_of_two_runs_may_overtake_each_other(
    signer: Countersigner, federation: dict[str, Path]
) -> None:
    signer.take("north", head(federation["north"], 5), after=3)
    signer.take("north", head(federation["north"], 4), after=3)
    receipt = signer.receipt("north")
    assert receipt is not None
    assert receipt.head.sequence == 5


def test_a_damaged_memory_is_an_error(signer: Countersigner, federation: dict[str, Path]) -> None:
    signer.take("north", head(federation["north"], 1), after=0)
    (signer.folder / "north.json").write_text("{")
    with pytest.raises(HomeError, match=r"north\.json cannot be read"):
        signer.receipt("north")


def full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def damage(signer: Countersigner) -> None:
    for file in signer.folder.glob("*.json"):
        file.write_text("{")


def lose_the_members(signer: Countersigner) -> None:
    signer.members.path.unlink()


def in_the_way(signer: Countersigner) -> None:
    shutil.rmtree(signer.folder)
    signer.folder.write_text("a file where heads are kept")


@pytest.mark.parametrize("spoil", [damage, lose_the_members, in_the_way])
def test_the_coordinator_s_own_files_are_no_site_s_fault(
    study: Study,
    signer: Countersigner,
    federation: dict[str, Path],
    spoil: Callable[[Countersigner], None],
) -> None:
    grid = Folders(federation)
    ask(study, grid, signer, "r1")
    spoil(signer)
    with pytest.raises(HomeError) as told:  # whatever the quorum: nobody is dropped
        ask(study, grid, signer, "r2", quorum=1)
    assert "site '" not in told.value.message


def test_a_full_disk_while_a_head_is_kept_ends_the_round_and_drops_nobody(
    study: Study,
    signer: Countersigner,
    federation: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid = Folders(federation)
    with monkeypatch.context() as patch:
        patch.setattr(receipts_module, "write_whole", full)
        with pytest.raises(HomeError, match=r"\.json cannot be written: No space left") as told:
            ask(study, grid, signer, "r1", quorum=1)
    assert "--resume" in told.value.hint
    ask(study, grid, signer, "r1")


def test_a_lock_that_is_held_drops_nobody(
    study: Study,
    signer: Countersigner,
    federation: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedrisk.home.LOCK_SECONDS", 0.05)
    with signer._locked("north"), pytest.raises(HomeError, match="held this lock"):
        ask(study, Folders(federation), signer, "r1", quorum=1)


def test_a_site_that_was_removed_is_not_waited_for(
    study: Study, signer: Countersigner, federation: dict[str, Path]
) -> None:
    class Removing(Folders):
        """West is silent, and removed after it was asked."""

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            messages = list(messages)
            pushed = list(super().push_messages(messages))
            for message, identifier in zip(messages, pushed, strict=True):
                if message.metadata.dst_node_id == 3:
                    self._replies.pop(identifier)
                    with signer.members.changing() as file:
                        file.read().remove("west", NOW).write(file.path)
            return pushed

    asking = ask(study, Removing(federation), signer, "r1", quorum=2, deadline=600.0)
    assert asking.rounds[0].dropped == {"west": "site 'west' was removed from the federation"}


def test_a_site_whose_key_is_changed_while_it_is_asked_answers_as_its_new_node(
    study: Study, signer: Countersigner, federation: dict[str, Path]
) -> None:
    """Nobody waits for its former node: the deadline here is ten minutes."""

    class Changing(Folders):
        """West's node 3 is silent and given up after it was asked; from then on west is 4."""

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            messages = list(messages)
            pushed = list(super().push_messages(messages))
            for message, identifier in zip(messages, pushed, strict=True):
                if message.metadata.dst_node_id == 3:
                    self._replies.pop(identifier)
                    self._contexts[4] = self._contexts[3]
                    with signer.members.changing() as file:
                        known = file.read()
                        west = known.sites["west"].model_copy(update={"node": "4"})
                        known.with_member("west", west).write(file.path)
            return pushed

    asking = ask(study, Changing(federation), signer, "r1", deadline=600.0)
    assert asking.rounds[0].sites == ("north", "south", "west")


def test_receipts_go_out_with_the_next_question_in_any_run(
    study: Study, signer: Countersigner, federation: dict[str, Path], tmp_path: Path
) -> None:
    grid = Folders(federation)
    ask(study, grid, signer, "r1")
    kept = signer.receipt("west")
    assert kept is not None
    assert not (federation["west"] / "egress" / "receipts.jsonl").exists()
    ask(study, grid, signer, "r2")
    assert receipts(federation["west"]) == [kept]
    latest = signer.receipt("west")
    assert latest is not None
    assert latest.head.sequence == kept.head.sequence + 1


def test_a_rewritten_chain_is_rejected_and_its_site_named(
    study: Study, signer: Countersigner, federation: dict[str, Path]
) -> None:
    grid = Folders(federation)
    ask(study, grid, signer, "r1")
    shutil.rmtree(federation["west"] / "egress")
    # Its own check refuses too: without the receipt it would answer, and the head would tell.
    with pytest.raises(QuorumError, match="'west'"):
        ask(study, grid, signer, "r2")
    asking = ask(study, grid, signer, "r3", quorum=2)
    assert list(asking.rounds[0].dropped) == ["west"]


def test_a_node_cannot_answer_in_another_site_s_name(
    study: Study, signer: Countersigner, federation: dict[str, Path]
) -> None:
    swapped = dict(zip(federation, ("south", "north", "west"), strict=True))
    grid = Folders({name: federation[other] for name, other in swapped.items()})
    with pytest.raises((QuorumError, EgressError), match="'north' calls itself 'south'"):
        ask(study, grid, signer, "r1")
