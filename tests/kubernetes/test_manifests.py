"""Every overlay and component builds, and holds what the namespace and the cluster ask for."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from fedrisk.settings import Settings

from .manifests import (
    COMPONENT,
    COMPONENTS,
    DEPLOY,
    OVERLAYS,
    Object,
    build,
    named,
    of_kind,
    overlay,
    pods,
    with_component,
)

#: Components that stand on their own folder give one site; they are built as base's sites.
SITE = "federated-client"
FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), "base", "retraining-job"]


def everything() -> list[tuple[str, list[Object]]]:
    """What every folder and component gives."""
    made = [(folder, build(DEPLOY / folder)) for folder in FOLDERS]
    return made + [(name, with_component(name)) for name in COMPONENTS if name != SITE]


@pytest.mark.parametrize("name", [each for each in COMPONENTS if each != SITE])
def test_a_component_adds_to_base_and_takes_only_what_it_replaces(name: str) -> None:
    base = {(each["kind"], each["metadata"]["name"]) for each in build(DEPLOY / "base")}
    more = {(each["kind"], each["metadata"]["name"]) for each in with_component(name)}
    assert more - base
    gone = {who for kind, who in base - more if kind != "ConfigMap"}
    assert gone <= ({"prometheus", "alertmanager"} if name == "prometheus-operator" else set())


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_has_every_piece(name: str) -> None:
    objects = overlay(name)
    have = {each.component for each in pods(objects)}
    assert have >= {"postgres", "mlflow", "federated-server", "federated-client", "inference"}
    assert have >= {"prometheus", "alertmanager", "trigger", "backup"}
    sites = [each for each in pods(objects) if each.component == "federated-client"]
    assert {each.labels["app.kubernetes.io/instance"] for each in sites} == {"north", "south"}
    assert {each["metadata"].get("namespace", "fedrisk") for each in objects} == {"fedrisk"}


def test_the_namespace_enforces_the_restricted_level() -> None:
    labels = named(overlay("production"), "Namespace", "fedrisk")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def restricted(pod: dict[str, Any], container: dict[str, Any]) -> list[str]:
    """What of the restricted level (Kubernetes' Pod Security Standards) a container breaks."""
    whole, own = pod.get("securityContext", {}), container.get("securityContext", {})
    rules = {
        "privilege escalation": own.get("allowPrivilegeEscalation") is False,
        "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
        "read-only root": own.get("readOnlyRootFilesystem") is True,
        "not root": whole.get("runAsNonRoot") is True and whole.get("runAsUser", 0) > 0,
        "seccomp": whole.get("seccompProfile") == {"type": "RuntimeDefault"},
        "own user": "runAsUser" not in own and "privileged" not in own,
        "host": not {"hostNetwork", "hostPID", "hostIPC"} & set(pod),
        "ports": all("hostPort" not in port for port in container.get("ports", [])),
        "volumes": all(
            {"emptyDir", "configMap", "secret", "persistentVolumeClaim", "projected"} & set(volume)
            for volume in pod.get("volumes", [])
        ),
    }
    return [rule for rule, kept in rules.items() if not kept]


def test_every_container_is_restricted() -> None:
    broken = [
        (where, pod.owner, container["name"], rule)
        for where, objects in everything()
        for pod in pods(objects)
        for container in pod.containers
        for rule in restricted(pod.spec, container)
    ]
    assert broken == []


def test_the_rules_of_the_restricted_level_can_fail() -> None:
    pod = next(iter(pods(build(DEPLOY / "base")))).spec
    container = pod["containers"][0]
    changed = {**container, "securityContext": {"allowPrivilegeEscalation": True}}
    broken = restricted({**pod, "hostNetwork": True, "volumes": [{"hostPath": {}}]}, changed)
    assert {"privilege escalation", "capabilities", "read-only root", "host", "volumes"} <= set(
        broken
    )


def test_every_container_has_resources_and_every_server_probes() -> None:
    for where, objects in everything():
        for pod in pods(objects):
            for container in pod.containers:
                name = (where, pod.owner, container["name"])
                assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
                assert "memory" in container["resources"]["limits"], name
            if pod.spec.get("restartPolicy") in ("Never", "OnFailure"):
                continue
            for container in pod.spec["containers"]:
                assert "livenessProbe" in container, (where, pod.owner)
                assert "startupProbe" in container, (where, pod.owner)
            assert any("readinessProbe" in each for each in pod.spec["containers"]), pod.owner


#: Alloy reads the logs of pods through the Kubernetes API, and nothing else asks it.
ASKS = "alloy"


def test_every_pod_has_an_account_of_its_own_and_none_but_alloy_a_token_and_a_role() -> None:
    for where, objects in everything():
        if where == "retraining-job":
            continue
        accounts = {each["metadata"]["name"]: each for each in of_kind(objects, "ServiceAccount")}
        used: dict[str, str] = {}
        for pod in pods(objects):
            name = pod.spec["serviceAccountName"]
            assert pod.spec["automountServiceAccountToken"] is (name == ASKS), pod.owner
            if name not in ("trigger", "backup"):
                assert used.setdefault(name, pod.owner) == pod.owner, "an account of two pieces"
            assert accounts[name]["automountServiceAccountToken"] is False
        assert of_kind(objects, "ClusterRole", "ClusterRoleBinding") == []
        for binding in of_kind(objects, "RoleBinding"):
            assert [each["name"] for each in binding["subjects"]] == [ASKS]
        for role in of_kind(objects, "Role"):
            rules = [(r["resources"], r["verbs"]) for r in role["rules"]]
            allowed = {(what, verb) for some, verbs in rules for what in some for verb in verbs}
            reading = {("pods", verb) for verb in ("get", "list", "watch")}
            assert allowed == reading | {("pods/log", "get")}


IMAGE = re.compile(r"^[\w.-]+(:\d+)?(/[\w.-]+)+:(?P<tag>[\w.-]+)$")


def test_every_image_names_its_registry_and_a_tag_that_is_not_latest() -> None:
    for name in OVERLAYS:
        for pod in pods(overlay(name)):
            for container in pod.containers:
                found = IMAGE.match(container["image"])
                assert found, (name, pod.owner, container["image"])
                assert found["tag"] not in ("latest", "")
                assert container["imagePullPolicy"] == "IfNotPresent"


def test_images_have_the_names_that_the_build_script_gives() -> None:
    script = (DEPLOY.parents[1] / "scripts" / "build-images.sh").read_text(encoding="utf-8")
    used = {
        container["image"].rsplit("/", 1)[1].split(":")[0]
        for pod in pods(overlay("local"))
        for container in pod.containers
        if "fedrisk" in container["image"]
    }
    assert used == {"fedrisk-server", "fedrisk-client", "fedrisk-inference", "fedrisk-mlflow"}
    for name in used:
        assert (DEPLOY.parent / "docker" / f"Dockerfile.{name.removeprefix('fedrisk-')}").is_file()
    assert "fedrisk-" in script


def variables(container: dict[str, Any]) -> set[str]:
    return {each["name"] for each in container.get("env", [])}


def test_every_setting_is_a_field_of_the_settings() -> None:
    known = {f"FEDRISK_{name.upper()}" for name in Settings.model_fields}
    for where, objects in everything():
        for each in of_kind(objects, "ConfigMap"):
            if each["metadata"]["name"].startswith("fedrisk-settings"):
                assert set(each["data"]) <= known, where
                taken = {k.removeprefix("FEDRISK_").lower(): v for k, v in each["data"].items()}
                Settings(**taken)
        for pod in pods(objects):
            for container in pod.containers:
                ours = {name for name in variables(container) if name.startswith("FEDRISK_")}
                assert ours <= known, (where, pod.owner)


def test_a_changed_setting_starts_the_pods_anew() -> None:
    objects = overlay("local")
    (settings,) = [
        each["metadata"]["name"]
        for each in of_kind(objects, "ConfigMap")
        if each["metadata"]["name"].startswith("fedrisk-settings")
    ]
    assert settings != "fedrisk-settings", "the name holds a hash of the content"
    for pod in pods(objects):
        for container in pod.containers:
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] == settings, pod.owner


