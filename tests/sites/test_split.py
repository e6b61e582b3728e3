import hashlib
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrisk.sites.split import sides_disagree, split_by_id, split_by_values
from fedrisk.study import Study
from fedrisk.study.columns import Column


def column(values: list[Any]) -> Column:
    return Column(pa.chunked_array([pa.array(values)]))


IDS = st.lists(st.integers(0, 30), min_size=1)


@settings(deadline=None)  # the first call imports Arrow
@given(first=IDS, second=IDS)
def test_a_person_is_on_one_side_at_every_site(
    make_study: Callable[..., Study], first: list[int], second: list[int]
) -> None:
    study = make_study(id="who", test_fraction=0.5)
    sides: dict[int, set[bool]] = {}
    for ids in (first, second):
        for who, test in zip(ids, split_by_id(study, column(ids)), strict=True):
            sides.setdefault(who, set()).add(bool(test))
    assert all(len(side) == 1 for side in sides.values())


@settings(deadline=None)
@given(IDS)
def test_formats_agree_on_a_person(make_study: Callable[..., Study], ids: list[int]) -> None:
    study = make_study(id="who", test_fraction=0.5)
    expected = split_by_id(study, column(ids)).tolist()
    for form in (str, float, lambda value: f"{value}.0", lambda value: f" {value}"):
        assert split_by_id(study, column([form(value) for value in ids])).tolist() == expected


def test_the_hash_is_the_documented_one(make_study: Callable[..., Study]) -> None:
    study = make_study(id="who", test_fraction=0.3)
    ids = [f"p{i}" for i in range(200)]
    digests = [hashlib.sha256(f"small\n{who}".encode()).digest() for who in ids]
    expected = [int.from_bytes(digest[:8], "big") / 2**64 < 0.3 for digest in digests]
    assert split_by_id(study, column(ids)).tolist() == expected


def test_the_hash_of_values_is_the_documented_one(make_study: Callable[..., Study]) -> None:
    study = make_study(time="day", test_fraction=0.5)
    ages = np.arange(200.0)
    columns = {
        "age": ages,
        "pulse": np.full(200, np.nan),
        "sex": np.tile(np.array([1, -1], np.int32), 100),
    }
    times = np.full(200, np.datetime64("1970-01-01T00:00:01", "us"))
    missing = bytes.fromhex("7ff8000000000000")
    expected = []
    for row in range(200):
        sex = struct.pack(">d", 1.0) if row % 2 == 0 else missing
        content = struct.pack(">d", ages[row]) + missing + sex + struct.pack(">d", 1e6)
        digest = hashlib.sha256(b"small\n" + content).digest()
        expected.append(digest[0] < 128)
    assert split_by_values(study, columns, times).tolist() == expected


def test_zero_has_one_sign_and_missing_one_form(make_study: Callable[..., Study]) -> None:
    other_nan = np.array([0x7FF8_0000_0000_0001], np.uint64).view(np.float64)[0]
    sides = [
        split_by_values(
            make_study(name=f"s{i}", test_fraction=0.5),
            {
                "age": np.array([0.0, -0.0, 0.0, 0.0]),
                "pulse": np.array([np.nan, np.nan, -np.nan, other_nan]),
                "sex": np.full(4, -1, np.int32),
            },
            None,
        ).tolist()
        for i in range(20)
    ]
    assert {tuple(side) for side in sides} == {(True,) * 4, (False,) * 4}


def test_the_share_is_near_the_fraction_and_depends_on_the_study(
    make_study: Callable[..., Study],
) -> None:
    ids = column(list(range(20_000)))
    one = split_by_id(make_study(id="who"), ids)
    other = split_by_id(make_study(id="who", name="other"), ids)
    assert abs(one.mean() - 0.2) < 0.015
    assert abs((one & other).mean() - 0.04) < 0.01


def test_the_label_does_not_decide(make_study: Callable[..., Study]) -> None:
    """A row keeps its side when its label becomes known, whatever the label is."""
    columns = {"age": np.arange(50.0), "pulse": np.arange(50.0), "sex": np.zeros(50, np.int32)}
    first = split_by_values(make_study(), columns, None)
    assert (first == split_by_values(make_study(positive=[0]), columns, None)).all()


def test_persons_on_both_sides_are_found() -> None:
    ids = column(["a", "b", "a", "b", "c", None])
    test = np.array([True, True, False, True, False, True])
    assert sides_disagree(ids, test).tolist() == [True, False, True, False, False, False]
