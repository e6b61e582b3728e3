from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.sites.cohort import Cohort, load_cohort
from fedrisk.sites.overview import overview, warnings
from fedrisk.study import Study

Load = Callable[[str, list[str]], Cohort]


@pytest.fixture
def split_study(make_study: Callable[..., Study]) -> Study:
    return make_study(split="fold")


@pytest.fixture
def load(split_study: Study, tmp_path: Path) -> Load:
    def from_rows(site: str, rows: list[str]) -> Cohort:
        path = tmp_path / f"{site}.csv"
        path.write_text("\n".join(["age,pulse,sex,ill,fold", *rows]) + "\n", encoding="utf-8")
        return load_cohort(split_study, site, path, datetime(2025, 1, 1, tzinfo=UTC))

    return from_rows


GOOD = ["50,70,male,1,train", "60,80,female,0,train", "55,,male,1,test", "56,200,,0,test"]


def test_counts(load: Load) -> None:
    found = overview(load("north", [*GOOD, "57,,male,,train"]))
    assert (found.rows, found.usable, found.unlabelled) == (5, 4, 1)
    assert (found.events, found.train_events, found.test_events) == (2, 1, 1)
    assert found.missing == {"age": 0, "pulse": 1, "sex": 1}
    assert found.implausible == {"pulse": 1}


def test_nothing_to_warn_of(split_study: Study, load: Load) -> None:
    assert warnings(split_study, [load("north", GOOD)]) == []


@pytest.mark.parametrize(("label", "which"), [("0", "no"), ("1", "every")])
def test_a_label_with_one_class(split_study: Study, load: Load, label: str, which: str) -> None:
    rows = [f"{40 + i},{70 + i},{'male' if i % 2 else 'female'},{label},train" for i in range(4)]
    said = warnings(split_study, [load("north", rows)])
    assert f"{which} training row is an event" in said[0]
    assert "one class in its training rows" in said[1]
    assert "0 test events" in said[2]


def test_one_class_at_one_site_is_no_matter_of_the_whole(split_study: Study, load: Load) -> None:
    healthy = [row.replace(",1,", ",0,") for row in GOOD]
    assert warnings(split_study, [load("north", GOOD), load("south", healthy)]) == [
        "site 'south': label has one class in its training rows",
        "site 'south' has 0 test events: it has no AUROC of its own",
    ]


def test_a_feature_is_constant_only_if_it_is_over_all_sites(split_study: Study, load: Load) -> None:
    old = [f"80,{row.partition(',')[2]}" for row in GOOD]
    young = [f"20,{row.partition(',')[2]}" for row in GOOD]
    assert warnings(split_study, [load("a", old), load("b", young)]) == []
    assert warnings(split_study, [load("a", old), load("b", old)]) == [
        "feature 'age' is constant over all sites: it will be fitted as zero"
    ]


def test_one_level_only_and_nothing_but_missing(split_study: Study, load: Load) -> None:
    rows = [f"{row.split(',')[0]},,male,{row.split(',', 3)[3]}" for row in GOOD]
    assert [text.split(" is ")[0] for text in warnings(split_study, [load("a", rows)])] == [
        "feature 'pulse'",
        "feature 'sex'",
    ]


def test_a_level_that_no_row_has(make_study: Callable[..., Study], tmp_path: Path) -> None:
    stage = {"name": "stage", "kind": "category", "levels": ["I", "II", "III"]}
    study = make_study(features=[stage], split="fold")
    path = tmp_path / "a.csv"
    path.write_text("stage,ill,fold\nI,0,train\nII,1,train\nIII,1,test\n", encoding="utf-8")
    cohort = load_cohort(study, "a", path, datetime(2025, 1, 1, tzinfo=UTC))
    assert warnings(study, [cohort]) == ["feature 'stage': no training row has III"]


def test_sites_without_usable_or_training_rows(split_study: Study, load: Load) -> None:
    said = warnings(
        split_study, [load("a", GOOD), load("b", ["50,70,male,,train"]), load("c", GOOD[2:])]
    )
    assert said == ["site 'b' has no usable row", "site 'c' has no training row"]
