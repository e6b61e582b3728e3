from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.errors import DataError, UsageError
from fedrisk.sites.cohort import load_cohort
from fedrisk.sites.drafting.draft import Draft, Wishes, draft_study
from fedrisk.study import load_study

NOW = datetime(2025, 1, 1, tzinfo=UTC)
GUSTO = Path(__file__).parents[4] / "shared" / "data" / "gusto_regions" / "gusto.csv.gz"
TEXT = (
    "patient_id,admitted,fold,age,pm25,score,sex,note,ward,ill\n"
    "p1,2024-01-01,train,60,12.5,3,m,fine,A,1\n"
    "p1,2024-01-02,train,61,,4,f,tired,A,0\n"
    "p2,2024-01-03,test,72.5,80,90,m,pale,A,0\n"
    "p3,2024-01-04,train,19,7,15,,well,A,0\n"
)


def draft(path: Path, label: str = "ill", **wishes: Any) -> Draft:
    return draft_study({"north": path}, Wishes(label, **wishes), NOW)


def test_every_column_gets_its_part(csv_file: Callable[[str], Path]) -> None:
    found = draft(csv_file(TEXT))
    study = found.study
    assert study.feature_names == ("age", "pm25", "score", "sex")
    assert study.positive == (1,)
    assert (study.id, study.time, study.split) == (None, None, None)
    assert found.proposal.suggested == {"id": "patient_id", "time": "admitted", "split": "fold"}
    assert '# id = "patient_id"' in found.text
    assert set(found.proposal.left_out) == {"patient_id", "admitted", "fold", "note", "ward"}
    age, pm25, score = study.numbers
    assert (age.unit, age.minimum, age.maximum, age.missing) == ("year", 0, 120, "reject")
    assert (pm25.unit, pm25.missing) == ("ug/m3", "allow")
    assert (score.unit, score.minimum, score.maximum) == ("", 0, 140)
    assert (study.categories[0].levels, study.categories[0].missing) == (("m", "f"), "allow")
    assert study.subgroups == ("sex",)
    assert (study.bands.medium, study.bands.high) == (0.25, 0.625)


def test_wishes_are_kept(csv_file: Callable[[str], Path]) -> None:
    wishes = {"id": "patient_id", "time": "admitted", "name": "mine", "positive": ["0"]}
    study = draft(csv_file(TEXT), **wishes).study
    assert (study.id, study.time, study.name, study.positive) == (
        "patient_id",
        "admitted",
        "mine",
        (0,),
    )


def test_values_beyond_the_usual_unit_are_pointed_out(csv_file: Callable[[str], Path]) -> None:
    rows = "".join(f"{600 + 10 * i},{i % 2}\n" for i in range(20))
    found = draft(csv_file("age,ill\n" + rows))
    assert 'unit = ""   # values lie outside 0 to 120 year: another unit?' in found.text
    assert found.study.numbers[0].maximum == 900


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (["0", "1", "0"], 1),
        (["no", "yes", "yes"], "yes"),
        (["false", "true", "true"], True),
        (["alive", "dead", "dead"], "dead"),
        (["2", "3", "2"], 3),
        (["1", "2", "2"], 1),
    ],
)
def test_the_event_is_guessed(
    csv_file: Callable[[str], Path], values: list[str], positive: object
) -> None:
    rows = "".join(f"{20 + i},{value}\n" for i, value in enumerate(values))
    found = draft(csv_file("age,ill\n" + rows))
    assert found.study.positive == (positive,)
    assert "# guessed: check" in found.text


@pytest.mark.parametrize(
    ("label", "wishes", "error", "message"),
    [
        ("ilk", {}, UsageError, "did you mean 'ill'"),
        ("ward", {}, DataError, "one value only"),
        ("note", {}, UsageError, "4 different values"),
        ("ill", {"positive": ["7"]}, UsageError, "no row of label"),
        ("ill", {"positive": ["0", "1"]}, UsageError, "every row of label"),
        ("ill", {"id": "who"}, UsageError, "'who' is not in the file"),
    ],
)
def test_what_cannot_be_drafted(
    csv_file: Callable[[str], Path],
    label: str,
    wishes: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        draft(csv_file(TEXT), label, **wishes)


def test_columns_that_some_site_lacks_are_left_out(tmp_path: Path) -> None:
    files = {"a": tmp_path / "a.csv", "b": tmp_path / "b.csv"}
    files["a"].write_text("age,extra,ill\n1,5,0\n2,6,1\n", encoding="utf-8")
    files["b"].write_text("ill,age\n0,80\n1,90\n", encoding="utf-8")
    found = draft_study(files, Wishes("ill"), NOW)
    assert found.study.feature_names == ("age",)
    assert found.proposal.left_out == {"extra": "is not in every file"}


def test_nothing_is_left_to_learn_from(csv_file: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match="no column of the files can be a feature") as caught:
        draft(csv_file("a,ill\n1,0\n1,1\n"))
    assert "'a' has one value only" in caught.value.hint


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
COLUMN = st.one_of(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=False)), min_size=6, max_size=6),
    st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), min_size=6, max_size=6),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=6, max_size=6),
    st.lists(
        st.one_of(st.none(), st.sampled_from(["a", "b", "1", "1.0", "True", "NA", " a "])),
        min_size=6,
        max_size=6,
    ),
    st.lists(st.dates(), min_size=6, max_size=6),
)


@settings(max_examples=150, deadline=None)
@given(
    columns=st.dictionaries(NAMES.filter(lambda name: name.strip() not in ("", "y")), COLUMN),
    kind=st.sampled_from(["csv", "parquet"]),
)
def test_a_draft_always_fits_the_files_it_came_from(
    tmp_path_factory: pytest.TempPathFactory, columns: dict[str, list[Any]], kind: str
) -> None:
    folder = tmp_path_factory.mktemp("draft")
    table = pa.table({"x": range(6), "y": [0, 1, 0, 1, 0, 0], **columns})
    path = folder / f"rows.{kind}"
    if kind == "csv":
        arrow_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    try:
        found = draft(path, "y")
    except DataError as error:
        assert "x" in columns
        assert "can be a feature" in error.message  # noqa: PT017
        return
    (folder / "study.toml").write_text(found.text, encoding="utf-8")
    study = load_study(folder / "study.toml")
    assert study == found.study
    assert load_cohort(study, "n", path, NOW).counts.rows == 6


@pytest.mark.skipif(not GUSTO.exists(), reason="../shared/data is absent")
def test_a_real_trial() -> None:
    found = draft(GUSTO, "day30")
    study = found.study
    assert study.positive == (1,)
    assert (study.bands.medium, study.bands.high) == (0.07, 0.21)
    assert {"age", "sysbp", "pulse", "height"} <= {feature.name for feature in study.numbers}
    levels = {feature.name: feature.levels for feature in study.categories}
    assert levels["Killip"] == ("I", "II", "III", "IV")
    assert levels["htn"] == ("1", "2")
    assert next(f for f in study.categories if f.name == "tpa").missing == "allow"
    assert 'unit = "beats/min"   # values lie outside 20 to 250 beats/min: errors?' in found.text