def test_no_secret_is_in_a_manifest() -> None:
    for where, objects in everything():
        assert of_kind(objects, "Secret") == [], where
        text = json.dumps(objects)
        assert not re.search(r"-----BEGIN [A-Z ]*PRIVATE KEY|frk_[0-9a-f]{8}_", text), where
        for pod in pods(objects):
            for container in pod.containers:
                for each in container.get("env", []):
                    secret = re.search(r"PASSWORD|TOKEN|SECRET|KEY$", each["name"])
                    assert not secret or each["name"].endswith("_FILE"), (where, each["name"])


def secret_keys(pod: dict[str, Any]) -> set[str]:
    """Keys of the one Secret that a pod can read."""
    sources = [each["secret"] for each in pod.get("volumes", []) if "secret" in each]
    for each in pod.get("volumes", []):
        sources += [
            one["secret"] for one in each.get("projected", {}).get("sources", []) if "secret" in one
        ]
    names = {each.get("secretName", each.get("name")) for each in sources}
    # The private key of backups is there while somebody restores, and for that Job alone.
    assert names <= {"fedrisk-secrets", "fedrisk-backup-key"}
    assert all("items" in each for each in sources), "only what it needs"
    return {item["key"] for each in sources for item in each["items"]}


def test_a_pod_reads_only_the_secrets_that_it_needs_and_the_script_makes_them_all() -> None:
    needed = {
        "postgres": {"postgres-password"},
        "mlflow": {"postgres-password"},
        "federated-server": {"postgres-password", "metrics-key", "operations-token"},
        "federated-client": {"site-metrics-token"},
        "inference": {"postgres-password", "api-keys"},
        "prometheus": {"metrics-key", "site-metrics-token"},
        "alertmanager": {"receiver-url"},
        "trigger": {"operations-token"},
        "backup": {"postgres-password"},
    }
    for pod in pods(overlay("production")):
        key = {"key"} if pod.owner == "CronJob/restore" else set()
        assert secret_keys(pod.spec) == needed[pod.component] | key, pod.owner
    script = (DEPLOY.parents[1] / "scripts" / "deploy-k8s.sh").read_text(encoding="utf-8")
    (made,) = re.findall(r"^keys=\((.*)\)$", script, re.MULTILINE)
    assert set(made.split()) == set().union(*needed.values()) - {"receiver-url"}
    external = named(with_component("external-secrets"), "ExternalSecret", "fedrisk-secrets")
    assert {each["secretKey"] for each in external["spec"]["data"]} == set(made.split())


