"""Writing a simulated cohort: one file a site, the study, and the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fedrisk.errors import UsageError
from fedrisk.models.metrics import delong
from fedrisk.simulation.cohort import UNKNOWN, Cohort, Score, simulate
from fedrisk.simulation.effects import AMPLIFICATION, EFFECTS, INTERCEPT, Effect
from fedrisk.simulation.scenarios import day_of_change, find_scenario
from fedrisk.simulation.study_file import STUDY, study_text

Format = Literal["csv", "parquet"]
#: Column of the true risk, where it is asked for; the study does not name it.
TRUE_RISK = "true_risk"
LABEL = "cardiorespiratory_event"
STUDY_FILE, TRUTH_FILE = "study.toml", "truth.json"


def _table(cohort: Cohort, truth: bool) -> Any:
    """The rows as an Arrow table; NaN, empty strings and unknown labels are missing values."""
    import pyarrow as pa

    arrays = {}
    for name, column in cohort.columns.items():
        missing = column == "" if column.dtype.kind == "U" else None
        if column.dtype.kind == "f":
            missing = np.isnan(column)
        if name == LABEL:
            missing = column == UNKNOWN
        arrays[name] = pa.array(column, mask=missing)
    if truth:
        arrays[TRUE_RISK] = pa.array(cohort.true_risk)
    return pa.table(arrays)


def _write_table(table: Any, file: Path) -> None:
    if file.suffix == ".parquet":
        from pyarrow import parquet

        parquet.write_table(table, file)
    else:
        from pyarrow import csv

        # No value holds a comma or a quote.
        csv.write_csv(table, file, csv.WriteOptions(quoting_style="none"))


def _effect_document(effect: Effect, amplification: float) -> dict[str, Any]:
    """An effect as JSON: the published figure and, apart from it, the one used."""
    fields = {
        name: value
        for name, value in asdict(effect).items()
        if not isinstance(value, float) or isfinite(value)
    }
    return fields | {
        "published_log_odds_per_unit": effect.coefficient(1.0),
        "log_odds_per_unit": effect.coefficient(amplification),
    }


def _site_document(cohort: Cohort, file: Path) -> dict[str, Any]:
    events = cohort.events
    both = bool(events.any() and not events.all())
    return {
        "file": file.name,
        "rows": cohort.rows,
        "people": len(np.unique(cohort.columns["person"])),
        "events": int(events.sum()),
        "unknown": int((cohort.columns[LABEL] == UNKNOWN).sum()),
        "mean_true_risk": float(cohort.true_risk.mean()) if cohort.rows else None,
        "auroc_of_true_risk": delong(cohort.true_risk, events)[0] if both else None,
        "city": asdict(cohort.city),
    }


def _prepare(folder: Path, force: bool) -> None:
    """Make the folder; of an earlier cohort, remove the files that its truth.json names."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="name a folder with --output")
    if folder.is_dir() and any(folder.iterdir()):
        if not force:
            raise UsageError(
                f"{folder} is not empty", hint="choose another folder, or overwrite with --force"
            )
        for name in _earlier_files(folder / TRUTH_FILE):
            (folder / Path(name).name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def _earlier_files(truth: Path) -> Sequence[str]:
    try:
        document = json.loads(truth.read_text(encoding="utf-8"))
        return [str(site["file"]) for site in document["sites"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def write_cohort(
    folder: Path,
    sites: int,
    people: int,
    days: int,
    seed: int,
    start: date,
    *,
    scenario: str = "none",
    change: date | None = None,
    size: float = 1.0,
    score: Score | None = None,
    amplification: float = AMPLIFICATION,
    truth: bool = False,
    file_format: Format = "csv",
    force: bool = False,
) -> dict[str, Path]:
    """Simulate a cohort and write it: a file a site, ``study.toml`` and ``truth.json``.

    Parameters
    ----------
    folder : Path
        Where to; made if absent.
    sites, people, days, seed, start, scenario, change, size, score, amplification
        As for `fedrisk.simulation.simulate`; ``people`` is the number of each site.
    truth : bool
        Also write the true risk of each row, as the column ``true_risk``.
    file_format : {"csv", "parquet"}
        Of the sites' files; the same arguments give the same bytes.
    force : bool
        Write into a folder that is not empty; files of an earlier cohort there are replaced.

    Returns
    -------
    dict of str to Path
        File of each site, by name, in order.

    Raises
    ------
    UsageError
        As `fedrisk.simulation.simulate`, or on a folder that is not empty.
    """
    cohorts = simulate(
        sites,
        people,
        days,
        seed,
        start,
        scenario=scenario,
        change=change,
        size=size,
        score=score,
        amplification=amplification,
    )
    _prepare(folder, force)
    files, documents = {}, {}
    for cohort in cohorts:
        file = folder / f"{cohort.site}.{file_format}"
        _write_table(_table(cohort, truth), file)
        files[cohort.site] = file
        documents[cohort.site] = _site_document(cohort, file)
    (folder / STUDY_FILE).write_text(study_text(scenario), encoding="utf-8")
    document = {
        "study": STUDY,
        "seed": seed,
        "start": start.isoformat(),
        "days": days,
        "people_per_site": people,
        "scenario": find_scenario(scenario).document(),
        "change": day_of_change(start, days, change).isoformat(),
        "size": size,
        "intercept": INTERCEPT,
        "amplification": amplification,
        "effects": [_effect_document(effect, amplification) for effect in EFFECTS],
        "sites": documents,
    }
    (folder / TRUTH_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return files
