"""What runbooks tell people to type exists: commands, options, files."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from fedrisk.cli.main import cli
from fedrisk.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs" / "runbooks").glob("*.md")), ROOT / "docs" / "observability.md"]
CODE = re.compile(r"`(fedrisk [^`\n]+)`")


def commands() -> list[tuple[str, str]]:
    return [
        (page.name, code)
        for page in PAGES
        if page.exists()
        for code in CODE.findall(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.parametrize(("page", "code"), commands())
def test_a_command_and_its_options_exist(page: str, code: str) -> None:
    found: click.Command = cli
    context = click.Context(cli)
    words = code.split()[1:]
    while words and isinstance(found, click.Group) and re.fullmatch(r"[a-z-]+", words[0]):
        following = found.get_command(context, words[0])
        if following is None:
            assert found.invoke_without_command, f"{page}: no {words[0]} in {code!r}"
            break
        found, words = following, words[1:]
    options = {name for each in found.params for name in (*each.opts, *each.secondary_opts)}
    asked = {word for word in words if word.startswith("--")}
    assert asked <= options | {"--help"}, f"{page}: {code}"


def test_settings_and_scripts_that_are_named_exist() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.exists())
    settings = {f"FEDRISK_{name.upper()}" for name in Settings.model_fields}
    assert set(re.findall(r"\bFEDRISK_[A-Z_]+\b", text)) <= settings
