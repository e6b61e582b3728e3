"""A run goes on with the sites that are left, and after a stop as if there had been none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federation.faulty import (
    NOW,
    STUDY,
    Fault,
    Faulty,
    altered,
    at,
    crash,
    make_broadcast,
    only,
    silent,
    write_sites,
)
from sklearn.linear_model import LogisticRegression

from fedrisk.errors import FederationError, QuorumError, SiteRefusedError, UsageError
from fedrisk.federation import run as run_module
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.strategies import FROM_BASE, STRATEGIES
from fedrisk.federation.training import train
from fedrisk.models.logistic import LogisticModel
from fedrisk.profiles.reference import read_reference
from fedrisk.sites.cohort import load_cohort
from fedrisk.study.training import RoundRecord, TrainingResult

SIZES = {"north": 300, "south": 200, "west": 150}
LATER = datetime(2026, 2, 2, tzinfo=UTC)
#: Messages to each site in an undisturbed run of the exact strategy over these rows.
MESSAGES = 9


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_sites(tmp_path_factory.mktemp("sites"), SIZES)


@pytest.fixture(scope="module")
def undisturbed(sites: dict[str, Path]) -> TrainingResult:
    return train(make_broadcast(InMemoryGrid(sites), sites), NOW)


def pooled_fit(sites: dict[str, Path], result: TrainingResult, names: tuple[str, ...]):
    """Parameters of the pooled fit on the result's design matrix."""
    model = LogisticModel.from_document(result.model)
    parts = [load_cohort(STUDY, name, sites[name], NOW).part(test=False) for name in names]
    matrix = np.vstack([model.design.transform(columns) for columns, _ in parts])
    events = np.concatenate([events for _, events in parts])
    fitted = LogisticRegression(
        C=1 / STUDY.penalty, solver="newton-cholesky", tol=1e-13, max_iter=500
    ).fit(matrix, events)
    return model, np.concatenate([fitted.intercept_, fitted.coef_[0]])


def assert_pooled(sites: dict[str, Path], result: TrainingResult, names: tuple[str, ...]) -> None:
    model, expected = pooled_fit(sites, result, names)
    found = np.concatenate([[model.intercept], model.coefficients])
    assert np.abs(found - expected).max() < 1e-8
    assert tuple(result.model["about"]["sites"]) == names
    assert tuple(result.rows) == names


def test_the_undisturbed_run_is_what_the_others_are_measured_by(
    sites: dict[str, Path], undisturbed: TrainingResult
) -> None:
    assert len(undisturbed.rounds) == MESSAGES
    assert_pooled(sites, undisturbed, ("north", "south", "west"))


@pytest.mark.parametrize("number", range(1, MESSAGES + 1))
@pytest.mark.parametrize("fault", [silent, crash])
def test_a_dropout_at_any_message_leaves_the_pooled_fit_of_the_others(
    sites: dict[str, Path], fault: Fault, number: int
) -> None:
    grid = Faulty(sites, {"west": at(number, fault)})
    result = train(make_broadcast(grid, sites, quorum=2), NOW)
    (gone,) = result.dropouts
    assert (gone.site, gone.round) == ("west", number)
    assert "'west'" in gone.reason
    assert [("west" in record.sites) for record in result.rounds] == [
        record.number < number for record in result.rounds
    ]
    assert any("'west'" in warning for warning in result.warnings)
    # Who drops out of the evaluation alone, or of the reference, is in the fit.
    fitted = ("north", "south") if number < MESSAGES - 1 else ("north", "south", "west")
    assert_pooled(sites, result, fitted)
    assert set(result.per_site) == ({"north", "south"} | set(fitted[2:] * (number == MESSAGES)))
    assert read_reference(result.reference, STUDY).sites == ("north", "south")
    assert result.metrics["rows"] == sum(f["rows"] for f in result.per_site.values())


