"""How often the gate passes a better, an equal and a worse challenger, by number of events.

``python benchmarks/gate.py [--repeats N] [--events 100 200 ...] [--processes N]`` simulates rows at
four sites, of people and days whose rows resemble each other, has every pair of models judged, and
prints tables in Markdown. The truth of each challenger is told beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import repeat

import numpy as np

from fedrisk.models.comparison import ComparedRows, compare_rows
from fedrisk.models.logistic import expit
from fedrisk.models.metrics import delong
from fedrisk.retraining.gate import judge_gate
from fedrisk.retraining.margins import Margins, Spending
from fedrisk.study import Study, parse_study
from fedrisk.study.records import FloatArray

NOW = datetime(2024, 6, 1, tzinfo=UTC)
PREVALENCE, DAYS, SITES = 0.06, 300, 4
STUDY: Study = parse_study(
    {
        "name": "simulated-gate",
        "label": "event",
        "positive": [1],
        "id": "person",
        "time": "day",
        "treated": "acted",
        "subgroups": ["sex"],
        "bands": {"medium": 0.06, "high": 0.15},
        "features": [
            {"name": "x", "kind": "number"},
            {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        ],
    }
)


@dataclass(frozen=True)
class Challenger:
    """How a challenger differs from the champion, whose noise is `CHAMPION_NOISE`.

    Attributes
    ----------
    title : str
    noise : float
        Noise in its score, in standard deviations of the signal.
    shift, slope : float
        What its calibrated log-odds are moved and stretched by.
    site_noise, summer_shift : float
        Noise at the first site instead, and shift in summer alone.
    shared : float
        Share of the noise's variance that champion and challenger have in common.
    """

    title: str
    noise: float
    shift: float = 0.0
    slope: float = 1.0
    site_noise: float | None = None
    summer_shift: float = 0.0
    shared: float = 0.5


CHAMPION_NOISE = 0.8
CHALLENGERS = (
    Challenger("much better", 0.3),
    Challenger("better", 0.55),
    Challenger("a little better", 0.7),
    Challenger("equal", 0.8),
    Challenger("a little worse", 0.9),
    Challenger("worse by the margin", 1.03),
    Challenger("worse", 1.25),
    Challenger("better, risks 1.5 times too high", 0.55, shift=0.45),
    Challenger("better, slope 0.6", 0.55, slope=1 / 0.6),
    Challenger("much better, noise at one of four sites", 0.3, site_noise=1.5),
    Challenger("better, risks halved in summer", 0.55, summer_shift=-0.8),
)


@dataclass(frozen=True)
class World:
    """Rows of one repeat: what is true, and what both models' noise is made of."""

    signal: FloatArray
    common: FloatArray
    events: np.ndarray[tuple[int], np.dtype[np.bool_]]
    people: np.ndarray[tuple[int], np.dtype[np.int64]]
    days: np.ndarray[tuple[int], np.dtype[np.int64]]
    sex: np.ndarray[tuple[int], np.dtype[np.int32]]
    own: FloatArray


