"""The documentation names what there is, and nothing that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fedrisk.cli.main import COMMANDS
from fedrisk.errors import FedriskError
from fedrisk.settings import Settings
from fedrisk.study import Bands, CategoryFeature, NumberFeature, Study

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
INLINE = re.compile(r"`([^`\n]+)`")


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def every_page() -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in PAGES)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_documentation_shows_every_command(command):
    assert re.search(rf"fedrisk {command}\b", every_page())


def test_no_command_is_promised_that_does_not_exist():
    shown = re.findall(r"(?:^|[`\s/])fedrisk ([a-z]+)(?=[\s`])", page("README.md"), re.MULTILINE)
    code = [text for text in INLINE.findall(every_page()) if text.startswith("fedrisk ")]
    shown += [text.split()[1] for text in code if text.split()[1].isalpha()]
    prose = {"is", "needs", "and", "home", "keeps", "trains", "does", "runs", "with", "in", "to"}
    assert set(shown) - prose <= set(COMMANDS)


KEYS = {
    "study": set(Study.model_fields),
    "bands": set(Bands.model_fields),
    "number": set(NumberFeature.model_fields),
    "category": set(CategoryFeature.model_fields),
}


@pytest.mark.parametrize("table", KEYS)
def test_docs_study_md_explains_every_key(table):
    text = page("docs/study.md")
    assert [key for key in sorted(KEYS[table]) if not re.search(rf"\b{key}\b", text)] == []


def test_docs_settings_md_lists_the_settings_and_no_others():
    listed = set(re.findall(r"\bFEDRISK_[A-Z_]+\b", page("docs/settings.md")))
    assert listed == {f"FEDRISK_{name.upper()}" for name in Settings.model_fields}


def test_docs_settings_md_tells_the_defaults():
    text = page("docs/settings.md")
    for name, field in Settings.model_fields.items():
        row = next(line for line in text.splitlines() if f"`FEDRISK_{name.upper()}`" in line)
        shown = "none" if field.default in (None, "") else str(field.default)
        assert f"| {shown} |" in row.replace("`", "")


def test_settings_named_anywhere_exist():
    named = set(re.findall(r"\bFEDRISK_[A-Z_]+\b", every_page()))
    assert named <= {f"FEDRISK_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(file):
    targets = [t.split("#")[0] for t in LINK.findall(file.read_text(encoding="utf-8"))]
    local = [t for t in targets if t and "://" not in t and not t.startswith("mailto:")]
    assert [target for target in local if not (file.parent / target).exists()] == []


def test_the_map_names_files_that_exist_and_every_room():
    text = page("docs/architecture.md")
    named = re.findall(r"`((?:src|tests|docs|examples|scripts|benchmarks)/[\w./*-]+)`", text)
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []
    rooms = [p.parent.name for p in (ROOT / "src" / "fedrisk").glob("*/__init__.py")]
    assert [room for room in rooms if f"src/fedrisk/{room}/" not in text] == []


def test_decisions_are_numbered_and_listed():
    folder = ROOT / "docs" / "decisions"
    files = sorted(f.name for f in folder.glob("[0-9]*.md"))
    index = page("docs/decisions/README.md")
    assert [name for name in files if f"({name})" not in index] == []
    numbers = [name[:4] for name in files]
    assert len(set(numbers)) == len(numbers)
    for name in files:
        assert re.match(rf"# {int(name[:4])}\. ", page(f"docs/decisions/{name}"))


def test_exit_codes_are_documented():
    def below(error: type[FedriskError]) -> set[int]:
        children = error.__subclasses__()
        return {c.exit_code for c in children}.union(*(below(c) for c in children), set())

    table = re.findall(r"^\| (\d+) \|", page("docs/settings.md"), re.MULTILINE)
    assert {int(code) for code in table} >= below(FedriskError)


def test_make_targets_named_in_the_documentation_exist():
    targets = set(re.findall(r"^([a-z0-9-]+):", page("Makefile"), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z0-9-]+)`", every_page()))
    assert named <= targets
