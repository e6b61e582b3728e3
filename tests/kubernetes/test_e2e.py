"""The whole of it on a real cluster: `make e2e-kubernetes`.

KUBECONFIG names the cluster. FEDRISK_IMAGE_TAG is the tag of images that are loaded (without it,
the overlay's); FEDRISK_NEXT_TAG another one, for the roll-out. The tests are one story: each goes
on where the one before ended.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fedrisk.simulation import latest_start, write_cohort

from .cluster import ROOT, Cluster, failures, restarts, shelf, under_load, wait_until

pytestmark = pytest.mark.kubernetes

SITES = ("north", "south")
#: People of each site, days, seed; the world changes so many days before the end.
PEOPLE, DAYS, SEED, CHANGED = 400, 720, 7, 350
ROW = {
    "heart_rate": 72, "steps": 6000, "sleep_hours": 7, "respiratory_rate": 15, "body_temp": 36.7,
    "pm25": 12, "pm10": 20, "o3": 60, "no2": 20, "temperature": 15, "humidity": 60,
    "age": 60, "sex": "female",
}  # fmt: skip
#: Trials of seconds instead of days; a person approves.
PLAN = """\
gate_days = 120
poll_seconds = 0.5
[[challengers]]
name = "refit"
[shadow]
seconds = 2
least = 50
most_seconds = 240
[canary]
seconds = 2
least = 50
most_seconds = 240
[service]
share = 0.5
slower = 50
most_difference = 0.9
most_seconds = 5
take_up_seconds = 10
[watch]
compare_days = 14
"""
HOME = "/var/lib/fedrisk/federation/home"
TIMES: dict[str, float] = {}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if shutil.which("kubectl") is None or "KUBECONFIG" not in os.environ:
        pytest.skip("needs kubectl, and KUBECONFIG for a cluster")
    namespace = os.environ.get("FEDRISK_NAMESPACE", "fedrisk-e2e")
    found = Cluster(namespace, os.environ.get("FEDRISK_IMAGE_TAG", ""))
    yield found
    print("\n" + "\n".join(f"{what:44s} {seconds:7.1f} s" for what, seconds in TIMES.items()))
    if "FEDRISK_KEEP_NAMESPACE" not in os.environ:
        found.deploy("--delete", "--data")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two sites whose concept has changed for almost a year."""
    folder = tmp_path_factory.mktemp("cohort")
    today = datetime.now(UTC).date()
    start = latest_start(today, DAYS)
    change = start + timedelta(days=DAYS - CHANGED)
    made = write_cohort(
        folder, 2, PEOPLE, DAYS, SEED, start, scenario="concept-change", change=change, size=6.0
    )
    return dict(zip(SITES, made.values(), strict=True))


def timed(what: str, start: float) -> None:
    TIMES[what] = time.monotonic() - start
    print(f"{what}: {TIMES[what]:.1f} s")


def image_of(cluster: Cluster, component: str, container: str) -> str:
    pod = cluster.pods(component)[0]
    (found,) = [c["image"] for c in pod["spec"]["containers"] if c["name"] == container]
    return str(found)


def images(cluster: Cluster, name: str) -> set[str]:
    """Images of a component's containers of that name, of pods that end, too."""
    boxes = [each for pod in cluster.all_pods(name) for each in pod["spec"]["containers"]]
    return {each["image"] for each in boxes if each["name"] == name}


def key_of(cluster: Cluster) -> str:
    return cluster.secret("fedrisk-first-key", "api-key")


def predict(cluster: Cluster) -> dict[str, Any]:
    return cluster.ask("/predict", ROW, key_of(cluster))


def version_of(cluster: Cluster) -> str:
    told = predict(cluster)
    assert told["status"] == 200, told
    return str(told["document"]["model"]["version"])


