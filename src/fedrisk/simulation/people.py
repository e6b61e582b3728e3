"""The people of one simulated site: who they are and where in the city they live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedrisk.study.records import BoolArray, FloatArray

#: Age of people in a remote-monitoring programme, years: normal, cut. A choice; sites differ.
AGE_MEAN, AGE_SPREAD, AGE_RANGE = 62.0, 14.0, (18.0, 95.0)
#: Standard deviation over sites of the mean age, years, and of the share of men.
SITE_AGE_SPREAD, SITE_MALE_SPREAD = 3.0, 0.05
#: Share of people whose age or sex the site does not know. A choice.
AGE_UNKNOWN, SEX_UNKNOWN = 0.03, 0.02
#: Standard deviation over stations of log PM2.5 and log NO2, and of the root of O3, in Beijing
#: (``scripts/fit_simulation_parameters.py``): how neighbourhoods of one city differ.
NEAR_PARTICLES, NEAR_NO2, NEAR_O3 = 0.107, 0.295, 0.24
#: Neighbourhoods are cut at this many standard deviations: a city has no place without bounds.
NEAR_LIMIT = 2.0


@dataclass(frozen=True, slots=True)
class People:
    """The people of one site; arrays of shape (people,).

    ``name`` is unique over the sites, ``age`` in years at the start, ``particles`` and ``no2`` are
    the neighbourhood's factors on the city's air, ``o3`` is added to the root of O3.
    """

    name: NDArray[np.str_]
    age: FloatArray
    male: BoolArray
    age_known: BoolArray
    sex_known: BoolArray
    particles: FloatArray
    no2: FloatArray
    o3: FloatArray


def simulate_people(
    site: int,
    people: int,
    random: np.random.Generator,
    *,
    first: int = 1,
    age_mean: float = AGE_MEAN,
    age_spread: float = AGE_SPREAD,
    male: float = 0.5,
) -> People:
    """Draw the people of one site.

    Parameters
    ----------
    site : int
        Number of the site, from 0.
    people : int
        How many.
    random : numpy.random.Generator
        Stream of the site's people.
    first : int
        Number of the first person, which is part of the names.
    age_mean, age_spread : float
        Years; the site's own mean lies about the first.
    male : float
        Share of men, about which the site's own lies.
    """
    mean_age = age_mean + SITE_AGE_SPREAD * random.standard_normal()
    share_male = np.clip(male + SITE_MALE_SPREAD * random.standard_normal(), male - 0.2, male + 0.2)
    age = np.clip(random.normal(mean_age, age_spread, people), *AGE_RANGE)
    near = np.clip(random.standard_normal((3, people)), -NEAR_LIMIT, NEAR_LIMIT)
    return People(
        name=np.array([f"s{site + 1}-{number:06d}" for number in range(first, first + people)]),
        age=np.floor(age),
        male=random.random(people) < share_male,
        age_known=random.random(people) >= AGE_UNKNOWN,
        sex_known=random.random(people) >= SEX_UNKNOWN,
        particles=np.exp(NEAR_PARTICLES * near[0]),
        no2=np.exp(NEAR_NO2 * near[1]),
        o3=NEAR_O3 * near[2],
    )
