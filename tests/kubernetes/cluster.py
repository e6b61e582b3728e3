"""A namespace of a real cluster, as kubectl sees it, and load from a pod inside it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "deploy-k8s.sh"
#: Run in pods.
ASK = """\
import json, sys, urllib.error, urllib.request
given = json.load(sys.stdin)
heads = {"Content-Type": "application/json"}
if given["key"]:
    heads["Authorization"] = "Bearer " + given["key"]
body = None if given["row"] is None else json.dumps(given["row"]).encode()
try:
    asked = urllib.request.Request("http://inference" + given["path"], body, heads)
    answer = urllib.request.urlopen(asked, timeout=30)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps({"status": answer.status, "document": json.load(answer)}))
"""
CALLER = Path(__file__).with_name("caller.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Cluster:
    """One namespace.

    Attributes
    ----------
    namespace : str
    tag : str
        Of the images.
    """

    namespace: str
    tag: str

    def kubectl(self, *words: str, given: str | None = None, timeout: float = 300) -> str:
        """What kubectl prints; an error is a failure of the test."""
        ended = self.tried(*words, given=given, timeout=timeout)
        assert ended.returncode == 0, f"kubectl {' '.join(words)}: {ended.stderr}{ended.stdout}"
        return ended.stdout

    def tried(
        self, *words: str, given: str | None = None, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        command = ["kubectl", "--namespace", self.namespace, *words]
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=timeout, check=False
        )

    def get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def deploy(self, *words: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """What the script says."""
        place = ["--namespace", self.namespace, *(["--tag", self.tag] if self.tag else [])]
        command = [str(SCRIPT), "local", *place, *words]
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def coordinator(self, *words: str, given: str | None = None, timeout: float = 900) -> str:
        where = ["exec", "-i", "deployment/federated-server", "-c", "coordinator", "--"]
        return self.kubectl(*where, *words, given=given, timeout=timeout)

    def all_pods(self, component: str) -> list[dict[str, Any]]:
        found = self.get("pods", "-l", f"app.kubernetes.io/component={component}")["items"]
        return list(found)

    def pods(self, component: str) -> list[dict[str, Any]]:
        """Those that are not about to end."""
        return [
            each for each in self.all_pods(component) if "deletionTimestamp" not in each["metadata"]
        ]

    def ready(self, component: str) -> list[str]:
        """The pods that are ready, by uid: a StatefulSet gives a name again."""
        return [
            each["metadata"]["uid"]
            for each in self.pods(component)
            for condition in each["status"].get("conditions", [])
            if condition["type"] == "Ready" and condition["status"] == "True"
        ]

    def secret(self, name: str, key: str) -> str:
        path = 'go-template={{index .data "' + key + '" | base64decode}}'
        return self.kubectl("get", "secret", name, "-o", path)

    def ask(self, path: str, row: Mapping[str, Any] | None = None, key: str = "") -> dict[str, Any]:
        """Ask the API through its Service, from the coordinator's pod."""
        given = json.dumps({"key": key, "row": row, "path": path})
        told: dict[str, Any] = json.loads(self.coordinator("python", "-c", ASK, given=given))
        return told


def wait_until(true: Callable[[], object], seconds: float, pause: float = 1.0) -> float:
    """Seconds until something is true; a failure where it never is."""
    start = time.monotonic()
    while not true():
        assert time.monotonic() - start < seconds, f"not within {seconds:g} s"
        time.sleep(pause)
    return time.monotonic() - start


@dataclass
class Load:
    """What a caller inside the cluster was answered."""

    cluster: Cluster
    name: str

    def told(self) -> dict[str, Any]:
        lines = self.cluster.kubectl("logs", self.name, "--tail=1").splitlines()
        return dict(json.loads(lines[-1])) if lines else {"statuses": {}, "versions": {}}

    def answers(self, version: str | None = None) -> int:
        told = self.told()
        return int(
            told["statuses"].get("200", 0) if version is None else told["versions"].get(version, 0)
        )


def pod(name: str, image: str, command: Sequence[str], **more: Any) -> dict[str, Any]:
    """A pod that the restricted level lets in."""
    container = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": list(command),
        "env": [{"name": k, "value": v} for k, v in more.get("env", {}).items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "volume", "mountPath": more["place"]}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": more.get("labels", {})},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "volume", **more["volume"]}],
        },
    }


def shelf(image: str) -> str:
    """A pod that holds the volume of backups."""
    claim = {"persistentVolumeClaim": {"claimName": "backups"}}
    return json.dumps(pod("shelf", image, ["sleep", "600"], place="/backups", volume=claim))


def caller(name: str, image: str, row: Mapping[str, Any], threads: int, pause: float) -> str:
    """A pod that asks the API through its Service."""
    return json.dumps(
        pod(
            name,
            image,
            ["python", "-c", CALLER],
            env={"ROW": json.dumps(row), "THREADS": str(threads), "PAUSE": str(pause)},
            labels={"fedrisk-access": "api"},
            place="/run/secrets/key",
            volume={"secret": {"secretName": "fedrisk-first-key"}},
        )
    )


@contextmanager
def under_load(
    cluster: Cluster, image: str, row: Mapping[str, Any], threads: int = 4, pause: float = 0.05
) -> Iterator[Load]:
    """The API asked all the time, by connections of one request and by connections that stay."""
    name = f"caller-{time.monotonic_ns() % 10**8}"
    cluster.kubectl("apply", "-f", "-", given=caller(name, image, row, threads, pause))
    load = Load(cluster, name)
    try:
        wait_until(lambda: cluster.tried("logs", name).stdout and load.answers() > 10, 120)
        yield load
        time.sleep(2)
    finally:
        cluster.kubectl("delete", "pod", name, "--wait=false")


def failures(told: Mapping[str, Any]) -> dict[str, int]:
    """Answers that were not 200, by status."""
    return {status: n for status, n in told["statuses"].items() if status != "200"}


def restarts(pods: Sequence[Mapping[str, Any]]) -> int:
    return sum(
        each["restartCount"] for pod in pods for each in pod["status"].get("containerStatuses", [])
    )
