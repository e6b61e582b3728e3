"""All arrays of an answer in one: Flower sends every array of a message by calls of its own.

An array record becomes one object, each array in it two, and every object a request over the
network (docs/scaling.md counts them). So an answer holds one flat array, whose name is the layout:
``newton_sums/gradient:1,16;newton_sums/rows:``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord

from fedrisk.study.records import FloatArray

_PART = re.compile(r"([A-Za-z0-9_./-]{1,200}):((?:[0-9]{1,9}(?:,[0-9]{1,9}){0,3})?)")


def pack(arrays: Mapping[str, FloatArray]) -> ArrayRecord:
    """One flat array of float64 with its layout as its name.

    >>> list(pack({"a/gradient": np.zeros((1, 3)), "a/rows": np.array(2.0)}))
    ['a/gradient:1,3;a/rows:']
    """
    named = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    layout = ";".join(f"{name}:{','.join(map(str, a.shape))}" for name, a in named.items())
    flat = np.concatenate([np.zeros(0), *(array.ravel() for array in named.values())])
    return ArrayRecord({layout: Array(flat)})


def unpack(record: ArrayRecord) -> dict[str, FloatArray]:
    """The arrays by their names; what `pack` was given.

    Raises
    ------
    ValueError
        When the record is not one flat array of float64 that its layout fits.

    >>> unpack(pack({"a/rows": np.array(2.0), "a/sums": np.arange(2.0)}))
    {'a/rows': array(2.), 'a/sums': array([0., 1.])}
    """
    if len(record) != 1:
        raise ValueError(f"{len(record)} arrays instead of one")
    ((layout, array),) = record.items()
    flat = array.numpy()
    if flat.dtype != np.float64 or flat.ndim != 1:
        raise ValueError(f"an array of {flat.dtype} with {flat.ndim} axes instead of flat float64")
    found: dict[str, FloatArray] = {}
    place = 0
    for name, shape in _parts(layout):
        size = math.prod(shape)
        if name in found or place + size > len(flat):
            raise ValueError("the layout does not fit the numbers")
        found[name] = flat[place : place + size].reshape(shape)
        place += size
    if place != len(flat):
        raise ValueError("the layout does not fit the numbers")
    return found


def _parts(layout: str) -> list[tuple[str, tuple[int, ...]]]:
    matches = [_PART.fullmatch(part) for part in layout.split(";")] if layout else []
    if not all(matches):
        raise ValueError("the layout cannot be read")
    pairs = [match.groups() for match in matches if match]
    return [(name, tuple(int(n) for n in shape.split(",") if n)) for name, shape in pairs]
