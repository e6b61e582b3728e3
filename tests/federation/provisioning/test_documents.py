"""Files that coordinator and site hand to each other are read strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fedrisk.errors import FederationError, HomeError
from fedrisk.federation.provisioning.documents import (
    FORMAT,
    Document,
    JoinBundle,
    JoinRequest,
    TrustUpdate,
)
from fedrisk.federation.provisioning.members import Members

TEXTS = ("federation", "site", "superlink", "authorities", "coordinator_key", "version")
BUNDLE = JoinBundle(**dict.fromkeys(TEXTS, "x"))
REQUEST = JoinRequest(federation="f", site="s", node_key="n", signing_key="k", version="1")
UPDATE = TrustUpdate(federation="f", authorities="a", issued="2026-01-01T00:00:00+00:00")
DOCUMENTS = [BUNDLE, REQUEST, UPDATE, Members()]


def stored(document: Document, path: Path, **changes: object) -> Path:
    path.write_text(json.dumps(document.model_dump(mode="json") | changes), encoding="utf-8")
    return path


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda d: type(d).__name__)
class TestEveryDocument:
    def test_is_read_as_it_was_written(self, document: Document, tmp_path: Path) -> None:
        document.write(tmp_path / "d.json")
        assert type(document).read(tmp_path / "d.json") == document

    def test_has_no_other_key(self, document: Document, tmp_path: Path) -> None:
        with pytest.raises(FederationError, match="colour"):
            type(document).read(stored(document, tmp_path / "d.json", colour="red"))

    def test_of_a_newer_format_is_refused(self, document: Document, tmp_path: Path) -> None:
        with pytest.raises(HomeError, match=f"format {FORMAT + 1}"):
            type(document).read(stored(document, tmp_path / "d.json", format=FORMAT + 1, new=1))

    def test_of_another_kind_is_refused(self, document: Document, tmp_path: Path) -> None:
        with pytest.raises(FederationError, match="kind"):
            type(document).read(stored(document, tmp_path / "d.json", kind="another"))


@pytest.mark.parametrize("text", ["", "nothing", "[]", "3", '{"format": "new"}', "\ud800"])
def test_files_that_are_no_document(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FederationError):
        JoinBundle.read(tmp_path / "d.json")


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"nowhere\.json"):
        JoinBundle.read(tmp_path / "nowhere.json")
