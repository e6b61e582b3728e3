from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.errors import DataError
from fedrisk.sites.cohort import Cohort, load_cohort
from fedrisk.study import Study, parse_study
from fedrisk.study.features import LARGEST

NOW = datetime(2025, 1, 1, tzinfo=UTC)
HEADER = "age,pulse,sex,ill"
GUSTO = Path(__file__).parents[3] / "shared" / "data" / "gusto_regions" / "gusto.csv.gz"


def same(first: Cohort, second: Cohort) -> None:
    assert first.counts == second.counts
    np.testing.assert_array_equal(first.events, second.events)
    np.testing.assert_array_equal(first.test, second.test)
    assert list(first.columns) == list(second.columns)
    for name, values in first.columns.items():
        assert values.dtype == second.columns[name].dtype
        np.testing.assert_array_equal(values, second.columns[name])


def test_columns_events_and_missing_values(study: Study, csv_file: Callable[[str], Path]) -> None:
    path = csv_file(f"{HEADER},more\n50,70,male,1,x\n51.5,,NA,0,y\n52,80,female,,z\n")
    cohort = load_cohort(study, "north", path, NOW)
    np.testing.assert_equal(cohort.columns["age"], [50, 51.5])
    np.testing.assert_equal(cohort.columns["pulse"], [70, np.nan])
    np.testing.assert_equal(cohort.columns["sex"], [1, -1])
    assert list(cohort.columns) == ["age", "pulse", "sex"]
    assert cohort.columns["sex"].dtype == np.int32
    assert cohort.events.tolist() == [True, False]
    assert (cohort.counts.rows, cohort.counts.usable, cohort.counts.unlabelled) == (3, 2, 1)


def test_parts_hold_every_usable_row_once(
    make_study: Callable[..., Study], csv_file: Callable[[str], Path]
) -> None:
    study = make_study(split="fold", id="who")
    text = f"{HEADER},fold,who\n1,70,male,1,test,a\n2,70,male,0,train,b\n3,70,male,0,test,a\n"
    cohort = load_cohort(study, "north", csv_file(text), NOW)
    for test, ages, events in ((True, [1, 3], [True, False]), (False, [2], [False])):
        columns, happened = cohort.part(test=test)
        assert columns["age"].tolist() == ages
        assert happened.tolist() == events


@pytest.mark.parametrize(
    ("as_of", "usable"),
    [
        (datetime(2024, 3, 1, tzinfo=UTC), 1),
        (datetime(2024, 2, 29, 23, 59, tzinfo=UTC), 0),
        (datetime(2024, 3, 1), 1),  # noqa: DTZ001 naive is UTC
        (datetime(2024, 3, 1, tzinfo=timezone(timedelta(hours=1))), 0),
        (datetime(2024, 3, 2, tzinfo=UTC), 2),
    ],
)
def test_a_row_counts_from_the_moment_its_label_is_final(
    make_study: Callable[..., Study],
    csv_file: Callable[[str], Path],
    as_of: datetime,
    usable: int,
) -> None:
    study = make_study(
        time="day", horizon="46d", reporting_lag="2w"
    )  # 60 days, 2024 is a leap year
    text = f"{HEADER},day\n1,70,male,1,2024-01-01\n2,70,male,0,2024-01-02\n3,70,male,,2024-12-01\n"
    counts = load_cohort(study, "north", csv_file(text), as_of).counts
    assert (counts.usable, counts.immature, counts.unlabelled) == (usable, 3 - usable, 0)


def test_treated_and_implausible_rows_are_counted_not_refused(
    make_study: Callable[..., Study], csv_file: Callable[[str], Path]
) -> None:
    study = make_study(treated="acted")
    text = f"{HEADER},acted\n1,20,male,1,yes\n2,30,male,0,no\n3,181,male,0,1\n4,,male,,true\n"
    counts = load_cohort(study, "north", csv_file(text), NOW).counts
    assert counts.treated == 2
    assert counts.implausible == {"pulse": 2}
    assert counts.usable == 3


@pytest.mark.parametrize("text", [HEADER, f"{HEADER}\n"])
def test_a_file_without_rows_is_refused(
    study: Study, csv_file: Callable[[str], Path], text: str
) -> None:
    with pytest.raises(DataError, match="no rows"):
        load_cohort(study, "north", csv_file(text), NOW)


def test_rows_without_a_known_label_leave_an_empty_cohort(
    study: Study, csv_file: Callable[[str], Path]
) -> None:
    cohort = load_cohort(study, "north", csv_file(f"{HEADER}\n50,70,male,\n"), NOW)
    assert (cohort.counts.usable, len(cohort.events)) == (0, 0)


