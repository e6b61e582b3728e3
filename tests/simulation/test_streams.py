"""Random streams are keyed by seed, site and purpose."""

from itertools import product

from fedrisk.simulation.streams import Purpose, stream


def test_every_seed_site_and_purpose_has_a_stream_of_its_own():
    draws = {stream(*key).random() for key in product((0, 1), (0, 1, 2), Purpose)}
    assert len(draws) == 2 * 3 * len(Purpose)


def test_the_numbers_of_the_purposes_are_part_of_the_seed():
    assert [int(purpose) for purpose in Purpose] == list(range(11))
