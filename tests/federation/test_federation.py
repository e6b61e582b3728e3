"""Numbers far from zero: the summary is asked about the means, and the fit is the pooled one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np
import pytest
from federation.faulty import NOW, Faulty, at, crash, make_broadcast
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.query import Query
from fedrisk.federation.training import train
from fedrisk.models.design_matrix import design_from_summary
from fedrisk.models.logistic import LogisticModel
from fedrisk.models.summary import summarise
from fedrisk.sites.cohort import load_cohort
from fedrisk.study import Study, parse_study
from fedrisk.study.training import TrainingResult

SIZES = {"north": 400, "south": 250, "west": 150}


def study_of(name: str, **x: object) -> Study:
    features = [{"name": "x", "kind": "number", **x}, {"name": "z", "kind": "number"}]
    return parse_study({"name": name, "label": "y", "positive": [1], "features": features})


def write(folder: Path, offset: float) -> dict[str, Path]:
    """Rows ``offset + N(0, 1)`` at sites whose means differ; multiples of 2^-8, so exact."""
    paths = {}
    for seed, (name, rows) in enumerate(SIZES.items()):
        rng = np.random.default_rng(seed)
        x, z = np.round(256 * rng.normal(seed, 1, rows)) / 256, rng.normal(size=rows)
        y = rng.random(rows) < 1 / (1 + np.exp(1 - x + z / 2))
        lines = [
            f"{float(offset + a)!r},{float(b)!r},{int(c)}" for a, b, c in zip(x, z, y, strict=True)
        ]
        paths[name] = folder / f"{name}.csv"
        paths[name].write_text("\n".join(["x,z,y", *lines]) + "\n")
    return paths


def rows(study: Study, sites: dict[str, Path]) -> tuple[np.ndarray, np.ndarray]:
    parts = [load_cohort(study, name, path, NOW).part(test=False) for name, path in sites.items()]
    columns = [np.column_stack([c["x"], c["z"]]) for c, _ in parts]
    return np.vstack(columns), np.concatenate([events for _, events in parts])


def pooled(study: Study, sites: dict[str, Path], offset: float) -> np.ndarray:
    """Intercept and coefficients on standardised pooled rows; the offset is taken off exactly."""
    matrix, events = rows(study, sites)
    matrix[:, 0] -= offset
    fitted = LogisticRegression(
        C=1 / study.penalty, solver="newton-cholesky", tol=1e-12, max_iter=200
    ).fit(StandardScaler().fit_transform(matrix), events)
    return np.concatenate([fitted.intercept_, fitted.coef_[0]])


def fit(study: Study, sites: dict[str, Path], grid: InMemoryGrid | None = None, **changes: object):
    broadcast = make_broadcast(grid or InMemoryGrid(sites), sites, study=study, **changes)
    return train(broadcast, NOW)


def parameters(result: TrainingResult) -> np.ndarray:
    model = LogisticModel.from_document(result.model)
    return np.concatenate([[model.intercept], model.coefficients])


def summaries(result: TrainingResult) -> int:
    return sum(record.kind == "summary" for record in result.rounds)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e4, 1e6, -1e6, 1e8, 1.7e9])
def test_equals_the_pooled_fit_at_any_offset(tmp_path: Path, offset: float) -> None:
    # The split goes by the rows' values, so both fits read the study of this offset.
    study, sites = study_of("offsets"), write(tmp_path, offset)
    result = fit(study, sites)
    found, expected = parameters(result), pooled(study, sites, offset)
    assert np.abs(found - expected)[1:].max() < 1e-8
    # The mean itself is a float: half its last digit, in standard deviations, is the intercept's.
    assert abs(found[0] - expected[0]) < 1e-8 + abs(expected[1]) * np.spacing(abs(offset))
    assert summaries(result) == (1 if offset == 0 else 2)
    assert not any("constant" in warning for warning in result.warnings)


@pytest.mark.parametrize(
    "x",
    [{"minimum": 990, "maximum": 1020}, {"plausible": [990, 1020]}],
    ids=["bounds", "plausible"],
)
def test_a_well_conditioned_study_has_one_summary_and_its_very_design(
    tmp_path: Path, x: dict[str, object]
) -> None:
    study, sites = study_of("offsets", **x), write(tmp_path, 1e3)
    result = fit(study, sites)
    assert summaries(result) == 1
    parts = [load_cohort(study, name, path, NOW).part(test=False) for name, path in sites.items()]
    summary = reduce(add, (summarise(study, *part) for part in parts))
    assert LogisticModel.from_document(result.model).design == design_from_summary(study, summary)


def test_a_site_that_is_lost_between_the_two_summaries_is_in_no_part_of_the_model(
    tmp_path: Path,
) -> None:
    study, sites = study_of("offsets"), write(tmp_path, 1e6)
    result = fit(study, sites, Faulty(sites, {"west": at(2, crash)}), quorum=2)
    left = {name: path for name, path in sites.items() if name != "west"}
    assert np.abs(parameters(result) - pooled(study, left, 1e6))[1:].max() < 1e-8
    assert [(gone.site, gone.round) for gone in result.dropouts] == [("west", 2)]
    assert set(result.rows) == set(left)


def test_a_summary_about_other_centres_is_another_question_to_a_site_s_ledger() -> None:
    first = Query("summary", study_of("offsets"), "r1", NOW.isoformat())
    digests = {first.digest}
    for centres in ([[1.0, 2.0]], [[1.0, 2.5]]):
        asked = replace(first, parameters=np.array(centres))
        read = Query.from_content(asked.content())
        assert read.digest == asked.digest
        assert read.centres is not None
        assert read.centres.tolist() == centres[0]
        digests.add(asked.digest)
    assert len(digests) == 3
    assert Query.from_content(first.content()).centres is None


class Stop(Exception):  # noqa: N818
    """The process ends here."""


def stopping(moment: int) -> Callable[[object], None]:
    def watch(record: object) -> None:
        if record.number == moment:  # type: ignore[attr-defined]
            raise Stop

    return watch


@pytest.mark.parametrize("moment", [1, 2])
def test_a_run_that_is_stopped_at_either_summary_ends_as_an_undisturbed_one(
    tmp_path: Path, moment: int
) -> None:
    study, sites = study_of("offsets"), write(tmp_path, 1.7e9)
    folder = tmp_path / "checkpoint"
    broadcast = make_broadcast(InMemoryGrid(sites), sites, study=study)
    broadcast.watch = stopping(moment)
    with pytest.raises(Stop):
        train(broadcast, NOW, Checkpoints.claim(folder))
    grid = Faulty(sites, {})
    again = train(make_broadcast(grid, sites, study=study), NOW, Checkpoints.claim(folder))
    assert again.model == fit(study, sites).model
    assert grid.heard["west"].count("summary") == 2 - moment


@pytest.mark.filterwarnings("error")
def test_the_largest_numbers_that_are_accepted_can_be_fitted(tmp_path: Path) -> None:
    study, sites = study_of("offsets"), write(tmp_path, 0.0)
    for path in sites.values():
        header, *lines = path.read_text().splitlines()
        cells = [line.split(",") for line in lines]
        lines = [f"{-1e100 if i % 2 else 1e100},{z},{y}" for i, (_, z, y) in enumerate(cells)]
        path.write_text("\n".join([header, *lines]) + "\n")
    result = fit(study, sites)
    assert np.isfinite(parameters(result)).all()
    assert LogisticModel.from_document(result.model).design.columns[0].scale > 9e99
