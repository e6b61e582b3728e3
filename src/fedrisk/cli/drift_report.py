"""`fedrisk site drift-report`: two periods of a site's rows, for its own eyes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fedrisk.cli.options import json_option
from fedrisk.errors import DataError, StudyError, UsageError

if TYPE_CHECKING:
    from fedrisk.models.logistic import LogisticModel
    from fedrisk.monitoring.evidently_report import LocalReport
    from fedrisk.sites.windows import TimedRows
    from fedrisk.study import Study

METHODS = ("ks", "wasserstein", "psi", "jensenshannon")
#: Below the site's folder, where reports are written unless --output says otherwise.
REPORTS = "reports"

Period = tuple[date, date]


class PeriodType(click.ParamType[Period]):
    """``2024-01-01..2024-07-01``: days, the last one not part of it."""

    name = "FROM..TO"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Period:
        """Read one; click reports what is wrong."""
        try:
            start, end = (date.fromisoformat(part) for part in str(value).split(".."))
        except ValueError:
            self.fail(f"{value!r} is not two days such as 2024-01-01..2024-07-01", param, ctx)
        if start >= end:
            self.fail(f"{value!r} ends before it begins", param, ctx)
        return start, end


@click.command("drift-report")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="The site's folder; its rows are read.",
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Rows, CSV or Parquet, in place of those of a folder.",
)
@click.option("--study", "study_name", help="Study file, or a built-in study's name.")
@click.option(
    "--model",
    "model_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A model.json: its study is taken, and its scores are compared, too.",
)
@click.option("--reference", type=PeriodType(), required=True, help="Days to compare with.")
@click.option("--current", type=PeriodType(), required=True, help="Days to look at.")
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="Evidently's test or distance for numbers.  [default: its own choice]",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write.  [default: reports/ in the folder, or beside the rows]",
)
@json_option
def drift_report(
    folder: Path | None,
    data: Path | None,
    study_name: str | None,
    model_file: Path | None,
    reference: Period,
    current: Period,
    method: Any,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write Evidently's HTML report on this site's rows; it holds extremes, so it stays here."""
    from fedrisk.monitoring.evidently_report import write_drift_report
    from fedrisk.sites.windows import load_rows

    site, rows, beside = _place(folder, data)
    study, model = _study_and_model(study_name, model_file)
    if study.time is None:
        raise UsageError(
            f"study {study.name} has no time column, so its rows are of no period",
            hint="name the column of times as `time` in the study file",
        )
    found = load_rows(study, site, rows, datetime.now(UTC))
    before, now = (_period(found, period) for period in (reference, current))
    written = write_drift_report(
        study,
        _columns(before, model),
        _columns(now, model),
        output or beside / f"drift-{current[0]}-{current[1]}.html",
        method,
    )
    outside = {name: int(marks.sum()) for name, marks in now.outside.items() if marks.any()}
    if as_json:
        click.echo(json.dumps(written.document() | {"site": site, "outside": outside}))
        return
    for line in _lines(written, outside):
        click.echo(line)


def _place(folder: Path | None, data: Path | None) -> tuple[str, Path, Path]:
    """The site's name, its rows, and where its reports go."""
    if data is not None and folder is None:
        return data.stem, data, data.parent / REPORTS
    if folder is None or data is not None:
        raise UsageError(
            "give either --folder or --data",
            hint="--folder is what `fedrisk site init` made; --data is a file of rows",
        )
    from fedrisk.sites.folder import open_site

    opened = open_site(folder)
    return opened.identity.site, opened.data, opened.folder / REPORTS


def _study_and_model(
    study_name: str | None, model_file: Path | None
) -> tuple[Study, LogisticModel | None]:
    from fedrisk.study import find_study

    model = None if model_file is None else _model(model_file)
    if study_name is None:
        if model is None:
            raise UsageError("give --study, or a --model whose study is taken")
        return model.study, model
    study = find_study(study_name)
    if model is not None and model.study.hash != study.hash:
        raise StudyError(
            f"the model is of study {model.study.hash[:12]}, not of {study.hash[:12]}",
            hint="leave --study out: the model's own is taken",
        )
    return study, model


def _model(file: Path) -> LogisticModel:
    from fedrisk.errors import ModelFileError
    from fedrisk.models.logistic import LogisticModel

    try:
        return LogisticModel.from_document(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{file}: cannot be read: {error}") from None


def _period(rows: TimedRows, period: Period) -> TimedRows:
    """The rows of some days.

    Raises
    ------
    DataError
        When there are none.
    """
    import numpy as np

    start, end = (np.datetime64(day.isoformat(), "us") for day in period)
    times = np.empty(0, "datetime64[us]") if rows.times is None else rows.times
    chosen = rows.chosen((times >= start) & (times < end))
    if not len(chosen):
        dated = times[~np.isnat(times)]
        span = f"{dated.min()} to {dated.max()}" if len(dated) else "of no time"
        raise DataError(
            f"site {rows.site} has no rows from {period[0]} to {period[1]}",
            hint=f"its rows are {span}",
        )
    return chosen


def _columns(rows: TimedRows, model: LogisticModel | None) -> dict[str, Any]:
    """Features, and scores of the rows that the model would answer."""
    import numpy as np

    from fedrisk.monitoring.evidently_report import SCORE

    if model is None:
        return dict(rows.columns)
    risks = np.full(len(rows), np.nan)
    fits = rows.scorable
    if fits.any():
        risks[fits] = model.risk(rows.chosen(fits).columns)
    return {**rows.columns, SCORE: risks}


def _lines(report: LocalReport, outside: dict[str, int]) -> Sequence[str]:
    """The report as people read it."""
    lines = [
        f"{test.column}: {'drifted' if test.drifted else 'no drift'} "
        f"({test.method} {test.score:.3g}, threshold {test.threshold:g})"
        for test in report.tests
    ]
    lines += [f"{name}: has no value in one of the periods" for name in report.empty]
    lines += [
        f"{name}: {count:,} of {report.current_rows:,} values are unreadable or beyond the bounds"
        for name, count in outside.items()
    ]
    lines.append(
        "rows of the same people are not independent, as these tests take them to be: "
        "`fedrisk drift` judges by the reference's own weeks"
    )
    lines.append(f"wrote {report.file}: it shows single values, so it must not leave this site")
    return lines