def test_the_script_deploys_joins_and_waits(cluster: Cluster, rows: dict[str, Path]) -> None:
    start = time.monotonic()
    sites = [f"--site={name}={file}" for name, file in rows.items()]
    words = [word for each in sites for word in each.split("=", 1)]
    ended = cluster.deploy(*words)
    assert ended.returncode == 0, ended.stderr
    timed("deploy, join two sites, all healthy", start)
    assert "no model serves yet" in ended.stderr
    keys = cluster.secret("fedrisk-secrets", "api-keys")
    assert key_of(cluster) not in ended.stderr + ended.stdout + keys


def test_a_second_deployment_changes_nothing(cluster: Cluster) -> None:
    before = {each["metadata"]["name"] for each in cluster.get("pods")["items"]}
    secrets = cluster.get("secrets")["items"]
    start = time.monotonic()
    ended = cluster.deploy()
    assert ended.returncode == 0, ended.stderr
    timed("deploy again, nothing to do", start)
    assert {each["metadata"]["name"] for each in cluster.get("pods")["items"]} == before
    assert [each["data"] for each in cluster.get("secrets")["items"]] == [
        each["data"] for each in secrets
    ]


def test_sites_train_over_pods_and_the_service_predicts(cluster: Cluster) -> None:
    start = time.monotonic()
    today = datetime.now(UTC).date()
    change = latest_start(today, DAYS) + timedelta(days=DAYS - CHANGED)
    monday = change - timedelta(days=change.weekday())
    words = ["fedrisk", "train", "--engine", "deployed", "--json", "--study", "air-wearables"]
    words += ["--federation", "/var/lib/fedrisk/federation", "--until", f"{monday}T00:00:00+00:00"]
    cluster.coordinator("sh", "-ec", f"cat >{HOME}/plan.toml", given=PLAN)
    told = json.loads(cluster.coordinator("with-secrets.sh", *words))
    timed("train over two sites' pods", start)
    assert set(told["sites"]) == set(SITES)
    assert told["model_version"] == "1"
    wait_until(lambda: len(cluster.ready("inference")) >= 2, 180)
    timed("train, and two replicas ready", start)
    told = predict(cluster)
    assert told["status"] == 200
    assert 0 < told["document"]["risk_score"] < 1
    assert told["document"]["model"] == {"name": "air-wearables", "version": "1"}
    assert cluster.ask("/predict", ROW)["status"] == 401, "nobody without a key"


def test_a_new_image_rolls_out_under_load_without_a_failed_request(cluster: Cluster) -> None:
    next_tag = os.environ.get("FEDRISK_NEXT_TAG")
    if not next_tag:
        pytest.skip("FEDRISK_NEXT_TAG names no second tag")
    image = image_of(cluster, "federated-server", "coordinator")
    with under_load(cluster, image, ROW) as load:
        start = time.monotonic()
        now = image_of(cluster, "inference", "inference")
        following = f"{now.rsplit(':', 1)[0]}:{next_tag}"
        cluster.kubectl("set", "image", "deployment/inference", f"inference={following}")
        cluster.kubectl("rollout", "status", "deployment/inference", "--timeout=400s", timeout=420)
        timed("a new image under load", start)
        # Until the old pods have drained and gone; the autoscaler says how many there are.
        wait_until(lambda: images(cluster, "inference") == {following}, 180)
        told = load.told()
    print(f"answers while the image rolled out: {told['statuses']}")
    assert image_of(cluster, "inference", "inference") == following
    assert failures(told) == {}, told["faults"]
    assert told["statuses"]["200"] > 500