def test_inference_rolls_without_a_gap_and_ends_after_its_requests() -> None:
    for name in OVERLAYS:
        objects = overlay(name)
        deployment = named(objects, "Deployment", "inference")["spec"]
        assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert "replicas" not in deployment, "the autoscaler says how many"
        (settings,) = [
            each["data"]
            for each in of_kind(objects, "ConfigMap")
            if each["metadata"]["name"].startswith("fedrisk-settings")
        ]
        drain = float(settings["FEDRISK_DRAIN_SECONDS"])
        longest = Settings.model_fields["answer_seconds"].default
        assert drain >= 10, "Services take seconds to forget a pod"
        assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] > drain + longest
        scaler = named(objects, "HorizontalPodAutoscaler", "inference")["spec"]
        assert scaler["minReplicas"] >= 2
        assert named(objects, "PodDisruptionBudget", "inference")["spec"]["maxUnavailable"] == 1


def test_drift_is_looked_for_every_six_hours_and_retraining_asked_for_every_week() -> None:
    objects = overlay("production")
    drift = named(objects, "CronJob", "drift")["spec"]
    weekly = named(objects, "CronJob", "retraining")["spec"]
    assert re.fullmatch(r"\d+ \*/6 \* \* \*", drift["schedule"])
    assert re.fullmatch(r"\d+ \d+ \* \* [0-6]", weekly["schedule"])
    assert {drift["concurrencyPolicy"], weekly["concurrencyPolicy"]} == {"Forbid"}
    watch = next(pod for pod in pods(objects) if pod.component == "federated-server")
    arguments = next(c for c in watch.spec["containers"] if c["name"] == "watch")["args"]
    assert {"--drift=never", "--retrain=never"} <= set(arguments), "one clock, not two"


def test_selectors_find_the_pods_that_they_are_for() -> None:
    objects = overlay("production")
    made = list(pods(objects))
    for service in of_kind(objects, "Service"):
        wanted = service["spec"]["selector"]
        found = [pod for pod in made if wanted.items() <= pod.labels.items()]
        assert found, service["metadata"]["name"]
        assert {pod.component for pod in found} == {wanted[COMPONENT]}
        for port in service["spec"]["ports"]:
            names = [
                [each["name"] for c in pod.spec["containers"] for each in c.get("ports", [])]
                for pod in found
            ]
            assert all(port["targetPort"] in each for each in names), service["metadata"]["name"]


