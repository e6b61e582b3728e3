"""Who takes part at one site: people with their wearables, and on which days they wear them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from fedrisk.simulation.people import People, simulate_people
from fedrisk.simulation.scenarios import Newcomers
from fedrisk.simulation.streams import Purpose, stream
from fedrisk.simulation.wearable import MEAN, Wearable, simulate_wear, simulate_wearable
from fedrisk.study.records import BoolArray

Arrays = TypeVar("Arrays", People, Wearable)


@dataclass(frozen=True, slots=True)
class Residents:
    """People of one site; ``wearable`` and ``worn`` have shape (days, people)."""

    people: People
    wearable: Wearable
    worn: BoolArray


def simulate_residents(site: int, people: int, days: int, seed: int) -> Residents:
    """The people with whom a cohort begins."""
    return Residents(
        simulate_people(site, people, stream(seed, site, Purpose.PEOPLE)),
        simulate_wearable(days, people, stream(seed, site, Purpose.WEARABLE)),
        simulate_wear(days, people, stream(seed, site, Purpose.WEAR)),
    )


def replace_some(
    residents: Residents, newcomers: Newcomers, site: int, seed: int, changed: BoolArray
) -> Residents:
    """Let some leave and others come.

    Parameters
    ----------
    residents : Residents
    newcomers : Newcomers
    site, seed : int
    changed : (days,) array of bool
        Days on which those who leave are gone and the newcomers there.

    Returns
    -------
    Residents
        The given people first, in their order, so that days before the change keep their rows.
    """
    days, people = residents.worn.shape
    count = max(1, round(newcomers.share * people))
    mean = MEAN.copy()
    mean[0] += newcomers.heart_rate
    mean[1] *= np.sqrt(newcomers.steps)
    arriving = simulate_people(
        site,
        count,
        stream(seed, site, Purpose.NEW_PEOPLE),
        first=people + 1,
        age_mean=newcomers.age_mean,
        age_spread=newcomers.age_spread,
        male=newcomers.male,
    )
    wearable = simulate_wearable(days, count, stream(seed, site, Purpose.NEW_WEARABLE), mean)
    worn = simulate_wear(days, count, stream(seed, site, Purpose.NEW_WEAR))
    leaves = stream(seed, site, Purpose.LEAVING).random(people) < newcomers.share
    return Residents(
        _joined(residents.people, arriving),
        _joined(residents.wearable, wearable),
        np.hstack([residents.worn & ~np.outer(changed, leaves), worn & changed[:, None]]),
    )


def _joined(first: Arrays, second: Arrays) -> Arrays:
    """Both, along the axis of people, which is the last of every field."""
    both: dict[str, Any] = {
        field.name: np.concatenate(
            [getattr(first, field.name), getattr(second, field.name)], axis=-1
        )
        for field in fields(first)
    }
    return type(first)(**both)
