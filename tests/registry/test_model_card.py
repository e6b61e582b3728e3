"""The model card says what a reader must know."""

from __future__ import annotations

import copy
import math

import pytest

from fedrisk.models.logistic import Z95
from fedrisk.registry.model_card import model_card, table
from fedrisk.study.training import RoundRecord


@pytest.fixture(scope="module")
def card(result):
    return model_card(result)


def test_it_says_what_it_is_not_for(card):
    assert "Not for real patients yet" in card
    assert "associations" in card
    assert card.startswith("# Death within 30 days\n")


def test_it_names_study_sites_rounds_and_warnings(card, result):
    assert result.request.study.hash in card
    assert "| St. Anna | 400 | 100 |" in card
    assert "| all | 600 | 150 |" in card
    assert "feature 'sbp' is missing in 10 % of rows" in card
    assert f"| {len(result.rounds)} | newton | 0.5 | St. Anna, north |" in card


def test_figures_are_overall_and_by_site(card, result):
    assert f"| auroc | {result.metrics['auroc']:.4g} |" in card
    own = result.per_site["St. Anna"]
    assert f"| St. Anna | {own['auroc']:.4g} | {own['auroc_standard_error']:.4g} |" in card
    assert "| north | - | - |" in card


def test_odds_ratios_are_for_one_unit_with_their_interval(card, result):
    column = result.model["columns"][0]
    per_unit, error = (column[n] / column["scale"] for n in ("coefficient", "standard_error"))
    low, high = math.exp(per_unit - Z95 * error), math.exp(per_unit + Z95 * error)
    expected = f"| age | year | {math.exp(per_unit):.4g} | {low:.4g} to {high:.4g} |"
    assert expected in card


def test_constant_and_boundless_columns_have_no_odds_ratio(result):
    model = copy.deepcopy(result.model)
    model["columns"][0] |= {"constant": True}
    model["columns"][1] |= {"standard_error": 1e6}
    card = model_card(result.model_copy(update={"model": model}))
    assert "| age | year | - | - |" in card
    assert "to - |" in card


def test_a_run_without_rounds_or_warnings_has_a_card(result):
    bare = result.model_copy(update={"rounds": (), "warnings": (), "per_site": {}, "versions": {}})
    assert "## Warnings\n\nNone." in model_card(bare)


def section(card, title):
    return card.partition(f"## {title}\n\n")[2].partition("\n\n## ")[0]


def test_it_says_who_took_part_and_that_nobody_was_dropped(card, result):
    text = section(card, "Who took part in which round")
    assert f"| St. Anna | 1 to {len(result.rounds)} | fit |" in text
    assert "No site was dropped." in text


def test_who_is_lost_between_two_summaries_is_no_part_of_the_design(result):
    sites = [("St. Anna", "Zell"), ("St. Anna",), ("St. Anna",)]
    rounds = tuple(
        RoundRecord(number=number, kind=kind, seconds=1.0, sites=those)
        for number, kind, those in zip(
            (1, 2, 3), ["summary", "summary", "newton"], sites, strict=True
        )
    )
    text = section(
        model_card(result.model_copy(update={"rounds": rounds})), "Who took part in which round"
    )
    assert "| St. Anna | 1 to 3 | design, fit |" in text
    assert "| Zell | 1 | - |" in text


def test_it_says_who_was_dropped_when_and_why(result):
    """North answers the summary, the fit and no evaluation; a third site the summary alone."""
    everyone, kinds = ("St. Anna", "Zell", "north"), ["summary", "newton", "newton", "evaluation"]
    silence = "site 'Zell' did not answer within 600 s (node 7: lost)"
    refusal = "site 'north' refuses: too | few\nrows"
    rounds = [
        RoundRecord(number=number, kind=kind, seconds=1.0, sites=sites, dropped=dropped)
        for number, (kind, sites, dropped) in enumerate(
            zip(
                kinds,
                [everyone, ("St. Anna", "north"), ("St. Anna", "north"), ("St. Anna",)],
                [{}, {"Zell": silence}, {}, {"north": refusal}],
                strict=True,
            ),
            start=1,
        )
    ]
    card = model_card(result.model_copy(update={"rounds": tuple(rounds)}))
    text = section(card, "Who took part in which round")
    assert "| St. Anna | 1 to 4 | design, fit, evaluation |" in text
    assert "| Zell | 1 | design |" in text
    assert "| north | 1 to 3 | design, fit |" in text
    assert f"| Zell | 2 | newton | {silence} |" in text
    assert "| north | 4 | evaluation | site 'north' refuses: too \\| few rows |" in text
    assert "| 2 | newton | 1 | St. Anna, north |" in text
    assert "No site was dropped" not in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (3.0, "3"),
        (0.123456, "0.1235"),
        (1e300, "1e+300"),
        ("a|b", "a\\|b"),
        ("a\nb", "a b"),
    ],
)
def test_cells(value, shown):
    assert table(["x"], [[value]]).splitlines()[-1] == f"| {shown} |"