def test_a_reference_that_no_site_answers_takes_nothing_from_the_model(
    sites: dict[str, Path], undisturbed: TrainingResult
) -> None:
    grid = Faulty(sites, dict.fromkeys(sites, at(MESSAGES, crash)))
    result = train(make_broadcast(grid, sites), NOW)
    assert plain(result)["model"] == plain(undisturbed)["model"]
    assert result.metrics == undisturbed.metrics
    assert read_reference(result.reference, STUDY).blocks == ()
    assert any("no blocks" in warning for warning in result.warnings)
    assert len(result.rounds) == MESSAGES - 1


def test_two_dropouts_one_after_the_other(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": at(3, crash), "south": at(4, crash)})
    result = train(make_broadcast(grid, sites, quorum=1), NOW)
    assert [(d.site, d.round) for d in result.dropouts] == [("west", 3), ("south", 4)]
    assert_pooled(sites, result, ("north",))


def test_a_dropped_site_does_not_come_back(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": at(2, crash, last=2)})
    result = train(make_broadcast(grid, sites, quorum=2), NOW)
    assert grid.heard["west"] == ["summary", "newton"]
    assert_pooled(sites, result, ("north", "south"))


def test_below_the_quorum_the_run_ends(sites: dict[str, Path]) -> None:
    grid = Faulty(sites, {"west": at(2, crash), "south": at(3, silent)})
    with pytest.raises(QuorumError, match=r"1 of the 2 sites .* 'south' did not answer"):
        train(make_broadcast(grid, sites, quorum=2), NOW)
    with pytest.raises(SiteRefusedError, match=r"2 of the 3 .* 'west' failed"):
        train(make_broadcast(Faulty(sites, {"west": at(2, crash)}), sites), NOW)


def skewed(array: np.ndarray) -> np.ndarray:
    array[0, 0, 1] += 1.0
    return array


def indefinite(array: np.ndarray) -> np.ndarray:
    array[0, 1, 1] = -1.0
    return array


IMPOSSIBLE = {
    "NaN": ("newton", altered("newton_sums/gradient", lambda a: a * np.nan), "not finite"),
    "shape": ("newton", altered("newton_sums/gradient", lambda a: a[:, 1:]), "has shape"),
    "skewed": ("newton", altered("newton_sums/hessian", skewed), "not symmetric"),
    "indefinite": ("newton", altered("newton_sums/hessian", indefinite), "not positive"),
    "huge": ("newton", altered("newton_sums/hessian", lambda a: a * 1e4), "beyond its rows"),
    "steep": ("newton", altered("newton_sums/gradient", lambda a: a + 1e4), "gradient is beyond"),
    "gain": ("newton", altered("newton_sums/loss", lambda a: -a), "loss is negative"),
    "fewer rows": ("newton", altered("newton_sums/rows", lambda a: a - 1), "two numbers of"),
    "other kind": (
        "newton",
        lambda g, asked, reply, n: altered("x", lambda a: a)(g, asked, g.first["west"], n),
        "sent",
    ),
    "test rows": ("evaluation", altered("evaluation_sums/rows", lambda a: a + 1), "sum to the ro"),
    "negative bin": ("evaluation", altered("evaluation_sums/bin_rows", lambda a: -a), "no counts"),
    "loss": ("evaluation", altered("evaluation_sums/log_loss", lambda a: a * 1e6), "beyond its"),
    "AUROC": ("evaluation", altered("site_evaluation/auroc", lambda a: a + 1), "outside 0 to 1"),
    "undefined": ("evaluation", altered("site_evaluation/defined", lambda a: 0 * a), "none with"),
}


class Remembering(Faulty):
    """Keeps each site's first reply, to be sent again in the wrong place."""

    first: dict[str, object]

    def push_messages(self, messages):  # type: ignore[no-untyped-def]
        identifiers = list(super().push_messages(messages))
        if not hasattr(self, "first"):
            self.first = {
                self.names[self._replies[i].metadata.src_node_id]: self._replies[i]
                for i in identifiers
            }
        return identifiers


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_answers_that_cannot_be_true_drop_their_site(sites: dict[str, Path], name: str) -> None:
    kind, fault, reason = IMPOSSIBLE[name]
    grid = Remembering(sites, {"west": only(kind, fault)})
    result = train(make_broadcast(grid, sites, quorum=2), NOW)
    (gone,) = result.dropouts
    assert (gone.site, gone.kind) == ("west", kind)
    assert reason in gone.reason
    fitted = ("north", "south") if kind == "newton" else ("north", "south", "west")
    assert_pooled(sites, result, fitted)


def test_rows_that_change_in_the_middle_of_a_run_drop_their_site(tmp_path: Path) -> None:
    sites = write_sites(tmp_path, SIZES)

    def one_row_less(_grid: Faulty, _asked: object, reply: object, number: int) -> object:
        if number == 2:
            lines = sites["west"].read_text().splitlines()
            sites["west"].write_text("\n".join([*lines[:40], *lines[60:]]) + "\n")
        return reply

    grid = Faulty(sites, {"west": one_row_less})  # type: ignore[dict-item]
    result = train(make_broadcast(grid, sites, quorum=2), NOW)
    (gone,) = result.dropouts
    assert gone.round == 3
    assert "training rows before, now" in gone.reason


class Stop(Exception):  # noqa: N818
    """The process ends here."""


class Stopping(Checkpoints):
    """Ends the process before its n-th checkpoint is written."""

    left: Iterator[int]

    @classmethod
    def at(cls, folder: Path, number: int) -> Stopping:
        made = cls(folder, cls.claim(folder).token)
        object.__setattr__(made, "left", iter(range(number - 1)))
        return made

    def save(self, document: Mapping[str, Any]) -> None:
        if next(self.left, None) is None:
            raise Stop
        super().save(document)


class Copying(Checkpoints):
    """Leaves a copy of the folder after each checkpoint: where a kill would have left it."""

    def save(self, document: Mapping[str, Any]) -> None:
        super().save(document)
        number = len(list(self.folder.parent.glob("copy-*")))
        shutil.copytree(self.folder, self.folder.parent / f"copy-{number}")


def plain(result: TrainingResult, *more: str) -> dict[str, object]:
    """Everything but how long it took, and further fields of the rounds' records."""
    document = result.model_dump(mode="json")
    document.pop("seconds")
    for record in document["rounds"]:
        for name in ("seconds", *more):
            record.pop(name)
    return document


Make = Callable[[], Broadcast]


def resumed(make: Make, checkpoints: Checkpoints, folder: Path) -> TrainingResult | None:
    """Run until the stop, then take the run up in another federation; None if it never stopped."""
    try:
        train(make(), NOW, checkpoints)
    except Stop:
        return train(make(), NOW, Checkpoints.claim(folder))
    return None


def options(strategy: str, base: TrainingResult) -> dict[str, object]:
    changes = {"strategy": strategy, "rounds": 3 if strategy.startswith("fed") else 30}
    return changes | ({"base": base.model} if strategy in FROM_BASE else {})


@pytest.mark.parametrize("dropout", [False, True], ids=["", "dropout"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_run_that_is_taken_up_after_any_checkpoint_ends_as_an_undisturbed_one(
    sites: dict[str, Path],
    undisturbed: TrainingResult,
    tmp_path: Path,
    strategy: str,
    dropout: bool,
) -> None:
    changes = options(strategy, undisturbed) | {"quorum": 2}
    faults = {"west": at(2, crash)} if dropout else {}
    # Who a node is a new process learns by asking it: one message more to the site that is out.
    ignored = ("bytes_out",) if dropout else ()
    folder = tmp_path / "checkpoint"
    whole = Copying(folder, Checkpoints.claim(folder).token)
    expected = plain(
        train(make_broadcast(Faulty(sites, faults), sites, **changes), NOW, whole), *ignored
    )
    assert any("'west'" in text for text in expected["warnings"]) == dropout
    copies = sorted(tmp_path.glob("copy-*"))
    assert len(copies) >= 6
    for copy in copies[1 if dropout else 0 :]:
        # The site that was dropped is there again, and is no site of the run any more.
        broadcast = make_broadcast(InMemoryGrid(sites), sites, **changes)
        again = train(broadcast, LATER, Checkpoints.claim(copy))
        assert plain(again, *ignored) == expected


@pytest.mark.parametrize("number", [1, 2, 5, 8, 9])
def test_a_run_that_is_stopped_before_it_writes_ends_as_an_undisturbed_one(
    sites: dict[str, Path], undisturbed: TrainingResult, tmp_path: Path, number: int
) -> None:
    def make() -> Broadcast:
        return make_broadcast(InMemoryGrid(sites), sites)

    again = resumed(make, Stopping.at(tmp_path, number), tmp_path)
    assert again is not None
    assert plain(again) == plain(undisturbed)


def test_a_run_that_is_stopped_while_it_tells_ends_as_an_undisturbed_one(
    sites: dict[str, Path], undisturbed: TrainingResult, tmp_path: Path
) -> None:
    for number in range(1, MESSAGES + 1):
        folder, told = tmp_path / str(number), list[int]()

        def watch(record: RoundRecord) -> None:
            if record.number == number and record.number not in told:  # noqa: B023
                told.append(record.number)  # noqa: B023
                raise Stop

        def make() -> Broadcast:
            broadcast = make_broadcast(InMemoryGrid(sites), sites)
            broadcast.watch = watch
            return broadcast

        result = resumed(make, Checkpoints.claim(folder), folder)
        assert result is not None
        assert plain(result) == plain(undisturbed)


def test_a_finished_run_is_taken_up_without_a_message(
    sites: dict[str, Path], undisturbed: TrainingResult, tmp_path: Path
) -> None:
    train(make_broadcast(InMemoryGrid(sites), sites), NOW, Checkpoints.claim(tmp_path))
    grid = Faulty(sites, {})
    again = train(make_broadcast(grid, sites), LATER, Checkpoints.claim(tmp_path))
    assert plain(again) == plain(undisturbed)
    assert not any(grid.heard.values())


def test_a_lost_quorum_can_be_made_up_for(
    sites: dict[str, Path], undisturbed: TrainingResult, tmp_path: Path
) -> None:
    with pytest.raises(SiteRefusedError):
        train(
            make_broadcast(Faulty(sites, {"west": at(4, crash)}), sites),
            NOW,
            Checkpoints.claim(tmp_path),
        )
    grid = Faulty(sites, {})
    again = train(make_broadcast(grid, sites), NOW, Checkpoints.claim(tmp_path))
    assert plain(again) == plain(undisturbed)
    assert len(grid.heard["west"]) == MESSAGES - 3


def test_checkpoints_grow_by_rounds_alone(sites: dict[str, Path], tmp_path: Path) -> None:
    train(make_broadcast(InMemoryGrid(sites), sites), NOW, Checkpoints.claim(tmp_path))
    document = json.loads((tmp_path / "checkpoint.json").read_bytes().partition(b"\n")[2])
    assert len(document["conversation"]["rounds"]) == MESSAGES
    assert set(document) == {"fedrisk", "request", "state", "conversation"}


def test_another_request_is_refused(sites: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "r1" / "checkpoint"
    train(make_broadcast(InMemoryGrid(sites), sites), NOW, Checkpoints.claim(folder))
    with pytest.raises(UsageError, match="of another request"):
        train(make_broadcast(InMemoryGrid(sites), sites, rounds=7), NOW, Checkpoints.claim(folder))


def test_another_version_is_refused(
    sites: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(make_broadcast(InMemoryGrid(sites), sites), NOW, Checkpoints.claim(tmp_path))
    monkeypatch.setattr(run_module, "__version__", "99.0")
    with pytest.raises(FederationError, match=r"begun by fedrisk .*, this is 99.0"):
        train(
            make_broadcast(InMemoryGrid(sites), sites, rounds=7), NOW, Checkpoints.claim(tmp_path)
        )
