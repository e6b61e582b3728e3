"""What is wrong with a deployment is said by the script, on a real cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cluster import ROOT, SCRIPT, Cluster

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A namespace that is not there yet, and is gone afterwards."""
    if shutil.which("kubectl") is None or "KUBECONFIG" not in os.environ:
        pytest.skip("needs kubectl, and KUBECONFIG for a cluster")
    name = os.environ.get("FEDRISK_NAMESPACE", "fedrisk-e2e") + "-faults"
    found = Cluster(name, os.environ.get("FEDRISK_IMAGE_TAG", ""))
    yield found
    found.deploy("--delete", "--data")


def test_an_image_that_does_not_exist_is_named(cluster: Cluster) -> None:
    ended = Cluster(cluster.namespace, "no-such-tag").deploy("--timeout", "240")
    assert ended.returncode == 1
    assert ":no-such-tag does not exist where the cluster looks" in ended.stderr
    assert "scripts/build-images.sh" in ended.stderr
    assert "events" in ended.stderr


def test_a_missing_secret_is_named(cluster: Cluster) -> None:
    ended = cluster.deploy("--existing-secrets")
    assert ended.returncode == 1
    assert "lacks: postgres-password api-keys" in ended.stderr


FULL = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: ["{local}"]
patches:
  - target: {{kind: StatefulSet, name: postgres}}
    patch: |
      - op: remove
        path: /spec/volumeClaimTemplates
      - op: add
        path: /spec/template/spec/volumes/-
        value: {{name: data, emptyDir: {{medium: Memory, sizeLimit: 12Mi}}}}
"""


def test_a_full_volume_is_named(cluster: Cluster, tmp_path: Path) -> None:
    local = os.path.relpath(ROOT / "deploy/kubernetes/overlays/local", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(FULL.format(local=local))
    words = ["--namespace", cluster.namespace, "--timeout", "240"]
    words += ["--tag", cluster.tag] if cluster.tag else []
    ended = subprocess.run(
        [str(SCRIPT), str(tmp_path), *words],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 1
    assert "is full: postgres found no space left on device" in ended.stderr
    assert "make the claim larger" in ended.stderr
