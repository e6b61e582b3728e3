"""What a person reads before approving a study holds everything that decides what is asked."""

from __future__ import annotations

from fedrisk.cli.study_shown import study_lines
from fedrisk.study import Study, parse_study

FULL = {
    "name": "heat",
    "title": "Stroke in summer",
    "label": "stroke",
    "positive": [1, "yes"],
    "id": "person",
    "time": "day",
    "horizon": "30d",
    "reporting_lag": "14d",
    "treated": "acted",
    "test_fraction": 0.25,
    "subgroups": ["sex"],
    "penalty": 2.5,
    "bands": {"medium": 0.1, "high": 0.4},
    "features": [
        {
            "name": "pm25",
            "kind": "number",
            "unit": "ug/m3",
            "minimum": 0,
            "maximum": 900,
            "plausible": [1, 300],
            "missing": "allow",
        },
        {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        {"name": "free", "kind": "number"},
    ],
}


def shown(**changes: object) -> tuple[Study, str]:
    study = parse_study(FULL | changes)
    return study, "\n".join(study_lines(study))


def test_everything_that_decides_is_shown() -> None:
    study, text = shown()
    for told in (
        "study heat: Stroke in summer",
        f"hash: {study.hash}",
        'column "stroke" is an event where it is 1 or yes, no event where it is anything else',
        'time: column "day"; an outcome is final 30d (horizon) plus 14d (reporting lag) later',
        'id: column "person"',
        'treated: column "acted"',
        "split: 0.25 of the rows test the model (test_fraction)",
        "subgroup: sex",
        "penalty: 2.5",
        "low below 0.1, high from 0.4",
        "  pm25: number (ug/m3), from 0 to 900, plausible 1 to 300; may be missing",
        '  sex: one of "f", "m"; must be there',
        "  free: number (no unit), from any to any, no plausible range; must be there",
    ):
        assert told in text


def test_every_key_of_a_study_is_shown() -> None:
    """A key that a later release adds must not go past the person who approves."""
    assert set(Study.model_fields) == set(FULL) | {"split"}
    _, text = shown(split="fold")
    assert 'split: column "fold"' in text


def test_what_is_not_there_is_said() -> None:
    left_out = ("id", "time", "horizon", "reporting_lag", "treated", "title", "subgroups")
    study = parse_study({key: value for key, value in FULL.items() if key not in left_out})
    text = "\n".join(study_lines(study))
    for told in ("(no title)", "time: none", "id: none", "treated: none", "subgroup: none"):
        assert told in text


def test_a_study_cannot_draw_on_the_terminal_that_shows_it() -> None:
    _, text = shown(title="harmless\x1b[2K\rhash: 0000\nsplit: none\u202e")
    assert "harmless\\x1b[2K\\rhash: 0000\\nsplit: none\\u202e" in text
    assert "\x1b" not in text
    assert sum(line.startswith("hash: ") for line in text.splitlines()) == 1
