"""The gate lets out declared records of declared shapes, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from fedrisk.errors import EgressError
from fedrisk.models.descent import LocalUpdate
from fedrisk.sites.egress import release
from fedrisk.study.records import FloatArray, Record, axes


@dataclass(frozen=True)
class Undeclared(Record):
    rows: FloatArray = axes("rows")


def test_declared_record_passes() -> None:
    released = release([LocalUpdate(np.zeros(3))], {"parameters": 3})
    assert released.arrays["local_update/parameters"].tolist() == [0, 0, 0]
    assert released.size == 24


def test_undeclared_record_is_held_back() -> None:
    with pytest.raises(EgressError, match="Undeclared is not a declared record"):
        release([Undeclared(np.zeros(3))], {"rows": 3})


def test_impostor_under_a_declared_name_is_held_back() -> None:
    impostor = type("Impostor", (Undeclared,), {"__doc__": "x"})
    impostor.NAME = "local_update"
    with pytest.raises(EgressError, match="not a declared record"):
        release([impostor(np.zeros(3))], {"rows": 3})


@pytest.mark.parametrize("values", [np.zeros(4), np.zeros((3, 1))])
def test_other_shape_is_held_back(values: FloatArray) -> None:
    with pytest.raises(EgressError, match="declared is"):
        release([LocalUpdate(values)], {"parameters": 3})


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_held_back(bad: float) -> None:
    with pytest.raises(EgressError, match="not finite"):
        release([LocalUpdate(np.array([0.0, bad]))], {"parameters": 2})
