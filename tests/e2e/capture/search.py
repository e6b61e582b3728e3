"""Look for people in what a site sent: ids, values and their products, small counts, paths."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np

from fedrisk.study.records import FloatArray

from .sent import Numbers, Sent

#: By name, what each feature's numbers are taken from and divided by.
Frames = Mapping[str, Mapping[str, tuple[float, float]]]

#: Numbers that are small and no counts of people, with the reason.
NO_COUNTS = {
    "site_evaluation/defined": "whether there is an AUROC: 0 or 1",
    "egress/sequence": "how many answers have left the site",
    "window_counts/days": "on how many days there are rows",
    "window_counts/withheld": "whether a window is told: 0 or 1",
    "window_counts/moments": "sums of fractions, at most 1 a row",
}
#: Outcomes of people in a group, of which fewer may be than people in it; and the group's rows.
OUTCOMES, GROUPS = "evaluation_sums/bin_events", "evaluation_sums/bin_rows"
#: Every such pair.
OUTCOMES_OF = {OUTCOMES: GROUPS, "window_counts/events": "window_counts/labelled"}
#: Two numbers this close, relatively, are taken for the same.
CLOSE = 1e-9


@dataclass(frozen=True)
class Canary:
    """A person made to be found.

    Attributes
    ----------
    id : str
        As in the file.
    values : mapping of feature to float
        Numbers that nobody else has.
    """

    id: str
    values: Mapping[str, float]

    def needles(self) -> dict[str, bytes]:
        """Patterns of the id and of each number as they could stand in bytes."""
        return {what: re.escape(plain) for what, plain in self._plain().items()} | {
            # With no digit before it: in the fraction of a time of day stand ten thousand others.
            f"{name} rounded": rb"(?<![0-9])" + re.escape(f"{value:.4f}".encode())
            for name, value in self.values.items()
        }

    def _plain(self) -> dict[str, bytes]:
        found = {f"id {self.id}": self.id.encode()}
        for name, value in self.values.items():
            found[f"{name} as text"] = repr(value).encode()
            for kind, form in (
                ("double", "<d"),
                ("double", ">d"),
                ("float", "<f"),
                ("float", ">f"),
            ):
                found[f"{name} as {form[0]}{kind}"] = struct.pack(form, value)
        return found

    def combinations(self, frames: Frames) -> dict[str, float]:
        """Numbers, squares and products of two, as they are and in each frame."""
        found: dict[str, float] = {}
        for frame, scale in {"": {}, **frames}.items():
            group = {}
            for name, value in self.values.items():
                origin, width = scale.get(name, (0.0, 1.0))
                group[f"{frame} {name}".strip()] = (value - origin) / width
            found |= group
            for one, other in combinations_with_replacement(group, 2):
                found[f"{one} * {other}"] = group[one] * group[other]
        return found


def leaks(
    sent: Sent,
    canaries: Sequence[Canary],
    frames: Frames,
    paths: Iterable[Path],
    least: int,
    outcomes: int,
) -> set[str]:
    """Kinds of what was found of people in what was sent; empty is what a site promises.

    Parameters
    ----------
    sent : Sent
    canaries : sequence of Canary
    frames : mapping of name to mapping of feature to origin and width
        What numbers are taken from and divided by before they are summed.
    paths : iterable of Path
        Files and folders of the site.
    least : int
        Counts of people below this, other than zero, are small groups.
    outcomes : int
        So are events below this, and people without the event, within a group of scores.
    """
    found = _in_bytes(sent, canaries, paths)
    for numbers in sent.numbers:
        found |= _in_numbers(numbers, canaries, frames) | _small_counts(numbers, least)
        found |= _few_outcomes(numbers, outcomes)
    return found


def _in_bytes(sent: Sent, canaries: Sequence[Canary], paths: Iterable[Path]) -> set[str]:
    places = [sent.everything, *sent.objects.values()]
    needles = {f"path {path.name}": re.escape(str(path).encode()) for path in paths}
    for canary in canaries:
        needles |= canary.needles()
    return {what for what, needle in needles.items() if any(re.search(needle, p) for p in places)}


def _in_numbers(numbers: Numbers, canaries: Sequence[Canary], frames: Frames) -> set[str]:
    found = set()
    people = {what: n for one in canaries for what, n in _named(one, frames)}
    for name, array in numbers.items():
        for how, values in _looks(np.asarray(array, np.float64)).items():
            for (what, _), number in people.items():
                if np.any(np.abs(np.abs(values) - abs(number)) <= CLOSE * abs(number)):
                    found.add(f"{what}{how} in {name}")
    return found


def _named(canary: Canary, frames: Frames) -> Iterable[tuple[tuple[str, str], float]]:
    return (((what, canary.id), n) for what, n in canary.combinations(frames).items())


def _looks(array: FloatArray) -> dict[str, FloatArray]:
    """The numbers, and each line's by its first, which takes away the weight of a row."""
    if array.ndim == 0 or array.shape[-1] < 2:
        return {"": array.ravel()}
    lines = array.reshape(-1, array.shape[-1])
    with np.errstate(all="ignore"):
        ratios = (lines / lines[:, :1])[:, 1:]
    return {"": array.ravel(), ", weighted,": ratios[np.isfinite(ratios)]}


def _small_counts(numbers: Numbers, least: int) -> set[str]:
    found = set()
    for name, array in numbers.items():
        if name not in NO_COUNTS and name not in OUTCOMES_OF and _any_below(array, least):
            found.add(f"count below {least} in {name}")
    return found


def _few_outcomes(numbers: Numbers, least: int) -> set[str]:
    found = set()
    for outcomes, groups in OUTCOMES_OF.items():
        if outcomes in numbers:
            events = np.asarray(numbers[outcomes])
            counts = {"events": events, "non-events": np.asarray(numbers[groups]) - events}
            found |= {what for what, n in counts.items() if _any_below(n, least)}
    return {f"{what} below {least} in a group" for what in found}


def _any_below(array: np.ndarray, least: int) -> bool:
    values = np.asarray(array, np.float64).ravel()
    small = (values == np.round(values)) & (values >= 1) & (values < least)
    return bool(small.any())
