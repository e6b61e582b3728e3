"""What `fedrisk up` shows once the model serves."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from fedrisk.cli.up import _print_address, rounded
from fedrisk.study import parse_study

STUDY = parse_study(
    {
        "name": "s",
        "label": "ill",
        "positive": [1],
        "features": [
            {"name": "age", "kind": "number"},
            {"name": "dose", "kind": "number", "minimum": 0.001, "maximum": 1.238},
            {"name": "sex", "kind": "category", "levels": ["f", "m"]},
        ],
    }
)


def test_a_row_is_short_and_stays_within_its_bounds() -> None:
    row = {"age": 71.23456, "dose": 0.5049, "sex": "f"}
    assert rounded(STUDY, row) == {"age": 71.23, "dose": 0.5, "sex": "f"}
    for edge in (0.0012, 1.2379):
        assert rounded(STUDY, {"age": None, "dose": edge, "sex": "m"})["dose"] == edge


def test_the_line_to_paste_sends_the_row_that_was_answered(capsys) -> None:
    row = rounded(STUDY, {"age": 71.23456, "dose": 1.2379, "sex": "f"})
    answer = {"risk_score": 0.25, "risk_level": "low"}
    _print_address("http://127.0.0.1:8080", row, answer, 1.0, Path("home"))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "curl" in line]
    assert json.loads(shlex.split(line)[-1]) == row
