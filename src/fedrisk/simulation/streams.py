"""Random streams: one for each site and purpose, so that nothing changes anything else."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream is drawn for; the numbers are part of the seed and never change."""

    CITY = 0
    ENVIRONMENT = 1
    PEOPLE = 2
    WEARABLE = 3
    WEAR = 4
    OUTCOME = 5
    NEW_PEOPLE = 6
    NEW_WEARABLE = 7
    NEW_WEAR = 8
    LEAVING = 9
    CARE = 10


def stream(seed: int, site: int, purpose: Purpose) -> np.random.Generator:
    """The random stream of one site and purpose.

    Streams are keyed (`numpy.random.SeedSequence` with a spawn key), so a further site, or another
    number of draws for one purpose, leaves every other stream as it was.

    Parameters
    ----------
    seed : int
        Seed of the cohort, at least 0.
    site : int
        Number of the site, from 0.
    purpose : Purpose
        What is drawn.

    >>> first = stream(1, 0, Purpose.PEOPLE).random()
    >>> first == stream(1, 0, Purpose.PEOPLE).random()
    True
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(site, int(purpose)))
    return np.random.Generator(np.random.PCG64(sequence))