ROW = st.fixed_dictionaries(
    {
        "age": st.floats(0, 120),
        "pulse": st.one_of(st.none(), st.floats(-LARGEST, LARGEST)),
        "sex": st.sampled_from([None, "female", "male"]),
        "ill": st.sampled_from([None, 0, 1, 2]),
        "day": st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)),  # noqa: DTZ001
        "who": st.integers(0, 5),
        "acted": st.booleans(),
    }
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=20), by_person=st.booleans())
def test_csv_and_parquet_of_the_same_rows_give_the_same_cohort(
    make_study: Callable[..., Study],
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[dict[str, Any]],
    by_person: bool,
) -> None:
    roles = {"time": "day", "treated": "acted", "horizon": "30d", "test_fraction": 0.5}
    study = make_study(**roles, **({"id": "who"} if by_person else {}))
    types = {"pulse": pa.float64(), "sex": pa.string(), "ill": pa.float64()}
    names = list(rows[0])
    table = pa.table(
        {name: pa.array([row[name] for row in rows], types.get(name)) for name in names}
    )
    folder = tmp_path_factory.mktemp("formats")
    pq.write_table(table, folder / "rows.parquet")
    arrow_csv.write_csv(table, folder / "rows.csv")
    loaded = [load_cohort(study, "n", folder / f"rows.{kind}", NOW) for kind in ("csv", "parquet")]
    same(*loaded)
    counts = loaded[0].counts
    assert counts.rows == len(rows) == counts.usable + counts.unlabelled + counts.immature
    assert counts.usable == counts.train + counts.test == len(loaded[0].events)


@pytest.mark.skipif(not GUSTO.exists(), reason="../shared/data is absent")
def test_a_real_trial_is_read_whole(tmp_path: Path) -> None:
    number = {"kind": "number", "minimum": 0, "maximum": 300}
    names = ("age", "sysbp", "pulse", "height", "weight")
    study = parse_study(
        {
            "name": "gusto",
            "label": "day30",
            "positive": [1],
            "features": [
                *({"name": name, **number} for name in names),
                {"name": "Killip", "kind": "category", "levels": ["I", "II", "III", "IV"]},
            ],
        }
    )
    cohort = load_cohort(study, "gusto", GUSTO, NOW)
    assert (cohort.counts.rows, cohort.counts.usable) == (40_830, 40_830)
    assert int(cohort.events.sum()) == 2851
    assert cohort.columns["age"].mean() == pytest.approx(60.901634, abs=1e-6)
    assert abs(cohort.test.mean() - study.test_fraction) < 0.01
    table = arrow_csv.read_csv(GUSTO)
    pq.write_table(table, tmp_path / "gusto.parquet")
    same(cohort, load_cohort(study, "gusto", tmp_path / "gusto.parquet", NOW))


def test_a_window_of_time_holds_its_start_and_not_its_end(
    make_study: Callable[..., Study], csv_file: Callable[[str], Path]
) -> None:
    study = make_study(time="day", horizon="2d", reporting_lag="0d")
    days = ["2024-03-01", "2024-03-02T00:00:00", "2024-03-02T23:30:00", "2024-03-03", "2024-12-31"]
    rows = [f"{age},70,male,{'' if age == 3 else 1},{day}" for age, day in enumerate(days, start=1)]
    path = csv_file("\n".join([f"{HEADER},day", *rows]) + "\n")
    march = {
        "since": datetime(2024, 3, 2, tzinfo=UTC),
        "until": datetime(2024, 3, 3, 1, tzinfo=UTC),
    }
    cohort = load_cohort(study, "north", path, NOW, **march)
    assert cohort.columns["age"].tolist() == [2, 4]
    assert (cohort.counts.rows, cohort.counts.usable, cohort.counts.unlabelled) == (3, 2, 1)
    assert cohort.times is not None
    assert cohort.times.astype(str).tolist() == [
        "2024-03-02T00:00:00.000000",
        "2024-03-03T00:00:00.000000",
    ]
    late = load_cohort(study, "north", path, NOW, since=datetime(2024, 3, 3, tzinfo=UTC))
    assert (late.counts.rows, late.counts.usable, late.counts.immature) == (2, 1, 1)
    nothing = load_cohort(study, "north", path, NOW, until=datetime(2024, 1, 1, tzinfo=UTC))
    assert nothing.counts.rows == len(nothing.events) == 0


def test_a_window_leaves_every_row_on_its_side_of_the_split(
    make_study: Callable[..., Study], csv_file: Callable[[str], Path]
) -> None:
    study = make_study(time="day", id="who")
    rows = [f"{n},70,male,{n % 2},2024-03-{1 + n % 28:02d},p{n // 3}" for n in range(90)]
    path = csv_file("\n".join([f"{HEADER},day,who", *rows]) + "\n")
    whole = load_cohort(study, "north", path, NOW)
    part = load_cohort(study, "north", path, NOW, since=datetime(2024, 3, 15, tzinfo=UTC))
    sides = dict(zip(whole.columns["age"], whole.test, strict=True))
    assert 0 < len(part.events) < len(whole.events)
    assert [sides[age] for age in part.columns["age"]] == part.test.tolist()


def test_rows_of_one_person_have_one_number(roles: Study, csv_file: Callable[[str], Path]) -> None:
    text = (
        f"{HEADER},who,day,acted,fold\n50,70,male,1,a,2024-01-01,yes,test\n"
        "51,70,male,,b,2024-01-01,no,train\n52,70,male,0,c,2024-01-02,no,train\n"
        "53,70,male,0,a,2024-01-03,no,test\n"
    )
    cohort = load_cohort(roles, "north", csv_file(text), NOW)
    assert cohort.persons is not None
    assert cohort.treated is not None
    first, second, third = cohort.persons.tolist()
    assert first == third != second
    assert cohort.treated.tolist() == [True, False, False]


def test_a_study_without_roles_has_neither_times_nor_persons(
    study: Study, csv_file: Callable[[str], Path]
) -> None:
    cohort = load_cohort(study, "north", csv_file(f"{HEADER}\n50,70,male,1\n"), NOW)
    assert cohort.times is cohort.persons is cohort.treated is None
