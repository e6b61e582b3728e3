"""Write Grafana's dashboards into deploy/grafana/dashboards: python scripts/make_dashboards.py."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
#: Grafana divides a row into so many columns.
WIDTH, HEIGHT, ACROSS = 24, 8, 3


@dataclass(frozen=True)
class Panel:
    """One panel: a title, its queries by legend, a unit, and how it is drawn."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""

    def document(self, number: int) -> dict[str, Any]:
        """The panel in Grafana's words."""
        wide = WIDTH // ACROSS
        x, y = number % ACROSS * wide, number // ACROSS * HEIGHT
        targets = [
            {"refId": chr(65 + n), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            | ({"instant": True} if self.kind == "stat" else {})
            for n, (legend, query) in enumerate(self.queries.items())
        ]
        return {
            "id": number + 1,
            "type": self.kind,
            "title": self.title,
            "description": self.about,
            "datasource": SOURCE,
            "gridPos": {"h": HEIGHT, "w": wide, "x": x, "y": y},
            "fieldConfig": {"defaults": {"unit": self.unit}, "overrides": []},
            "options": {},
            "targets": targets,
        }


SERVICE = [
    Panel("Replicas ready", {"ready": 'sum(service_ready{job="inference"})'}, kind="stat"),
    Panel("Model", {"{{name}} {{version}}": "model_info == 1"}, kind="stat"),
    Panel(
        "Model's age", {"age": "time() - max(model_created_timestamp_seconds)"}, "s", kind="stat"
    ),
    Panel(
        "Requests",
        {"{{endpoint}}": "sum by (endpoint) (rate(prediction_latency_seconds_count[5m]))"},
        "reqps",
    ),
    Panel(
        "Errors by status",
        {
            "{{endpoint}} {{status}}": "sum by (endpoint, status) (rate(prediction_errors_total["
            "5m]))"
        },
        "reqps",
    ),
    Panel(
        "Latency of a prediction",
        {
            "median": "fedrisk:predict_latency_seconds:p50_5m",
            "99th percentile": "fedrisk:predict_latency_seconds:p99_5m",
        },
        "s",
    ),
    Panel(
        "Error budget burnt in a month at this rate",
        {
            "1 hour": "fedrisk:errors:ratio_rate1h / 0.001",
            "6 hours": "fedrisk:errors:ratio_rate6h / 0.001",
            "3 days": "fedrisk:errors:ratio_rate3d / 0.001",
        },
        about="1 uses up 0.1 % exactly; 14.4 is a page.",
    ),
    Panel(
        "Latency budget burnt in a month at this rate",
        {
            "1 hour": "fedrisk:slow:ratio_rate1h / 0.01",
            "6 hours": "fedrisk:slow:ratio_rate6h / 0.01",
            "3 days": "fedrisk:slow:ratio_rate3d / 0.01",
        },
        about="1 uses up 1 % exactly; 14.4 is a page.",
    ),
    Panel(
        "Rows by risk level",
        {"{{level}}": "sum by (level) (rate(predictions_total[5m]))"},
    ),
    Panel(
        "Counts that wait for the watch",
        {
            "oldest rows": "max(capture_lag_seconds)",
            "store failing": "max(capture_store_failing)",
        },
        "s",
    ),
    Panel(
        "Connections ended by the server",
        {"{{reason}}": "sum by (reason) (rate(connections_ended_total[5m]))"},
    ),
    Panel(
        "Registry as the follower sees it",
        {"{{state}}": "max by (state) (registry_follower_state)"},
    ),
    Panel(
        "Memory",
        {"{{instance}}": 'process_resident_memory_bytes{job="inference"}'},
        "bytes",
        about="Of servers with one worker.",
    ),
    Panel(
        "CPU",
        {"{{instance}}": 'rate(process_cpu_seconds_total{job="inference"}[5m])'},
        about="Of servers with one worker.",
    ),
    Panel(
        "Models found in the cache",
        {"{{result}}": "sum by (result) (increase(model_loads_total[1h]))"},
    ),
]
FEDERATION = [
    Panel(
        "Sites online",
        {
            "online": "sum(federation_site_online)",
            "approved": 'federation_sites{status="approved"}',
        },
        kind="stat",
    ),
    Panel("Coordinator ready", {"ready": 'min(service_ready{job="coordinator"})'}, kind="stat"),
    Panel(
        "First certificate's end",
        {"{{certificate}}": "min by (certificate) (certificate_expiry_timestamp_seconds) - time()"},
        "s",
        kind="stat",
    ),
    Panel("Online", {"{{site}}": "federation_site_online"}),
    Panel(
        "Seconds since last seen",
        {"{{site}}": "time() - (federation_site_last_seen_timestamp_seconds > 0)"},
        "s",
    ),
    Panel(
        "Runs that went on without a site",
        {"{{site}}": "increase(federation_site_dropouts_total[6h])"},
    ),
    Panel("Runs", {"{{state}}": "federation_runs"}),
    Panel(
        "Round, 90th percentile",
        {
            "{{kind}}": "histogram_quantile(0.9, sum by (le, kind) "
            "(rate(federation_round_duration_seconds_bucket[1h])))"
        },
        "s",
    ),
    Panel(
        "Since a round ended",
        {"round": "time() - (federation_last_round_timestamp_seconds > 0)"},
        "s",
    ),
    Panel(
        "Bytes of messages",
        {"{{direction}}": "rate(federation_message_bytes_total[1h])"},
        "Bps",
    ),
    Panel(
        "Calls that the gateway refused",
        {"{{caller}}": "rate(federation_refused_calls_total[5m])"},
        "reqps",
    ),
    Panel(
        "Ends of processes",
        {"{{job}} {{child}}": "increase(child_restarts_total[1h])"},
    ),
    Panel("Egress: entries of logs", {"{{job}} {{site}}": "egress_entries"}),
    Panel(
        "Egress: answers at sites",
        {"{{site}} {{outcome}}": "increase(egress_answers_total[6h])"},
    ),
    Panel(
        "Since the last backup",
        {"backup": "time() - backup_last_success_timestamp_seconds"},
        "s",
        kind="stat",
    ),
]
MODEL = [
    Panel("Verdict", {"{{status}}": "drift_status == 1"}, kind="stat"),
    Panel("Retraining", {"{{state}}": "retraining_state == 1"}, kind="stat"),
    Panel("Gate", {"{{verdict}}": "retraining_gate == 1"}, kind="stat"),
    Panel("Severity", {"severity": "drift_severity"}, about="0 none, 1 low, 2 medium, 3 high."),
    Panel(
        "Features: distance as a multiple of what matters",
        {"{{feature}}": "drift_feature_effect"},
    ),
    Panel("Features: false-discovery rate", {"{{feature}}": "drift_feature_q_value"}),
    Panel("Rows that were judged", {"{{site}}": "drift_site_rows"}),
    Panel("Sites with broken data", {"{{site}}": "drift_site_faulty"}),
    Panel(
        "Since commands of the watch ended",
        {"{{command}}": "time() - watch_last_run_timestamp_seconds"},
        "s",
    ),
    Panel("Exit codes of the watch's commands", {"{{command}}": "watch_last_exit_code"}),
    Panel(
        "Values outside the plausible range",
        {
            "{{feature}}": "topk(10, sum by (feature) "
            "(rate(prediction_implausible_values_total[1h])))"
        },
    ),
    Panel(
        "Levels",
        {
            "{{level}}": "sum by (level) (rate(predictions_total[1h])) "
            "/ scalar(sum(rate(predictions_total[1h])))"
        },
        "percentunit",
    ),
    Panel(
        "Challenger: rows",
        {"{{version}} {{role}}": "sum by (version, role) (rate(challenger_rows_total[5m]))"},
    ),
    Panel(
        "Challenger: errors",
        {"{{version}} {{role}}": "sum by (version, role) (rate(challenger_errors_total[5m]))"},
    ),
    Panel(
        "Challenger: difference of risks, 90th percentile",
        {
            "{{version}}": "histogram_quantile(0.9, sum by (le, version) "
            "(rate(challenger_risk_difference_bucket[15m])))"
        },
    ),
]
DASHBOARDS = {"service": SERVICE, "federation": FEDERATION, "model": MODEL}
TITLES = {"service": "Service", "federation": "Federation", "model": "Model and drift"}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard in Grafana's words (schema 39: Grafana 11 and newer)."""
    return {
        "uid": f"fedrisk-{name}",
        "title": TITLES[name],
        "tags": ["fedrisk"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": []},
        "annotations": {"list": []},
        "panels": [panel.document(n) for n, panel in enumerate(DASHBOARDS[name])],
    }


def text(name: str) -> str:
    """The file of one dashboard."""
    return json.dumps(dashboard(name), indent=2) + "\n"


def main() -> None:
    """Write them all."""
    about = "Write Grafana's dashboards into deploy/grafana/dashboards."
    argparse.ArgumentParser(description=about).parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
