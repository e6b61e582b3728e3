from __future__ import annotations

import re

import pytest

from fedrisk import errors
from fedrisk.errors import DataError, FedriskError, Violation

DRAWN = re.compile(r"^[\s│├└─]*(\w+Error)\s+(\d+)\s+(\d{3})\b", re.MULTILINE)


def tree():
    def below(error):
        for child in error.__subclasses__():
            if child.__module__ == errors.__name__:
                yield child
                yield from below(child)

    return {error.__name__: error for error in below(FedriskError)}


def test_the_tree_at_the_top_of_the_file_is_the_tree():
    drawn = {name: (int(code), int(status)) for name, code, status in DRAWN.findall(errors.__doc__)}
    assert drawn == {n: (e.exit_code, e.http_status) for n, e in tree().items()}


def test_the_drawing_shows_who_descends_from_whom():
    depth = {
        match[1]: len(line[: match.start(1)].strip("\n"))
        for line in errors.__doc__.splitlines()
        if (match := re.search(r"(\w+Error)\b\s+\d", line))
    }
    for name, error in tree().items():
        (parent,) = error.__bases__
        if parent is not FedriskError:
            assert depth[name] == depth[parent.__name__] + 4


def test_families_have_exit_codes_of_their_own():
    families = [e for e in tree().values() if e.__base__ is FedriskError]
    codes = [family.exit_code for family in families]
    assert len(set(codes)) == len(codes)
    assert not {0, 1, 130} & set(codes)
    for error in tree().values():
        assert error.__base__ is FedriskError or error.exit_code == error.__base__.exit_code


@pytest.mark.parametrize("error", sorted(tree().values(), key=lambda e: e.__name__))
def test_every_error_says_what_and_what_to_do(error):
    raised = error("it broke", hint="mend it")
    assert str(raised) == raised.message == "it broke"
    assert raised.hint == "mend it"
    assert error("it broke").hint == ""


def test_a_violation_in_words():
    violation = Violation("a.csv", 7, "age", "-3", "must be at least 0 year")
    assert str(violation) == "a.csv, row 7, column 'age': '-3' must be at least 0 year"
    column = Violation("a.csv", None, "age", "", "is not in the file")
    assert str(column) == "a.csv, column 'age' is not in the file"


def test_a_data_error_counts_what_it_does_not_carry():
    violation = Violation("a.csv", 1, "x", "1", "must be 2")
    assert DataError("bad", [violation]).total == 1
    assert DataError("bad", [violation], total=9).total == 9
    assert DataError("bad").violations == ()
