"""Writes a proposed study as TOML, with comments that tell a person what to check."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from fedrisk.sites.drafting.profile import ColumnProfile
from fedrisk.sites.drafting.quantities import quantity
from fedrisk.sites.drafting.rounding import hard_bounds, plausible_range
from fedrisk.sites.labels import label_value

if TYPE_CHECKING:
    from fedrisk.sites.drafting.draft import Proposal

#: A level with fewer rows than this is pointed out.
RARE = 20
#: A number with at most this many distinct values may be a code.
FEW = 6
HEAD = """\
# Drafted from data: a proposal to read and correct, not a contract yet. Check above all
#   - that every feature is known at the moment of prediction (nothing measured or given after it);
#   - units and hard bounds (minimum, maximum): a value outside is an error at a site and refused
#     by the API; plausible ranges only flag;
#   - that every feature means the same at every site.
# docs/study.md lists every key. Then: fedrisk study check --study THIS_FILE --site NAME=FILE ...
"""


def quoted(text: str) -> str:
    r"""Write text as a TOML basic string.

    >>> print(quoted('5" µm'))
    "5\" µm"
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def number(value: float) -> str:
    """Write a number without needless digits.

    >>> number(400.0), number(0.1 + 0.2), number(1e-5)
    ('400', '0.3', '1e-05')
    """
    short = f"{value:.12g}"
    return short if math.isclose(float(short), value, rel_tol=4e-15) else repr(value)


def scalar(text: str) -> str:
    """Write a label's value in the type it seems to have.

    >>> scalar("1"), scalar("true"), scalar("dead")
    ('1', 'true', '"dead"')
    """
    if text in ("true", "false"):
        return text
    value = label_value(text)
    return number(value) if isinstance(value, float) and math.isfinite(value) else quoted(text)


def write_study(proposal: Proposal) -> str:
    """Write the study file."""
    parts = [HEAD, *_head(proposal), "", *_left_out(proposal)]
    for feature in proposal.features:
        parts += ["[[features]]", *_feature(feature), ""]
    return "\n".join(parts).rstrip() + "\n"


def _head(proposal: Proposal) -> list[str]:
    positive = ", ".join(scalar(value) for value in proposal.positive)
    guessed = "   # guessed: check" if proposal.positive_guessed else ""
    share = f"{100 * proposal.prevalence:.2g} % of the labelled rows"
    return [
        f"name = {quoted(proposal.name)}",
        'title = ""',
        f"label = {quoted(proposal.label)}",
        f"positive = [{positive}]{guessed}",
        *_role("id", proposal.id, proposal, "keeps the rows of one person on one side"),
        *_role("time", proposal.time, proposal, "when a row's features were known"),
        *_maturity(proposal),
        *_role("split", None, proposal, "train or test; otherwise a hash decides"),
        "test_fraction = 0.2",
        *_subgroups(proposal),
        f"# Events are {share}. Medium begins there, high at three times that.",
        f"bands = {{ medium = {number(proposal.bands[0])}, high = {number(proposal.bands[1])} }}",
        "penalty = 1.0",
    ]


def _role(role: str, given: str | None, proposal: Proposal, meaning: str) -> list[str]:
    if given is not None:
        return [f"{role} = {quoted(given)}"]
    guess = proposal.suggested.get(role)
    return [] if guess is None else [f"# {role} = {quoted(guess)}   # looks like it: {meaning}"]


def _maturity(proposal: Proposal) -> list[str]:
    if proposal.time is None and "time" not in proposal.suggested:
        return []
    return [
        '# horizon = "30d"         # the label is known this long after time ...',
        '# reporting_lag = "14d"   # ... plus this; younger rows are left out',
    ]


def _subgroups(proposal: Proposal) -> list[str]:
    names = [
        feature.name
        for feature in proposal.features
        if feature.kind == "category" and feature.name.lower() in ("sex", "gender")
    ]
    return [f"subgroups = [{', '.join(map(quoted, names))}]"] if names else []


def _left_out(proposal: Proposal) -> list[str]:
    if not proposal.left_out:
        return []
    lines = [f"#   {quoted(name)} {why}" for name, why in proposal.left_out.items()]
    return ["# Columns that are no features here:", *lines, ""]


def _feature(feature: ColumnProfile) -> list[str]:
    lines = [f"name = {quoted(feature.name)}", f"kind = {quoted(feature.kind)}"]
    lines += _levels(feature) if feature.kind == "category" else _range(feature)
    if feature.missing:
        lines.append('missing = "allow"')
    return lines


def _levels(feature: ColumnProfile) -> list[str]:
    levels = ", ".join(quoted(value) for value, _ in feature.values)
    rare = [quoted(value) for value, rows in feature.values if rows < RARE]
    note = [f"# in fewer than {RARE} rows: {', '.join(rare)}"] if rare else []
    return [f"levels = [{levels}]   # the first is the reference", *note]


def _range(feature: ColumnProfile) -> list[str]:
    known = quantity(feature.name)
    low, high = hard_bounds(feature.low, feature.high)
    notes: list[str] = []
    if known is None:
        notes.append('unit = ""   # which?')
    elif known.minimum <= feature.low and feature.high <= known.maximum:
        low, high = known.minimum, known.maximum
        notes.append(f"unit = {quoted(known.unit)}")
    else:
        possible = f"{number(known.minimum)} to {number(known.maximum)} {known.unit}"
        mostly = known.minimum <= feature.usual[0] and feature.usual[1] <= known.maximum
        unit, doubt = (known.unit, "errors?") if mostly else ("", "another unit?")
        notes.append(f"unit = {quoted(unit)}   # values lie outside {possible}: {doubt}")
    if feature.distinct <= FEW:
        notes.append(f"# only {feature.distinct} different values: a category?")
    lines = [*notes]
    lines += [] if low is None else [f"minimum = {number(low)}"]
    lines += [] if high is None else [f"maximum = {number(high)}"]
    return lines + _plausible(feature, low, high)


def _plausible(feature: ColumnProfile, low: float | None, high: float | None) -> list[str]:
    usual = plausible_range(*feature.usual)
    if usual is None:
        return []
    first = usual[0] if low is None else max(usual[0], low)
    last = usual[1] if high is None else min(usual[1], high)
    if not float(number(first)) < float(number(last)):
        return []
    return [f"plausible = [{number(first)}, {number(last)}]"]
