"""Rules of Prometheus and routes of Alertmanager: sound, tested both ways, each with its page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTMANAGER = ROOT / "deploy" / "alertmanager"
RULES = sorted(PROMETHEUS.glob("rules/*.yml"))
CASES = sorted(PROMETHEUS.glob("tests/*.yml"))
SEVERITIES = {"critical", "warning", "info", "none"}
#: Fires always, by design.
ALWAYS = {"FedriskWatchdog"}


def load(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def rules(files: list[Path] = RULES) -> list[dict[str, Any]]:
    return [rule for file in files for group in load(file)["groups"] for rule in group["rules"]]


ALERTS = [rule for rule in rules() if "alert" in rule]
LOG_ALERTS = rules(sorted((ROOT / "deploy" / "loki" / "rules").rglob("*.yml")))


def run(tool: str, *words: str | Path, cwd: Path = PROMETHEUS) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed; Debian's prometheus packages bring it")
    done = subprocess.run([tool, *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, folder)
    (folder / "secrets").mkdir()
    for name in re.findall(r"secrets/([\w-]+)$", (folder / "prometheus.yml").read_text(), re.M):
        (folder / "secrets" / name).write_text("x")
    run("promtool", "check", "config", "prometheus.yml", cwd=folder)


def test_no_rule_is_there_twice() -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_not_else(file: Path) -> None:
    run("promtool", "test", "rules", file)


def test_alertmanager_takes_its_configuration() -> None:
    run("amtool", "check-config", "alertmanager.yml", cwd=ALERTMANAGER)


@pytest.mark.parametrize("rule", [*ALERTS, *LOG_ALERTS], ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_it_is_whose_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["labels"]["owner"]
    told = rule["annotations"]
    assert told["summary"]
    assert told["description"]
    page = (ROOT / told["runbook_url"]).read_text(encoding="utf-8")
    assert f"({Path(told['runbook_url']).name})" in runbook("README.md")
    if Path(told["runbook_url"]).name.startswith("alert-"):
        return  # a page of the watch's own alert: the same trouble
    assert page.count(f"`{rule['alert']}`") or rule in LOG_ALERTS


def runbook(name: str) -> str:
    return (ROOT / "docs" / "runbooks" / name).read_text(encoding="utf-8")


PAGES = [f for f in sorted((ROOT / "docs/runbooks").glob("*.md")) if "Alert: `" in f.read_text()]


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_a_page_has_its_four_parts_and_belongs_to_an_alert(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert parts == ["What it means", "First look", "Fix", "Escalate"]
    (name,) = re.findall(r"^Alert: `(\w+)`$", text, re.MULTILINE)
    assert name in {rule["alert"] for rule in (*ALERTS, *LOG_ALERTS)}


def test_before_there_is_a_model_none_is_old() -> None:
    """The figure is 0 then, which would be 1970."""
    (rule,) = [each for each in ALERTS if each["alert"] == "FedriskModelStale"]
    assert "max(model_created_timestamp_seconds != 0)" in rule["expr"]


def expectations() -> dict[str, set[bool]]:
    """By alert, whether cases expect that it fires, that it does not, or both."""
    found: dict[str, set[bool]] = {}
    for file in CASES:
        for case in load(file)["tests"]:
            for look in case["promql_expr_test"]:
                (name,) = re.findall(r'alertname="(\w+)"', look["expr"])
                found.setdefault(name, set()).add(bool(look["exp_samples"]))
    return found


@pytest.mark.parametrize("name", sorted({rule["alert"] for rule in ALERTS}))
def test_every_alert_is_tested_firing_and_silent(name: str) -> None:
    assert expectations()[name] == ({True} if name in ALWAYS else {True, False})


@pytest.mark.parametrize(
    ("name", "severity"), sorted({(r["alert"], r["labels"]["severity"]) for r in ALERTS})
)
def test_every_severity_of_an_alert_is_seen_firing(name: str, severity: str) -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in CASES)
    assert f'{{alertname="{name}", severity="{severity}"}}' in text


def test_recorded_series_that_are_used_are_recorded() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in re.findall(r"fedrisk:[\w:]+", rule["expr"])}
    assert used <= recorded


def test_routes_and_inhibitions_name_alerts_that_exist() -> None:
    from fedrisk.monitoring.alerts.alert import KINDS

    known = {rule["alert"] for rule in (*ALERTS, *LOG_ALERTS)}
    known |= {f"Fedrisk{kind.title()}" for kind in KINDS}  # what the watch itself sends
    text = (ALERTMANAGER / "alertmanager.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"\bFedrisk[A-Z]\w+", text))
    assert named
    assert named <= known


def test_every_severity_has_a_route() -> None:
    route = load(ALERTMANAGER / "alertmanager.yml")["route"]
    routed = {m for each in route["routes"] for m in each["matchers"]}
    assert {f"severity = {name}" for name in SEVERITIES - {"none"}} <= routed


def test_no_secret_is_in_a_configuration() -> None:
    for file in (*PROMETHEUS.rglob("*.yml"), *ALERTMANAGER.rglob("*.yml")):
        for line in file.read_text(encoding="utf-8").splitlines():
            assert not re.search(r"^\s*(credentials|password|api_url|routing_key|token):", line)