def test_a_new_model_rolls_out_under_load_without_a_failed_request(cluster: Cluster) -> None:
    image = image_of(cluster, "federated-server", "coordinator")
    with under_load(cluster, image, ROW) as load:
        start = time.monotonic()
        words = ["fedrisk", "train", "--engine", "deployed", "--federation"]
        words += ["/var/lib/fedrisk/federation", "--study", "air-wearables", "--promote", "--json"]
        told = json.loads(cluster.coordinator("with-secrets.sh", *words))
        assert told["model_version"] == "2"
        wait_until(lambda: load.answers("2") > 100, 120)
        timed("a new model trained and taken up under load", start)
        told = load.told()
    print(f"answers while the model changed: {told['statuses']} {told['versions']}")
    assert failures(told) == {}, told["faults"]
    assert set(told["versions"]) == {"1", "2"}
    # The story goes on with the champion that the world has left behind.
    cluster.coordinator("with-secrets.sh", "fedrisk", "rollback", "--reason", "e2e", "--home", HOME)
    wait_until(lambda: version_of(cluster) == "1", 60)


@pytest.mark.parametrize(
    "component",
    ["inference", "mlflow", "postgres", "federated-server", "federated-client", "prometheus",
     "alertmanager"],
)  # fmt: skip
def test_each_pod_is_killed_once_and_comes_back_with_nothing_lost(
    cluster: Cluster, component: str
) -> None:
    before = cluster.pods(component)
    # The autoscaler may take back a replica that the test before has called for.
    count = 2 if component == "inference" else len(before)
    victim = before[0]["metadata"]
    start = time.monotonic()
    cluster.kubectl("delete", "pod", victim["name"], "--grace-period=0", "--force")
    wait_until(lambda: len({*cluster.ready(component)} - {victim["uid"]}) >= count, 300)
    if component in ("federated-server", "federated-client"):
        wait_until(lambda: online(cluster) == set(SITES), 180)
    timed(f"killed {component}, back", start)
    assert version_of(cluster) == "1"
    models = json.loads(
        cluster.coordinator("with-secrets.sh", "fedrisk", "models", "--home", HOME, "--json")
    )
    assert {str(each["version"]) for each in models["versions"]} >= {"1", "2"}
    assert restarts(cluster.pods(component)) <= 3


def online(cluster: Cluster) -> set[str]:
    words = ["fedrisk", "federation", "status", "--federation", "/var/lib/fedrisk/federation"]
    ended = cluster.tried(
        "exec", "deployment/federated-server", "-c", "coordinator", "--", *words, "--json"
    )
    if ended.returncode != 0:
        return set()
    sites = json.loads(ended.stdout)["sites"]
    return {each["site"] for each in sites if each["connection"] == "online"}


def job_ended(cluster: Cluster, name: str) -> bool:
    status = cluster.get("job", name)["status"]
    return bool(status.get("succeeded") or status.get("failed"))


