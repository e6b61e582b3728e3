"""What three gates say where high scores lead to care, and care averts events.

``python benchmarks/gate_treated.py [--repeats N]`` judges a challenger that learnt the altered
outcomes, and one that is better, by a gate that trusts outcomes, by ours on all rows, and by ours
on untreated rows alone, and prints a table in Markdown.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np
from gate import NOW, SITES, STUDY, calibrated, world

from fedrisk.models.comparison import ComparedRows, compare_rows
from fedrisk.models.comparison.rows import band_codes
from fedrisk.models.logistic import expit
from fedrisk.retraining.gate import judge_gate
from fedrisk.retraining.margins import Margins, Spending

#: Share of rows at high risk that are treated, and of their events that care averts.
ACTED, AVERTED = 0.85, 0.8
#: Rows at each site: about a thousand events at all sites without care.
ROWS = 4_200
GATES = {
    "trusts outcomes": (Margins(treated_share=1.0), False),
    "ours, all rows": (Margins(), False),
    "ours, untreated rows": (Margins(), True),
}
CHALLENGERS = ("learnt the altered outcomes", "better")


def site(rng: np.random.Generator, challenger: str) -> ComparedRows:
    """Rows of one site after a champion has been acted upon."""
    drawn = world(rng, ROWS)
    champion = calibrated(drawn.signal, 0.55, drawn.common)
    high = band_codes(champion, STUDY.bands) == 2
    treated = high & (rng.random(ROWS) < ACTED)
    events = drawn.events & ~(treated & (rng.random(ROWS) < AVERTED))
    if challenger == "better":
        other = calibrated(drawn.signal, 0.2, drawn.common)
    else:
        risk = expit(champion) * np.where(high, 1 - ACTED * AVERTED, 1.0)
        other = np.log(risk) - np.log1p(-risk)
    return ComparedRows.of(
        STUDY,
        {"x": drawn.signal, "sex": drawn.sex},
        events,
        np.stack([champion, other]),
        treated=treated,
        people=drawn.people,
        times=np.datetime64("2023-06-01") + drawn.days,
    )


def verdicts(challenger: str, repeats: int) -> dict[str, Counter[str]]:
    """What each gate says, how often."""
    told = {gate: Counter[str]() for gate in GATES}
    for seed in range(repeats):
        rng = np.random.default_rng(seed)
        sites = {f"site-{k}": site(rng, challenger) for k in range(SITES)}
        for gate, (margins, untreated) in GATES.items():
            asked = {name: replace(rows, untreated=untreated) for name, rows in sites.items()}
            comparison = compare_rows(STUDY, ("champion", "challenger"), asked)
            told[gate][judge_gate(comparison, STUDY, margins, Spending(), NOW).verdict] += 1
    return told


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=100)
    repeats = parser.parse_args().repeats
    answers = ("pass", "refuse", "insufficient evidence", "not identifiable")
    print(
        f"| challenger | gate | {' | '.join(answers)} |\n| --- | --- |" + " ---: |" * len(answers)
    )
    for challenger in CHALLENGERS:
        for gate, told in verdicts(challenger, repeats).items():
            shares = " | ".join(f"{told[answer] / repeats:.0%}" for answer in answers)
            print(f"| {challenger} | {gate} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
