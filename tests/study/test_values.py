from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedrisk.study.values import LevelReader, is_missing, number_or_text, plain

texts = st.text(alphabet="+-.0123456789eEinfa N_x\t", max_size=6)


@given(texts)
def test_a_number_is_what_python_reads_without_its_underscores(text: str) -> None:
    read = number_or_text(text)
    if text.strip() in ("", "NA"):
        assert read is None
    elif isinstance(read, float):
        number = float(text)
        assert read == number or (math.isnan(read) and math.isnan(number))
    else:
        assert read == text
        if "_" not in text:
            with pytest.raises(ValueError, match="could not convert"):
                float(text)


@pytest.mark.parametrize("text", ["١", "nan(ind)", "1_0", "0x1", "1e", "1\n2", "in", "infin"])  # noqa: RUF001
def test_texts_that_are_no_numbers(text: str) -> None:
    assert number_or_text(text) == text


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts))
def test_what_is_missing_is_no_level_and_no_number(value: object) -> None:
    levels = LevelReader(("1", "nan"))
    assert is_missing(value) == (levels.code(value) == LevelReader.MISSING)
    if isinstance(value, str):
        assert is_missing(value) == (number_or_text(value) is None)
        assert is_missing(value) == (levels.level_or_text(value) is None)


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_are_written_alike(number: int) -> None:
    assert plain(number) == plain(float(number)) == plain(str(number)) == plain(f"{number}.0")


@given(st.lists(st.sampled_from(["1", "1.0", "1.00", "2", "true", "True", "x"]), unique=True))
def test_every_level_is_its_own_text(levels: list[str]) -> None:
    reader = LevelReader(levels)
    assert [reader.code(f" {level} ") for level in levels] == list(range(len(levels)))


def test_levels_that_are_alike_do_not_hide_the_others() -> None:
    reader = LevelReader(("1", "1.0", "2"))
    assert [reader.code(value) for value in ("1", "1.0", "1.00", 2.0)] == [0, 1, -2, 2]
