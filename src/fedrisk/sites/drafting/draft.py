"""Proposes a study from what the sites' files hold, and proves that it fits them."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from fedrisk.errors import DataError, UsageError
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.drafting.profile import ColumnProfile, count_values, profile, read_tables
from fedrisk.sites.drafting.rounding import risk_bands
from fedrisk.sites.drafting.toml import write_study
from fedrisk.sites.labels import label_value
from fedrisk.sites.validation import missing_column
from fedrisk.study import Study, parse_study
from fedrisk.study.columns import Column
from fedrisk.study.features import LARGEST

EVENT_WORDS = ("1", "true", "yes", "y", "dead", "died", "death", "event", "case", "positive", "pos")
_ID = re.compile(r"(.*[_ .-])?(id|uid|pid|mrn|code)|(patient|person|subject|participant|user)")
_SPLIT = ("split", "fold", "set", "partition")


@dataclass(frozen=True)
class Wishes:
    """What the person said about the study; None where it is to be guessed or left out."""

    label: str
    positive: Sequence[str] = ()
    id: str | None = None
    time: str | None = None
    name: str | None = None


@dataclass
class Proposal:
    """A study before it is written: what is set, what is only suggested, what is left out."""

    name: str
    label: str
    positive: list[str]
    positive_guessed: bool
    prevalence: float
    bands: tuple[float, float]
    id: str | None
    time: str | None
    suggested: dict[str, str] = field(default_factory=dict)
    features: list[ColumnProfile] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Draft:
    """A drafted study: the text for people, and the study it holds."""

    text: str
    study: Study
    proposal: Proposal


def draft_study(files: Mapping[str, Path], wishes: Wishes, as_of: datetime) -> Draft:
    """Draft a study from the files of several sites.

    Parameters
    ----------
    files : mapping of site to path
        At least one.
    wishes : Wishes
    as_of : datetime
        When the data are looked at.

    Raises
    ------
    DataError
        When a file cannot be read, or the label has one class.
    UsageError
        When a named column is not in every file, or what counts as an event must be said.
    """
    tables, unshared = read_tables(files)
    names = next(iter(tables.values())).column_names
    for wanted in (wishes.label, wishes.id, wishes.time):
        if wanted is not None and wanted not in names:
            raise UsageError(f"column {wanted!r} {missing_column(wanted, names)}")
    columns = {name: [Column(table[name]) for table in tables.values()] for name in names}
    proposal = _propose_label(columns[wishes.label], wishes)
    proposal.left_out = dict.fromkeys(unshared, "is not in every file")
    roles = (wishes.label, wishes.id, wishes.time)
    for name in names:
        if name not in roles:
            _place(profile(name, columns[name]), proposal)
    if not proposal.features:
        raise DataError("no column of the files can be a feature", hint=_reasons(proposal))
    text = write_study(proposal)
    study = parse_study(tomllib.loads(text), "draft")
    for site, path in files.items():
        load_cohort(study, site, path, as_of)
    return Draft(text, study, proposal)


def _reasons(proposal: Proposal) -> str:
    return "; ".join(f"{name!r} {why}" for name, why in proposal.left_out.items())


def _propose_label(columns: Sequence[Column], wishes: Wishes) -> Proposal:
    counts = count_values(columns)
    if len(counts) < 2:
        raise DataError(
            f"label {wishes.label!r} has {'one value only' if counts else 'no value'}",
            hint="a model needs events and rows without one",
        )
    positive = list(wishes.positive) or [_guess_event(counts, wishes.label)]
    wanted = {label_value(text) for text in positive}
    events = sum(rows for value, rows in counts.items() if label_value(value) in wanted)
    if events in (0, counts.total()):
        raise UsageError(
            f"--positive {' '.join(positive)}: "
            f"{'no row' if events == 0 else 'every row'} of label {wishes.label!r} has it",
            hint=_values_hint(counts),
        )
    prevalence = events / counts.total()
    name = wishes.name or re.sub(r"[^A-Za-z0-9._-]+", "-", wishes.label).strip("-._") or "study"
    return Proposal(
        name=name,
        label=wishes.label,
        positive=positive,
        positive_guessed=not wishes.positive,
        prevalence=prevalence,
        bands=risk_bands(prevalence),
        id=wishes.id,
        time=wishes.time,
    )


def _values_hint(counts: Counter[str]) -> str:
    if len(counts) > 10:
        return f"it has {len(counts)} different values"
    return "its values are " + ", ".join(sorted(counts))


def _guess_event(counts: Counter[str], label: str) -> str:
    if len(counts) != 2:
        raise UsageError(
            f"label {label!r} has {len(counts)} different values: which of them are events?",
            hint=f"say it with --positive; {_values_hint(counts)}",
        )
    known = [value for value in counts if value.lower() in EVENT_WORDS]
    return known[0] if len(known) == 1 else counts.most_common()[-1][0]


def _place(column: ColumnProfile, proposal: Proposal) -> None:
    """Make a column a feature, a suggestion, or neither, and say why."""
    lower = column.name.strip().lower()
    reasons = {
        "constant": "has one value only",
        "empty": "has no value",
        "text": f"has {column.distinct} different texts: an identifier or free text",
        "site": "has one value at each site: it names the site",
        "not finite": "holds values that are not finite",
        "too large": f"holds values larger than {LARGEST:g} in size",
        "time": "holds dates or times",
    }
    if _ID.fullmatch(lower):
        _suggest("id", column.name, "looks like an identifier", proposal)
    elif lower in _SPLIT and {value for value, _ in column.values} == {"train", "test"}:
        _suggest("split", column.name, "looks like a split", proposal)
    elif column.kind == "time":
        _suggest("time", column.name, reasons["time"], proposal)
    elif column.kind in reasons or not lower:
        proposal.left_out[column.name] = reasons.get(column.kind, "has no name")
    else:
        proposal.features.append(column)


def _suggest(role: str, name: str, why: str, proposal: Proposal) -> None:
    given = {"id": proposal.id, "time": proposal.time}.get(role)
    if given is None:
        proposal.suggested.setdefault(role, name)
    proposal.left_out[name] = why
