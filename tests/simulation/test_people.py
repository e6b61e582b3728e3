"""The people of a site."""

import numpy as np
import pytest

from fedrisk.simulation.people import AGE_RANGE, AGE_UNKNOWN, SEX_UNKNOWN, simulate_people


@pytest.fixture(scope="module")
def people():
    return simulate_people(2, 20_000, np.random.default_rng(1))


def test_names_are_unique_and_name_the_site(people):
    assert len(set(people.name)) == 20_000
    assert people.name[0] == "s3-000001"


def test_ages_are_whole_years_of_adults(people):
    assert (people.age >= AGE_RANGE[0]).all()
    assert (people.age <= AGE_RANGE[1]).all()
    assert (people.age == np.floor(people.age)).all()
    assert people.age.mean() == pytest.approx(62, abs=10)


def test_few_ages_and_sexes_are_unknown(people):
    assert 1 - people.age_known.mean() == pytest.approx(AGE_UNKNOWN, abs=0.005)
    assert 1 - people.sex_known.mean() == pytest.approx(SEX_UNKNOWN, abs=0.005)


def test_neighbourhoods_differ_within_bounds(people):
    assert np.log(people.no2).std() == pytest.approx(0.295, rel=0.15)
    assert people.no2.max() < 2
    assert np.median(people.particles) == pytest.approx(1.0, abs=0.01)


def test_sites_differ_in_age():
    means = [simulate_people(0, 5_000, np.random.default_rng(k)).age.mean() for k in range(12)]
    assert np.std(means) > 1
