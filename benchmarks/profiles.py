"""Print how long a million rows take to profile beside Evidently, and a thousand profiles to merge.

Evidently's drift preset judges the same million rows against another million in the same process.
`--quick` leaves it out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from fedrisk.profiles.counting import profile_columns
from fedrisk.profiles.reference import Reference, merge
from fedrisk.profiles.site_window import SiteWindow
from fedrisk.study import CategoryFeature, NumberFeature, Study
from fedrisk.study.records import Columns, FloatArray

#: A year of four sites with a hundred people each.
BLOCKS, BLOCK_ROWS = 212, 700
ROWS, SITES = 1_000_000, 1_000
NAMES = ["pulse", "steps", "sleep", "breath", "heat", "pm25", "pm10", "o3", "no2", "weather"]
STUDY = Study(
    name="bench",
    label="ill",
    positive=(1,),
    features=(
        *(NumberFeature(name=name, minimum=0, maximum=200) for name in NAMES),
        CategoryFeature(name="sex", kind="category", levels=("f", "m"), missing="allow"),
    ),
)


def make_columns(seed: int) -> Columns:
    """Ten numbers, one in fifty missing in one of them, and a category."""
    random = np.random.default_rng(seed)
    columns = {name: np.clip(random.normal(90, 25, ROWS), 0, 200) for name in NAMES}
    columns["pm25"][random.random(ROWS) < 0.02] = np.nan
    return columns | {"sex": random.integers(-1, 2, ROWS).astype(np.int32)}


def seconds(work: Callable[[], object], times: int) -> float:
    """The shortest of several tries."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def evidently(columns: Columns, others: Columns) -> float:
    """Seconds of Evidently's drift preset, both data sets already in data frames."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    about = DataDefinition(numerical_columns=NAMES, categorical_columns=["sex"])
    current, reference = (
        Dataset.from_pandas(pd.DataFrame(dict(each)), data_definition=about)
        for each in (columns, others)
    )
    return seconds(lambda: Report([DataDriftPreset()]).run(current, reference), 1)


def show_reference(columns: Columns, risks: FloatArray) -> None:
    """Print how large a year of four sites is as a document, and how long it takes to read."""
    monday, blocks = datetime(2025, 1, 6, tzinfo=UTC), []
    for number in range(BLOCKS):
        chosen = slice(number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS)
        part = {name: values[chosen] for name, values in columns.items()}
        profile = profile_columns(STUDY, part, risks[chosen])
        blocks.append(SiteWindow("north", monday, monday, profile, 100.0, 7.0))
    text = json.dumps(Reference(STUDY.hash, tuple(blocks)).document())
    parse = seconds(lambda: json.loads(text), 5)
    read = seconds(lambda: Reference.from_document(json.loads(text)), 5)
    print(
        f"reference of {BLOCKS} blocks of {BLOCK_ROWS} rows: {len(text) / 1e3:,.0f} kB; "
        f"parsed as JSON in {parse * 1e3:.1f} ms, read with its counts in {read * 1e3:.0f} ms"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave Evidently out")
    quick = parser.parse_args().quick
    columns = make_columns(0)
    risks = np.random.default_rng(1).random(ROWS)
    own = seconds(lambda: profile_columns(STUDY, columns, risks), 5)
    print(f"profile of {ROWS:,} rows x {len(STUDY.features)} features: {own:.3f} s (at most .6 s)")
    profile = profile_columns(STUDY, columns, risks)
    merged = seconds(lambda: merge([profile] * SITES), 5)
    print(f"merge of {SITES:,} profiles: {merged:.3f} s (at most 1 s)")
    show_reference(columns, risks)
    if not quick:
        other = evidently(columns, make_columns(2))
        print(f"Evidently's drift preset: {other:.1f} s, {other / own:,.0f} times as long (100)")


if __name__ == "__main__":
    main()