@pytest.mark.parametrize("name", OVERLAYS)
def test_whoever_must_be_beside_another_can_be(name: str) -> None:
    """The scheduler looks for one pod that meets every required term."""
    made = list(pods(overlay(name)))
    bound = "requiredDuringSchedulingIgnoredDuringExecution"
    wanting = {
        pod.owner: [term["labelSelector"]["matchLabels"] for term in terms]
        for pod in made
        if (terms := pod.spec.get("affinity", {}).get("podAffinity", {}).get(bound))
    }
    assert "CronJob/backup" in wanting
    for owner, wanted in wanting.items():
        beside = [pod for pod in made if all(each.items() <= pod.labels.items() for each in wanted)]
        assert beside, owner


def test_prometheus_finds_replicas_that_are_not_ready_and_the_loop_does_not() -> None:
    services = {
        each["metadata"]["name"]: each for each in of_kind(overlay("production"), "Service")
    }
    scraped = yaml.safe_load((DEPLOY.parent / "prometheus" / "prometheus.yml").read_text())
    (job,) = [each for each in scraped["scrape_configs"] if each["job_name"] == "inference"]
    (name,) = job["dns_sd_configs"][0]["names"]
    assert services[name]["spec"]["publishNotReadyAddresses"] is True
    monitor = named(with_component("prometheus-operator"), "ServiceMonitor", "inference")["spec"]
    chosen = monitor["selector"]["matchLabels"].items()
    found = [n for n, each in services.items() if chosen <= each["metadata"]["labels"].items()]
    assert found == [name]
    (loop,) = [
        word.removeprefix("--server=http://").partition(":")[0]
        for pod in pods(overlay("production"))
        for box in pod.containers
        for word in box.get("args", [])
        if word.startswith("--server=http")
    ]
    assert "publishNotReadyAddresses" not in services[loop]["spec"]


def test_the_operators_rules_are_those_of_prometheus() -> None:
    rules = named(with_component("prometheus-operator"), "PrometheusRule", "fedrisk")
    groups: list[Any] = []
    for file in sorted((DEPLOY.parent / "prometheus" / "rules").glob("*.yml")):
        groups += yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    assert rules["spec"]["groups"] == groups, "run components/prometheus-operator/make-rule.py"


def test_prometheus_gets_every_file_of_rules() -> None:
    files = {each.name for each in (DEPLOY.parent / "prometheus" / "rules").glob("*.yml")}
    prometheus = next(p for p in pods(overlay("local")) if p.component == "prometheus")
    (volume,) = [each for each in prometheus.spec["volumes"] if "projected" in each]
    (rules,) = [
        each["configMap"]
        for each in volume["projected"]["sources"]
        if "prometheus-rules" in each.get("configMap", {}).get("name", "")
    ]
    assert {each["key"] for each in rules["items"]} == files


def test_grafana_gets_its_dashboards_its_sources_and_one_secret() -> None:
    objects = with_component("grafana")
    grafana = next(pod for pod in pods(objects) if pod.component == "grafana")
    assert secret_keys(grafana.spec) == {"grafana-password"}
    mounted = {m["name"]: m["mountPath"] for m in grafana.containers[0]["volumeMounts"]}
    maps = {
        mounted[each["name"]]: each["configMap"]
        for each in grafana.spec["volumes"]
        if "configMap" in each
    }
    held = {place: named(objects, "ConfigMap", one["name"])["data"] for place, one in maps.items()}
    provisioning = "/etc/grafana/provisioning"
    paths = {each["key"]: each["path"] for each in maps[provisioning]["items"]}
    files = {paths[key]: yaml.safe_load(text) for key, text in held[provisioning].items()}
    (provider,) = files["dashboards/fedrisk.yml"]["providers"]
    dashboards = DEPLOY.parent / "grafana" / "dashboards"
    assert set(held[provider["options"]["path"]]) == {each.name for each in dashboards.iterdir()}
    asked = {
        tuple(each["url"].removeprefix("http://").split(":"))
        for each in files["datasources/fedrisk.yml"]["datasources"]
    }
    listening = {
        (each["metadata"]["name"], str(port["port"]))
        for each in of_kind([*objects, *with_component("loki")], "Service")
        for port in each["spec"]["ports"]
    }
    assert asked <= listening
    policy = named(objects, "NetworkPolicy", "grafana")["spec"]
    assert "ingress" not in policy
    let_out = {
        (rule["to"][0]["podSelector"]["matchLabels"][COMPONENT], str(rule["ports"][0]["port"]))
        for rule in policy["egress"]
    }
    assert let_out == asked


def test_the_files_of_kustomize_hold_one_yaml_document_each_way() -> None:
    for file in DEPLOY.rglob("*.yaml"):
        assert list(yaml.safe_load_all(file.read_text(encoding="utf-8"))), file
