"""Loki's and Alloy's files: sound, and of the labels and words that lines really have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOKI = ROOT / "deploy" / "loki"
ALLOY = sorted(LOKI.glob("*.alloy"))
SOURCE = "".join(f.read_text(encoding="utf-8") for f in (ROOT / "src").rglob("*.py"))
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
QUERIES = [q.replace("\\|", "|") for q in re.findall(r"`([^`]*\{app=[^`]*)`", PAGE)]


def test_loki_keeps_a_month_and_forgets_then() -> None:
    found = yaml.safe_load((LOKI / "loki.yml").read_text())
    assert found["limits_config"]["retention_period"] == f"{31 * 24}h"
    assert found["compactor"]["retention_enabled"] is True
    assert found["schema_config"]["configs"][-1]["store"] == "tsdb"
    assert found["analytics"]["reporting_enabled"] is False


@pytest.mark.parametrize("file", ALLOY, ids=lambda file: file.stem)
def test_blocks_of_alloy_are_closed_and_lead_to_blocks_that_exist(file: Path) -> None:
    text = re.sub(
        r"//[^\n]*|\"[^\"\n]*\"", lambda m: m[0] if m[0][0] == '"' else "", file.read_text()
    )
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")
    every = "".join(each.read_text() for each in ALLOY)
    made = {".".join(pair) for pair in re.findall(r'^([\w.]+) "(\w+)" \{', every, re.MULTILINE)}
    used = set(re.findall(r"([a-z]+(?:\.[a-z_]+)+)\.(?:receiver|targets|output)\b", text))
    assert used <= made


def given_labels() -> set[str]:
    text = "".join(file.read_text() for file in ALLOY)
    relabelled = set(re.findall(r'target_label\s*=\s*"(\w+)"', text))
    return relabelled | {"app", "level"}


def test_in_compose_the_pieces_have_the_names_of_kubernetes() -> None:
    text = (LOKI / "alloy-compose.alloy").read_text()
    project = yaml.safe_load((ROOT / "deploy/compose/docker-compose.yml").read_text())
    assert f'values = ["com.docker.compose.project={project["name"]}"]' in text
    rules = [
        dict(re.findall(r'(\w+)\s*= \[?"([^"]*)"', rule))
        for rule in re.findall(r"  rule \{\n(.*?)  \}", text, re.DOTALL)
    ]

    def labels(service: str) -> dict[str, str]:
        given: dict[str, str] = {}
        for rule in rules:
            assert rule["source_labels"].endswith("_label_com_docker_compose_service")
            if re.fullmatch(rule.get("regex", "(.*)"), service):
                given[rule["target_label"]] = rule.get("replacement", service)
        return given

    found = {service: labels(service) for service in project["services"]}
    assert {each["container"] for each in found.values()} == set(found)
    assert found["watch"]["component"] == "federated-server"
    assert {each["component"] for each in found.values()} == {
        "postgres", "mlflow", "federated-server", "federated-client", "inference", "prometheus",
        "alertmanager", "grafana",
    }  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_a_documented_query_asks_for_labels_and_events_that_exist(query: str) -> None:
    (selector,) = re.findall(r"\{(app=[^}]*)\}", query)
    assert set(re.findall(r"(\w+)=", selector)) <= given_labels()
    for events in re.findall(r'event=~?"([^"]+)"', query):
        for event in events.split("|"):
            assert re.search(rf'"{event}"', SOURCE), event
    for words in re.findall(r'\|[=~] "([^"]+)"', query):
        for word in words.split("|"):
            assert word in SOURCE
    for logger in re.findall(r'logger="([^"]+)"', query):
        assert f'getLogger("{logger}")' in SOURCE


def test_there_are_queries() -> None:
    assert len(QUERIES) >= 8
