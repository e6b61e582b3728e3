"""Many arrays as one, and nothing else taken for that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedrisk.federation.packing import pack, unpack

NAMES = st.text("abcxyz_/", min_size=1, max_size=20)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
ARRAYS = hnp.arrays(np.float64, SHAPES)


@given(st.dictionaries(NAMES, ARRAYS, max_size=5))
def test_what_was_packed_comes_out(arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    found = unpack(pack(arrays))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].shape == array.shape


def record(layout: str, numbers: Any) -> ArrayRecord:
    return ArrayRecord({layout: Array(np.asarray(numbers))})


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (ArrayRecord(), "0 arrays"),
        (ArrayRecord({"a:": Array(np.zeros(1)), "b:": Array(np.zeros(1))}), "2 arrays"),
        (record("a:2", [1.0, 2.0, 3.0]), "does not fit"),
        (record("a:4", [1.0, 2.0, 3.0]), "does not fit"),
        (record("a:1;a:1", [1.0, 2.0]), "does not fit"),
        (record("a:99999,99999", [1.0]), "does not fit"),
        (record("a:-1", [1.0]), "cannot be read"),
        (record("a", [1.0]), "cannot be read"),
        (record("", [1.0]), "does not fit"),
        (record("a:1", np.ones(1, np.float32)), "float32"),
        (record("a:1", np.ones(1, np.int64)), "int64"),
        (record("a:1", np.array(["many"])), "instead of flat"),
        (record("a:1,1", np.ones((1, 1))), "2 axes"),
    ],
)
def test_what_is_no_answer_is_told(wrong: ArrayRecord, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        unpack(wrong)
