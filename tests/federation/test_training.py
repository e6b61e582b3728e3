"""A federated run equals the pooled fit, whatever the partition; refusals end it clearly."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from federation.faulty import Faulty
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from fedrisk.errors import ConvergenceError, QuorumError, SiteRefusedError, UsageError
from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.engines.in_memory import InMemoryGrid
from fedrisk.federation.strategies import STRATEGIES
from fedrisk.federation.strategies.options import OPTIONS
from fedrisk.federation.training import check_names, train
from fedrisk.models.checks import self_test
from fedrisk.models.logistic import LogisticModel, expit
from fedrisk.profiles.reference import read_reference
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.disclosure.rules import OPTIONS as SITE_OPTIONS
from fedrisk.study import Study, parse_study
from fedrisk.study.training import TrainingRequest, TrainingResult

Fit = Callable[..., TrainingResult]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pooled(study: Study, sites: dict[str, Path], result: TrainingResult, *, test: bool):
    model = LogisticModel.from_document(result.model)
    parts = [load_cohort(study, name, path, NOW).part(test=test) for name, path in sites.items()]
    matrix = np.vstack([model.design.transform(columns) for columns, _ in parts])
    return model, matrix, np.concatenate([events for _, events in parts])


def test_equals_the_pooled_fit(study: Study, sites: dict[str, Path], fit: Fit) -> None:
    result = fit(sites)
    model, matrix, events = pooled(study, sites, result, test=False)
    reference = LogisticRegression(
        C=1 / study.penalty, solver="newton-cholesky", tol=1e-12, max_iter=200
    ).fit(matrix, events)
    assert np.abs(model.coefficients - reference.coef_[0]).max() < 1e-8
    assert abs(model.intercept - reference.intercept_[0]) < 1e-8


def test_standard_errors_are_those_of_the_pooled_information(
    study: Study, sites: dict[str, Path], fit: Fit
) -> None:
    result = fit(sites)
    model, matrix, _ = pooled(study, sites, result, test=False)
    matrix = np.hstack([np.ones((len(matrix), 1)), matrix])
    risk = expit(matrix @ np.concatenate([[model.intercept], model.coefficients]))
    information = (matrix * (risk * (1 - risk))[:, None]).T @ matrix
    information += study.penalty * np.diag([0.0, *[1.0] * (matrix.shape[1] - 1)])
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    assert model.standard_errors == pytest.approx(expected, rel=1e-6)


def test_partition_does_not_matter(sites: dict[str, Path], fit: Fit, tmp_path: Path) -> None:
    lines = [path.read_text().splitlines() for path in sites.values()]
    one = tmp_path / "all.csv"
    one.write_text("\n".join([lines[0][0], *(line for part in lines for line in part[1:])]) + "\n")
    apart, together = fit(sites), fit({"all": one})
    a = LogisticModel.from_document(apart.model)
    b = LogisticModel.from_document(together.model)
    assert a.coefficients == pytest.approx(b.coefficients, abs=1e-9)
    assert apart.metrics["auroc"] == pytest.approx(together.metrics["auroc"], abs=1e-12)


def test_evaluation_equals_the_pooled_figures(
    study: Study, sites: dict[str, Path], fit: Fit
) -> None:
    result = fit(sites)
    model, matrix, events = pooled(study, sites, result, test=True)
    risk = expit(model.intercept + matrix @ model.coefficients)
    assert result.metrics["auroc"] == pytest.approx(roc_auc_score(events, risk), abs=1e-3)
    assert result.metrics["brier"] == pytest.approx(brier_score_loss(events, risk), rel=1e-9)
    assert result.metrics["log_loss"] == pytest.approx(log_loss(events, risk), rel=1e-9)
    assert result.metrics["rows"] == len(events)


def test_site_figures_are_the_site_s_own(study: Study, sites: dict[str, Path], fit: Fit) -> None:
    result = fit(sites)
    model, matrix, events = pooled(study, {"south": sites["south"]}, result, test=True)
    risk = expit(model.intercept + matrix @ model.coefficients)
    assert result.per_site["south"]["auroc"] == pytest.approx(roc_auc_score(events, risk))
    assert result.per_site["south"]["events"] == events.sum()


def test_result_carries_a_model_that_passes_its_own_checks(
    sites: dict[str, Path], fit: Fit
) -> None:
    result = fit(sites)
    self_test(LogisticModel.from_document(result.model), result.checks)
    assert result.model["about"]["sites"] == ["north", "south", "west"]
    assert result.reference["rows"] == sum(count["train"] for count in result.rows.values())


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "fedadam"])
def test_iterative_strategies_come_near(sites: dict[str, Path], fit: Fit, strategy: str) -> None:
    exact, other = fit(sites), fit(sites, strategy=strategy, rounds=15)
    assert other.metrics["auroc"] == pytest.approx(exact.metrics["auroc"], abs=0.02)
    assert len([r for r in other.rounds if r.kind == "descent"]) == 15
    assert len(exact.rounds) < len(other.rounds)


def test_rounds_are_recorded_with_sizes_and_sites(sites: dict[str, Path], fit: Fit) -> None:
    rounds = fit(sites).rounds
    assert [r.number for r in rounds] == list(range(1, len(rounds) + 1))
    assert rounds[0].kind == "summary"
    assert [r.kind for r in rounds[-2:]] == ["evaluation", "profile"]
    assert all(r.sites == ("north", "south", "west") and r.bytes_in > 0 for r in rounds)


def test_the_reference_holds_every_row_of_the_training_period(
    sites: dict[str, Path], fit: Fit
) -> None:
    result = fit(sites)
    reference = read_reference(result.reference, result.request.study)
    assert reference.sites == ("north", "south", "west")
    for site, counts in result.rows.items():
        profile = reference.of(site)
        assert profile.rows == counts["rows"]
        assert profile.labelled.sum() == counts["train"] + counts["test"]
        assert profile.events.sum() == counts["train_events"] + counts["test_events"]


def test_constant_feature_is_held_at_zero_with_a_warning(sites: dict[str, Path], fit: Fit) -> None:
    for path in sites.values():
        lines = [line.split(",") for line in path.read_text().splitlines()]
        flat = [lines[0], *([*line[:2], "120.0", *line[3:]] for line in lines[1:])]
        path.write_text("\n".join(",".join(line) for line in flat) + "\n")
    result = fit(sites)
    column = next(c for c in result.model["columns"] if c["name"] == "pressure")
    assert column["coefficient"] == 0
    assert any("'pressure' is constant" in warning for warning in result.warnings)


def test_one_class_is_refused(sites: dict[str, Path], fit: Fit) -> None:
    for path in sites.values():
        path.write_text(path.read_text().replace(",1,private", ",0,private"))
    with pytest.raises(ConvergenceError, match="same label"):
        fit(sites)


def test_site_without_test_events_is_named(sites: dict[str, Path], fit: Fit) -> None:
    text = sites["west"].read_text()
    sites["west"].write_text(text.replace(",1,private", ",0,private"))
    result = fit(sites)
    assert result.per_site["west"]["auroc"] is None
    assert any("'west' has no event" in warning for warning in result.warnings)


def test_refusal_names_the_site_and_no_value(sites: dict[str, Path], fit: Fit) -> None:
    lines = sites["west"].read_text().splitlines()
    cells = lines[3].split(",")
    cells[1] = "777.7"
    lines[3] = ",".join(cells)
    sites["west"].write_text("\n".join(lines) + "\n")
    with pytest.raises(SiteRefusedError, match="'west' refuses") as refused:
        fit(sites)
    assert "777" not in refused.value.message + refused.value.hint


def test_missing_file_is_a_refusal(sites: dict[str, Path], fit: Fit) -> None:
    sites["west"].unlink()
    with pytest.raises(SiteRefusedError, match=r"'west'.*cannot be opened"):
        fit(sites)


def test_unknown_names_are_refused(sites: dict[str, Path], fit: Fit) -> None:
    with pytest.raises(UsageError, match="unknown strategy"):
        fit(sites, strategy="magic")
    with pytest.raises(UsageError, match="unknown model"):
        fit(sites, model="oracle")


@pytest.mark.parametrize(
    ("strategy", "options", "message"),
    [
        ("exact", {"local-steps": 5.0}, "strategy 'exact' has no option 'local-steps'"),
        ("fedavg", {"loca-steps": 5.0}, "strategy 'fedavg' has no option 'loca-steps'"),
        ("fedavg", {"ridge": 1.0}, "has no option 'ridge'"),
        ("fedavg", {"local-steps": -5.0}, "must be a whole number from 1 to 10000, not -5"),
        ("fedprox", {"local-steps": 2.5}, "must be a whole number from 1 to 10000, not 2.5"),
        ("fedavg", {"local-steps": float("nan")}, "must be a whole number .*, not nan"),
        ("fedadam", {"local-steps": float("inf")}, "must be a whole number .*, not inf"),
        ("fedadam", {"eta": 0.0}, "option 'eta' must be a number from 1e-06 to 1000, not 0"),
        ("fedprox", {"proximal-mu": -0.1}, "option 'proximal-mu' must be a number from 0 to"),
    ],
)
def test_an_option_is_the_strategy_s_own_and_within_its_range(
    sites: dict[str, Path], study: Study, strategy: str, options: dict[str, float], message: str
) -> None:
    grid = Faulty(sites, {})
    request = TrainingRequest(
        run_id="r1", study=study, strategy=strategy, options=options, as_of=NOW.isoformat()
    )
    with pytest.raises(UsageError, match=message):
        train(Broadcast(grid, request, 0.001), NOW)
    assert not any(grid.heard.values())


def test_an_unknown_option_s_error_tells_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        check_names("logistic", "fedprox", {"mu": 1.0})
    assert "proximal-mu: a number from 0 to 1e+06" in caught.value.hint
    assert "local-steps: a whole number from 1 to 10000" in caught.value.hint


def test_sites_accept_every_option_that_a_strategy_has() -> None:
    accepted = SITE_OPTIONS["descent"]
    for known in OPTIONS.values():
        for name, allowed in known.items():
            low, high = accepted[name]
            assert low <= allowed.low <= allowed.high <= high
    assert set(OPTIONS) <= set(STRATEGIES)


def test_too_few_rounds_is_an_error(sites: dict[str, Path], fit: Fit) -> None:
    with pytest.raises(ConvergenceError, match="not converged after 2"):
        fit(sites, rounds=2)


def test_site_under_another_name_is_refused(study: Study, sites: dict[str, Path]) -> None:
    request = TrainingRequest(
        run_id="r1",
        study=study,
        sites=("elsewhere", "north", "south"),
        as_of=NOW.isoformat(),
        deadline=0.5,
    )
    with pytest.raises(QuorumError, match=r"2 of the 3 .*'elsewhere'"):
        train(Broadcast(InMemoryGrid(sites), request, 0.001), NOW)


def test_a_window_of_time_is_fitted_and_judged_as_if_there_were_no_other_rows(
    study: Study, sites: dict[str, Path], tmp_path: Path
) -> None:
    timed = parse_study(study.model_dump(mode="json") | {"time": "day"})
    whole, parts = {}, {}
    for site, path in sites.items():
        header, *rows = path.read_text(encoding="utf-8").splitlines()
        dated = [f"{row},2025-0{1 + n % 9}-15" for n, row in enumerate(rows)]
        inside = [row for row in dated if "2025-03-01" <= row[-10:] < "2025-08-01"]
        assert 0 < len(inside) < len(dated)
        for found, chosen in ((whole, dated), (parts, inside)):
            found[site] = tmp_path / f"{site}-{len(chosen)}.csv"
            found[site].write_text("\n".join([f"{header},day", *chosen]) + "\n")
    window = {"since": "2025-03-01", "until": "2025-08-01"}
    fields = {"run_id": "r1", "study": timed, "sites": tuple(sites), "as_of": NOW.isoformat()}
    asked, alone, every = (
        train(Broadcast(InMemoryGrid(f), TrainingRequest(**fields, **w), 0.001), NOW)
        for f, w in ((whole, window), (parts, {}), (whole, {}))
    )
    assert asked.model["about"]["until"] == "2025-08-01T00:00:00+00:00"
    assert (asked.rows, asked.metrics, asked.per_site) == (
        alone.rows,
        alone.metrics,
        alone.per_site,
    )
    assert asked.model["columns"] == alone.model["columns"]
    assert asked.reference == alone.reference
    assert every.rows != asked.rows
