"""Dashboards and rules ask for what the running system exposes, and for nothing else."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from deploy.exposed import Labels, start
from deploy.queries import labels, series

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    files = (ROOT / "deploy" / "prometheus" / "rules").glob("*.yml")
    groups = [
        group for file in sorted(files) for group in yaml.safe_load(file.read_text())["groups"]
    ]
    return [rule for group in groups for rule in group["rules"]]


def targets() -> list[tuple[str, str, str]]:
    """Dashboard and panel, query, legend."""
    return [
        (f"{file.stem}: {panel['title']}", target["expr"], target["legendFormat"])
        for file in DASHBOARDS
        for panel in load(file)["panels"]
        for target in panel["targets"]
    ]


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Labels:
    found = start(tmp_path_factory.mktemp("running")).labels()
    for rule in rules():
        if "record" in rule:
            found[rule["record"]] = set()
    return found


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("made", ROOT / "scripts" / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["made"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dashboards_are_as_their_generator_makes_them() -> None:
    made = generator()
    found = {file.stem: file.read_text(encoding="utf-8") for file in DASHBOARDS}
    assert found == {name: made.text(name) for name in made.DASHBOARDS}, (
        "run scripts/make_dashboards.py"
    )


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_is_one_that_grafana_takes(file: Path) -> None:
    found = load(file)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", found["uid"])
    numbers = [panel["id"] for panel in found["panels"]]
    assert len(set(numbers)) == len(numbers)
    places = set()
    for panel in found["panels"]:
        assert panel["type"] in ("timeseries", "stat")
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        places.add((place["x"], place["y"]))
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "prometheus"
    assert len(places) == len(numbers)


def test_data_sources_have_the_ids_that_dashboards_name() -> None:
    file = ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "fedrisk.yml"
    assert "prometheus" in {each["uid"] for each in yaml.safe_load(file.read_text())["datasources"]}


def test_every_query_of_a_dashboard_reads_what_is_exposed(exposed: Labels) -> None:
    wrong = [
        (place, sorted(series(query) - set(exposed)))
        for place, query, _ in targets()
        if not series(query) or series(query) - set(exposed)
    ]
    assert wrong == []


def test_every_label_of_a_dashboard_is_one_of_its_series(exposed: Labels) -> None:
    for place, query, legend in targets():
        known = set().union(*(exposed[name] for name in series(query)))
        asked = labels(query) | set(re.findall(r"\{\{\s*(\w+)\s*\}\}", legend))
        assert asked <= known, place


def test_every_rule_reads_what_is_exposed(exposed: Labels) -> None:
    for rule in rules():
        query = rule["expr"]
        names = series(query)
        assert names <= set(exposed), rule
        known = set().union(*(exposed[name] for name in names)) if names else set()
        assert labels(query) <= known, rule


def test_labels_in_what_an_alert_says_exist(exposed: Labels) -> None:
    for rule in rules():
        told = json.dumps(rule.get("annotations", {}))
        names = series(rule["expr"])
        known = set().union(*(exposed[name] for name in names)) if names else set()
        assert set(re.findall(r"\$labels\.(\w+)", told)) <= known, rule["alert"]


def test_a_figure_that_is_gone_is_noticed(exposed: Labels) -> None:
    assert "federation_site_online" in exposed
    assert not series("sum(federation_sites_online)") <= set(exposed)
    assert not labels('federation_site_online{location="x"}') <= exposed["federation_site_online"]