def run_retraining_job(cluster: Cluster, name: str) -> str:
    """Run the Job of deploy/kubernetes/retraining-job to its end; its last lines."""
    made = subprocess.run(
        ["kubectl", "kustomize", str(ROOT / "deploy/kubernetes/retraining-job")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    image = image_of(cluster, "federated-server", "watch")
    made = made.replace("image: fedrisk-server", f"image: {image}")
    made = made.replace("name: retraining-manual", f"name: {name}")
    made = made.replace("namespace: fedrisk\n", f"namespace: {cluster.namespace}\n")
    cluster.kubectl("apply", "-f", "-", given=made)
    wait_until(lambda: job_ended(cluster, name), 900, 3)
    return cluster.kubectl("logs", f"job/{name}", "--tail=30")


def newest_retraining(cluster: Cluster) -> dict[str, Any]:
    told = cluster.ask("/retrainings", None, key_of(cluster))
    assert told["status"] == 200, told
    found: dict[str, Any] = told["document"]["retrainings"][0]
    return found


def test_the_retraining_job_leads_to_a_promoted_model(cluster: Cluster) -> None:
    image = image_of(cluster, "federated-server", "coordinator")
    start = time.monotonic()
    with under_load(cluster, image, ROW) as load:
        said = run_retraining_job(cluster, "retraining-e2e-1")
        print(said)
        newest = newest_retraining(cluster)
        assert newest["state"] == "awaiting approval", (newest, said)
        timed("retraining Job to its approval", start)
        asked = cluster.ask(f"/retrainings/{newest['id']}/approve", {}, key_of(cluster))
        assert asked["status"] == 200, asked
        said = run_retraining_job(cluster, "retraining-e2e-2")
        print(said)
        newest = newest_retraining(cluster)
        assert newest["state"] in ("promoted", "watched", "done"), (newest, said)
        wait_until(lambda: version_of(cluster) == "3", 60)
        timed("retraining Job to a promoted model", start)
        told = load.told()
    print(f"answers while it retrained: {told['statuses']} {told['versions']}")
    assert failures(told) == {}, told["faults"]


def test_inference_scales_under_load_and_back(cluster: Cluster) -> None:
    image = image_of(cluster, "federated-server", "coordinator")
    replicas = int(cluster.get("hpa", "inference")["spec"]["minReplicas"])
    wait_until(lambda: len(cluster.ready("inference")) == replicas, 420, 5)
    start = time.monotonic()
    with under_load(cluster, image, ROW, threads=8, pause=0.0) as load:
        wait_until(lambda: len(cluster.ready("inference")) > replicas, 300, 3)
        timed("HPA scales inference up, ready", start)
        told = load.told()
    print(f"answers while it scaled: {told['statuses']}")
    assert failures(told) == {}, told["faults"]
    start = time.monotonic()
    wait_until(lambda: len(cluster.ready("inference")) == replicas, 420, 5)
    timed("HPA scales inference down", start)


def moved_backups(source: Cluster, target: Cluster, image: str) -> None:
    """Copy the volume of backups to another namespace, as an operator would through a bucket."""
    for each in (source, target):
        each.kubectl("apply", "-f", "-", given=shelf(image))
        each.kubectl("wait", "pod/shelf", "--for=condition=Ready", "--timeout=120s")
    words = ["kubectl", "exec", "-i", "shelf", "--namespace"]
    # Not the folder itself, which is a volume's and not this user's.
    packing = [*words, source.namespace, "--", "sh", "-c", "cd /backups && tar -cf - fedrisk-*"]
    unpacking = [*words, target.namespace, "--", "tar", "-C", "/backups", "-xf", "-"]
    with subprocess.Popen(packing, stdout=subprocess.PIPE) as out:
        subprocess.run(unpacking, stdin=out.stdout, check=True, timeout=300)
    for each in (source, target):
        each.kubectl("delete", "pod", "shelf", "--grace-period=1")


def test_a_backup_restored_into_an_empty_namespace_answers_the_same(cluster: Cluster) -> None:
    start = time.monotonic()
    ended = subprocess.run(
        [str(ROOT / "scripts" / "backup.sh"), "kubernetes", "--namespace", cluster.namespace],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    timed("backup Job", start)
    before = predict(cluster)["document"]
    image = image_of(cluster, "federated-server", "coordinator")
    # What burns; a small node has no room for both.
    for kind in ("deployment", "statefulset"):
        cluster.kubectl("scale", kind, "--all", "--replicas=0")
    other = Cluster(f"{cluster.namespace}-restored", cluster.tag)
    start = time.monotonic()
    try:
        made = other.deploy("--no-join")
        assert made.returncode == 0, made.stderr
        moved_backups(cluster, other, image)
        words = ["kubernetes", "--namespace", other.namespace, "--force"]
        ended = subprocess.run(
            [str(ROOT / "scripts" / "restore.sh"), *words],
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        other.kubectl("rollout", "status", "deployment/inference", "--timeout=300s", timeout=320)
        timed("an empty namespace, restored, serves", start)
        after = predict(other)["document"]
        assert {**after, "request_id": ""} == {**before, "request_id": ""}
        status = json.loads(
            other.coordinator(
                "fedrisk", "federation", "status", "--json", "--federation", f"{HOME}/.."
            )
        )
        assert {each["site"] for each in status["sites"]} == set(SITES), "the authority's sites"
    finally:
        other.deploy("--delete", "--data")
