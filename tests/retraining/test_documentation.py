"""docs/gate.md tells every margin with its default."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrisk.retraining.margins import Margins, SpendingRules

PAGE = (Path(__file__).parents[2] / "docs" / "gate.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rules", [Margins, SpendingRules])
def test_every_key_is_told_with_its_default(rules):
    missing = [
        name
        for name, field in rules.model_fields.items()
        if f"`{name}` {field.default}" not in PAGE.replace("\n", " ")
    ]
    assert missing == []
