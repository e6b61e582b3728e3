"""The model card: what the model is for, how it came about, and how good it is, in Markdown.

After Mitchell et al., Model Cards for Model Reporting (FAT* 2019).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedrisk.models.logistic import Z95
from fedrisk.study import Study, parse_study
from fedrisk.study.training import Dropout, RoundRecord, TrainingResult

#: Above this, the exponential has no float64.
LARGEST_LOG_ODDS = 700.0
INTENDED = """\
The model estimates the probability of the outcome below for one person, from the features listed.
It is meant for research, planning and evaluation by people who know the study. It is not a medical
device and decides about nobody's care.

**Not for real patients yet.** The sites' sums reach the coordinator unmasked as long as secure
aggregation is not in place; use the software with public, simulated or otherwise releasable data.

Odds ratios and curves are *associations* in the sites' data, adjusted for the other features in
the model; they are not effects of treatment or exposure."""


def model_card(result: TrainingResult) -> str:
    """Write the card of a finished run.

    Parameters
    ----------
    result : TrainingResult

    Returns
    -------
    str
        Markdown.
    """
    study = parse_study(result.model["study"], "model's study")
    sections = {
        "Intended use": INTENDED,
        "Outcome": _outcome(study),
        "Features": _features(result.model),
        "Sites": _sites(result),
        "How it was fitted": _fitted(result, study),
        "How good it is": _quality(result),
        "Who took part in which round": _participation(result),
        "Warnings": "\n".join(f"- {_cell(text)}" for text in result.warnings) or "None.",
        "Versions": _versions(result),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items())
    return f"# {study.title or study.name}\n\n{body}\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    r"""A Markdown table; None is shown as a dash, numbers to four significant digits.

    >>> print(table(["site", "AUROC"], [["north", 0.81234], ["a|b", None]]))
    | site | AUROC |
    | --- | --- |
    | north | 0.8123 |
    | a\|b | - |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if value == round(value) and abs(value) < 1e15 else f"{value:.4g}"
    return " ".join(str(value).split()).replace("|", "\\|")


def _outcome(study: Study) -> str:
    events = ", ".join(str(value) for value in study.positive)
    bands = study.bands
    return (
        f"Column `{study.label}`, an event where it is {events}. Horizon {study.horizon}, "
        f"reporting lag {study.reporting_lag}. Risk is called low below {bands.medium:g}, medium "
        f"from there, high from {bands.high:g}.\n\nStudy `{study.name}`, SHA-256 `{study.hash}`."
    )


def _features(model: Mapping[str, Any]) -> str:
    head = ["column", "unit", "odds ratio", "95 % interval", "centre", "filled with when missing"]
    note = (
        "Odds ratios are for one unit, or against the first level of a category. The interval is "
        "the posterior one of the penalised fit. A column that is constant in the training rows "
        "has no odds ratio."
    )
    return f"{table(head, [_feature_row(column) for column in model['columns']])}\n\n{note}"


def _feature_row(column: Mapping[str, Any]) -> list[object]:
    ratio, interval = None, None
    if not column["constant"]:
        ratio = _ratio(column, 0.0)
        interval = f"{_cell(_ratio(column, -Z95))} to {_cell(_ratio(column, Z95))}"
    return [column["name"], column["unit"], ratio, interval, column["mean"], column["fill"]]


def _ratio(column: Mapping[str, Any], z: float) -> float | None:
    """Odds ratio of one unit, moved by z standard errors; None where it is beyond any number."""
    log_odds = (column["coefficient"] + z * column["standard_error"]) / column["scale"]
    return math.exp(log_odds) if log_odds < LARGEST_LOG_ODDS else None


def _sites(result: TrainingResult) -> str:
    kinds = list(dict.fromkeys(kind for counts in result.rows.values() for kind in counts))
    rows = [[name, *(counts.get(kind) for kind in kinds)] for name, counts in result.rows.items()]
    total = [sum(counts.get(kind, 0) for counts in result.rows.values()) for kind in kinds]
    return table(["site", *kinds], [*rows, ["all", *total]])


def _fitted(result: TrainingResult, study: Study) -> str:
    request = result.request
    options = ", ".join(f"{name} = {value:g}" for name, value in request.options.items())
    return (
        f"Model `{request.model}`, strategy `{request.strategy}`"
        f"{f' ({options})' if options else ''}, penalty {study.penalty:g} on standardised "
        f"coefficients, seed {request.seed}. Rows as of {request.as_of}. "
        f"{len(result.rounds)} rounds in {result.seconds:.1f} s. Run `{request.run_id}`."
    )


def _quality(result: TrainingResult) -> str:
    overall = table(["figure", "value"], result.metrics.items())
    names = list(dict.fromkeys(n for figures in result.per_site.values() for n in figures))
    rows = [[site, *(f.get(name) for name in names)] for site, f in result.per_site.items()]
    return (
        f"On the sites' test rows, all together:\n\n{overall}\n\n"
        "A calibration slope below 1 means risks that are too extreme; an intercept above 0, or "
        "observed/expected above 1, risks that are too low.\n\n"
        f"By site (a dash where a site's test rows do not determine a figure):\n\n"
        f"{table(['site', *names], rows)}"
    )


def _participation(result: TrainingResult) -> str:
    """Who stands behind the figures, who was dropped and why, and who answered each message."""
    sites = dict.fromkeys(site for record in result.rounds for site in record.sites)
    marks = [[site, _span(site, result), _part(site, result)] for site in sites]
    taken = [table(["site", "rounds", "its rows are in"], marks)] if marks else []
    return "\n\n".join([*taken, _dropped(result.dropouts), _rounds(result.rounds)])


def _span(site: str, result: TrainingResult) -> str:
    """The rounds that a site answered, as ranges: a site that is dropped does not come back."""
    numbers = [record.number for record in result.rounds if site in record.sites]
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def _part(site: str, result: TrainingResult) -> str:
    """What a site's rows went into; the design are means, scales and what fills a missing value."""
    # The last summary is the one that counts, where it was asked again about other centres.
    summaries = [(), *(r.sites for r in result.rounds if r.kind == "summary")]
    parts = {
        "design": site in summaries[-1],
        "fit": site in result.rows,
        "evaluation": any(site in r.sites for r in result.rounds if r.kind == "evaluation"),
    }
    return ", ".join(name for name, held in parts.items() if held) or "-"


def _dropped(dropouts: Sequence[Dropout]) -> str:
    if not dropouts:
        return "No site was dropped."
    note = (
        "Dropped from the round on that is named, and not asked again. Means, scales and bins of "
        "the design stay those of every site that answered the summary."
    )
    rows = [[each.site, each.round, each.kind, each.reason] for each in dropouts]
    return f"{note}\n\n{table(['site', 'round', 'asked for', 'reason'], rows)}"


def _rounds(rounds: Sequence[RoundRecord]) -> str:
    head = ["round", "kind", "seconds", "sites"]
    return table(head, [[r.number, r.kind, r.seconds, ", ".join(r.sites)] for r in rounds])


def _versions(result: TrainingResult) -> str:
    return table(["software", "version"], result.versions.items())
