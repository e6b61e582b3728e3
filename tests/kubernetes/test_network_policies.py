"""The policies let pass what flows.yaml lists, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from .manifests import (
    COMPONENT,
    DEPLOY,
    OVERLAYS,
    named,
    of_kind,
    overlay,
    pods,
    with_component,
)

Flow = tuple[str, str, int]


def listed() -> set[Flow]:
    flows = yaml.safe_load((DEPLOY / "flows.yaml").read_text(encoding="utf-8"))
    assert all(each["why"] for each in flows)
    return {(each["from"], each["to"], each["port"]) for each in flows}


def ends(rule: dict[str, Any], side: str) -> list[str]:
    """Who is on the other side of a rule."""
    if side not in rule:
        return ["world"]
    found = []
    for peer in rule[side]:
        (selector,) = peer.values()
        if "cidr" in selector:
            found.append(selector["cidr"])
            continue
        labels = selector["matchLabels"]
        if COMPONENT in labels:
            found.append(labels[COMPONENT])
        elif labels == {"fedrisk-access": "api"}:
            found.append("clients")
        else:
            found.append(labels["kubernetes.io/metadata.name"])
    return found


def allowed(name: str) -> tuple[set[Flow], set[Flow]]:
    """Flows that an overlay's policies let in, and out; names and the ingress controller aside."""
    into, out = set(), set()
    for policy in of_kind(overlay(name), "NetworkPolicy"):
        spec = policy["spec"]
        who = spec["podSelector"].get("matchLabels", {}).get(COMPONENT)
        for rule in spec.get("ingress", []):
            into |= {(a, who, p["port"]) for a in ends(rule, "from") for p in rule["ports"]}
        for rule in spec.get("egress", []):
            out |= {(who, b, p["port"]) for b in ends(rule, "to") for p in rule["ports"]}
    names = {(None, "kube-system", 53), (None, "169.254.20.10/32", 53)}
    assert names <= out
    return into - {("ingress-nginx", "inference", 8080)}, out - names


@pytest.mark.parametrize("name", OVERLAYS)
def test_every_listed_flow_passes_at_both_ends_and_no_other(name: str) -> None:
    into, out = allowed(name)
    assert into == {flow for flow in listed() if flow[1] != "world"}
    assert out == {flow for flow in listed() if flow[0] != "clients"}


@pytest.mark.parametrize("name", OVERLAYS)
def test_everything_is_denied_to_begin_with(name: str) -> None:
    (deny,) = [
        each["spec"]
        for each in of_kind(overlay(name), "NetworkPolicy")
        if each["metadata"]["name"] == "default-deny"
    ]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_flows_lead_to_ports_that_somebody_listens_on() -> None:
    ports: dict[str, set[int]] = {}
    for pod in pods(overlay("production")):
        for container in pod.spec["containers"]:
            for port in container.get("ports", []):
                ports.setdefault(pod.component, set()).add(port["containerPort"])
    for _, to, port in listed():
        assert to == "world" or port in ports[to], (to, port)
    reached = {(to, port) for _, to, port in listed()}
    unreached = {(who, each) for who, some in ports.items() for each in some} - reached
    # Prometheus is asked through kubectl port-forward, or by Grafana where that is.
    assert unreached == {("prometheus", 9090)}


def test_the_operators_prometheus_reaches_what_its_monitors_name() -> None:
    objects = with_component("prometheus-operator")
    policy = named(objects, "NetworkPolicy", "figures-for-the-operator")["spec"]
    (expression,) = policy["podSelector"]["matchExpressions"]
    (rule,) = policy["ingress"]
    assert {each["port"] for each in rule["ports"]} == {
        end["port"]
        for each in of_kind(objects, "ServiceMonitor")
        for end in each["spec"]["endpoints"]
    }
    services = {
        each["metadata"]["labels"][COMPONENT]: {port["name"] for port in each["spec"]["ports"]}
        for each in of_kind(objects, "Service")
    }
    scraped = {each["metadata"]["labels"][COMPONENT] for each in of_kind(objects, "ServiceMonitor")}
    assert set(expression["values"]) == scraped <= set(services)


def test_the_watch_tells_the_alertmanager_that_its_policy_lets_it_reach() -> None:
    """In a cluster and in compose alike."""
    address = "http://alertmanager:9093"
    settings = [each["data"] for each in of_kind(overlay("production"), "ConfigMap")]
    assert address in [each.get("FEDRISK_ALERTMANAGER") for each in settings]
    compose = yaml.safe_load((DEPLOY.parent / "compose" / "docker-compose.yml").read_text())
    assert compose["services"]["watch"]["environment"]["FEDRISK_ALERTMANAGER"] == address
    assert ("federated-server", "alertmanager", 9093) in listed()