def intercept() -> float:
    """Log-odds at which signal, person and day together give the prevalence."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    spread = np.sqrt(1 + 0.5**2 + 0.2**2)
    low, high = -12.0, 0.0
    for _ in range(60):
        middle = (low + high) / 2
        mean = float(weights @ expit(middle + spread * nodes) / weights.sum())
        low, high = (middle, high) if mean < PREVALENCE else (low, middle)
    return low


BASE = intercept()


def world(rng: np.random.Generator, rows: int) -> World:
    """Rows of one site: 30 a person; people and days have their own log-odds."""
    persons = max(rows // 30, 2)
    people, days = rng.integers(0, persons, rows), rng.integers(0, DAYS, rows)
    # Half of the signal's variance is a person's own, as of age; half changes from day to day.
    signal = np.sqrt(0.5) * (rng.normal(size=persons)[people] + rng.normal(size=rows))
    hidden = 0.5 * rng.normal(size=persons)[people] + 0.2 * rng.normal(size=DAYS)[days]
    noise = np.sqrt(0.5) * (rng.normal(size=(3, persons))[:, people] + rng.normal(size=(3, rows)))
    events = rng.random(rows) < expit(BASE + signal + hidden)
    sex = rng.integers(0, 2, persons).astype(np.int32)[people]
    return World(signal, noise[0], events, people, days, sex, noise[1:])


def calibrated(signal: FloatArray, noise: float | FloatArray, drawn: FloatArray) -> FloatArray:
    """Log-odds of a model that sees the signal through noise: shrunken as a fit would shrink it."""
    share = 1 / (1 + np.square(noise))
    unseen = (1 - share) + 0.5**2 + 0.2**2
    seen = share * (signal + noise * drawn)
    # A mean of logistic functions over what is unseen (MacKay, Neural Computation 1992;4:720).
    return np.asarray((BASE + seen) / np.sqrt(1 + np.pi / 8 * unseen))


def site(rng: np.random.Generator, rows: int, kind: Challenger, first: bool) -> ComparedRows:
    """Rows of one site, scored by champion and challenger."""
    drawn = world(rng, rows)
    common, rest = np.sqrt(kind.shared), np.sqrt(1 - kind.shared)
    noise = kind.site_noise if first and kind.site_noise is not None else kind.noise
    champion = calibrated(drawn.signal, CHAMPION_NOISE, common * drawn.common + rest * drawn.own[0])
    # A site's own noise is unknown to the fit, which shrinks scores as the others' noise demands.
    worse = drawn.signal + noise * (common * drawn.common + rest * drawn.own[1])
    share = 1 / (1 + kind.noise**2)
    unseen = (1 - share) + 0.5**2 + 0.2**2
    challenger = (BASE + share * worse) / np.sqrt(1 + np.pi / 8 * unseen)
    times = np.datetime64("2023-06-01") + drawn.days
    summer = np.isin(times.astype("datetime64[M]").astype(int) % 12, (5, 6, 7))
    centre = champion.mean()
    challenger = centre + kind.slope * (challenger - centre) + kind.shift
    challenger = challenger + kind.summer_shift * summer
    return ComparedRows.of(
        STUDY,
        {"x": drawn.signal, "sex": drawn.sex},
        drawn.events,
        np.stack([champion, challenger]),
        people=drawn.people,
        times=times,
    )


#: The default margins, and those that a challenger meets by being no worse.
MARGINS = {"default": Margins(), "no worse is enough": Margins(improvement="none")}


def answer(kind: Challenger, events: int, seed: int) -> list[tuple[str, str]]:
    """Verdicts on one comparison, by each of `MARGINS`, with the first check that was not met."""
    rng = np.random.default_rng([seed, events])
    rows = round(events / PREVALENCE / SITES)
    sites = {f"site-{k}": site(rng, rows, kind, k == 0) for k in range(SITES)}
    comparison = compare_rows(STUDY, ("champion", "challenger"), sites)
    # Chance leaves half of the repeats below 100 events; all are judged.
    enough = replace(comparison, effective_events=max(comparison.effective_events, 100.0))
    told = []
    for name, margins in MARGINS.items():
        judged = judge_gate(enough, STUDY, margins, Spending(), NOW)
        unmet = [each for each in judged.checks if each.outcome in ("fail", "undecided")]
        unmet.sort(key=lambda each: each.outcome != "fail")
        told.append((f"{name}: {judged.verdict}", unmet[0].name.split(" ")[0] if unmet else ""))
    return told


def answers(kind: Challenger, events: int, seeds: Sequence[int]) -> Counter[tuple[str, str]]:
    """Verdicts of several gates."""
    return Counter(told for seed in seeds for told in answer(kind, events, seed))


def truth(kind: Challenger) -> float:
    """The challenger's AUROC less the champion's, on many rows."""
    rng = np.random.default_rng(0)
    rows = [site(rng, 100_000, kind, k == 0) for k in range(SITES)]
    logits = np.hstack([each.logits for each in rows])
    events = np.concatenate([each.events for each in rows])
    return delong(logits[1], events)[0] - delong(logits[0], events)[0]


def share(counted: Counter[tuple[str, str]], verdict: str, repeats: int) -> float:
    """Share of gates with a verdict."""
    return sum(times for (told, _), times in counted.items() if told == verdict) / repeats


def row(
    kind: Challenger, difference: float, counts: list[Counter[tuple[str, str]]], name: str, of: int
) -> str:
    """A line of a table: shares of gates that pass and that refuse, by number of events."""
    cells = [
        " / ".join(f"{share(each, f'{name}: {verdict}', of):.0%}" for verdict in ("pass", "refuse"))
        for each in counts
    ]
    return f"| {kind.title} | {difference:+.3f} | {' | '.join(cells)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--events", type=int, nargs="+", default=[100, 300, 1_000, 3_000])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--why", action="store_true", help="what was not met, on standard error")
    options = parser.parse_args()
    chunks = [range(at, options.repeats, 10) for at in range(10)]
    lines: dict[str, list[str]] = {name: [] for name in MARGINS}
    with ProcessPoolExecutor(options.processes) as pool:
        for kind, difference in zip(CHALLENGERS, pool.map(truth, CHALLENGERS), strict=True):
            counted = []
            for events in options.events:
                parts = pool.map(answers, repeat(kind), repeat(events), chunks)
                counted.append(sum(parts, Counter[tuple[str, str]]()))
                if options.why:
                    print(
                        kind.title, events, counted[-1].most_common(6), file=sys.stderr, flush=True
                    )
            for name, table in lines.items():
                table.append(row(kind, difference, counted, name, options.repeats))
    heads = "".join(f" {events:,} events |" for events in options.events)
    print("Share of gates that pass / that refuse; the rest find too little evidence.")
    for name, table in lines.items():
        print(f"\nMargins: {name}\n\n| challenger | true AUROC difference |{heads}")
        print("| --- | ---: |" + " ---: |" * len(options.events))
        print("\n".join(table))


if __name__ == "__main__":
    main()
