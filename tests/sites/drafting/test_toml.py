import tomllib

from hypothesis import given
from hypothesis import strategies as st

from fedrisk.sites.drafting.toml import number, quoted, scalar


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    assert tomllib.loads(f"x = {quoted(text)}")["x"] == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive(value: float) -> None:
    written = float(tomllib.loads(f"x = {number(value)}")["x"])
    assert abs(written - value) <= 4e-15 * abs(value)


def test_labels_keep_their_type() -> None:
    written = [
        tomllib.loads(f"x = {scalar(text)}")["x"] for text in ("1", "0.5", "true", "x", "nan")
    ]
    assert written == [1, 0.5, True, "x", "nan"]
    assert type(written[0]) is int
