"""Write prometheus-rule.yaml: the rules of deploy/prometheus/rules in the operator's envelope.

Kustomize cannot put a file's content into another object. A test holds the two to be equal:
    .venv/bin/python deploy/kubernetes/components/prometheus-operator/make-rule.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RULES = HERE.parents[2] / "prometheus" / "rules"


def prometheus_rule() -> dict[str, Any]:
    """The object, with the groups of every file in order."""
    groups = []
    for file in sorted(RULES.glob("*.yml")):
        groups += yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "fedrisk", "labels": {"app.kubernetes.io/component": "prometheus"}},
        "spec": {"groups": groups},
    }


if __name__ == "__main__":
    text = yaml.safe_dump(prometheus_rule(), sort_keys=False, width=100, allow_unicode=True)
    head = "# Made by make-rule.py from deploy/prometheus/rules; change those.\n"
    (HERE / "prometheus-rule.yaml").write_text(head + text, encoding="utf-8")
