"""What a person sees of a finished run."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fedrisk.cli.training import Trained


def _figure(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def print_trained(trained: Trained) -> None:
    """Print the evaluation at the sites and the overall figures."""
    console, result = Console(highlight=False), trained.result
    table = Table(title="Evaluation on each site's test rows")
    for name in ("site", "training rows", "test rows", "events", "AUROC", "± 1.96 SE", "O/E"):
        table.add_column(name, justify="left" if name == "site" else "right")
    for site, figures in sorted(result.per_site.items()):
        error = figures["auroc_standard_error"]
        table.add_row(
            site,
            f"{result.rows[site]['train']:,}",
            f"{figures['rows'] or 0:,.0f}",
            f"{figures['events'] or 0:,.0f}",
            _figure(figures["auroc"]),
            _figure(None if error is None else 1.96 * error),
            _figure(figures["observed_expected"], 2),
        )
    console.print(table)
    metrics = result.metrics
    console.print(
        f"overall: AUROC {_figure(metrics['auroc'], 4)} "
        f"(SE {_figure(metrics['auroc_standard_error'], 4)}), "
        f"Brier {_figure(metrics['brier'], 4)}, "
        f"calibration slope {_figure(metrics['calibration_slope'], 2)}, "
        f"observed/expected {_figure(metrics['observed_expected'], 2)}"
    )
    for warning in result.warnings:
        console.print(f"warning: {warning}", markup=False)
    console.print(
        f"{result.request.study.name} version {trained.version} is {trained.alias} "
        f"({len(result.rounds)} rounds, {trained.seconds:.0f} s)"
    )
