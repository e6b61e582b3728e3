"""Every object is what Kubernetes' own schemas say, with no key that they do not know."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from .manifests import COMPONENTS, DEPLOY, OVERLAYS, ROOT, Object, build, overlay, with_component

COMMAND = ROOT / ".venv-deploy" / "bin" / "kubernetes-validate"
#: The oldest release that the manifests are for, and a new one.
VERSIONS = ("1.30", "1.37")
#: Kinds of operators, whose schemas are not Kubernetes'.
CUSTOM = ("ServiceMonitor", "PrometheusRule", "ExternalSecret")

pytestmark = pytest.mark.skipif(
    not COMMAND.exists(), reason="scripts/deploy-tools.sh has not installed kubernetes-validate"
)


def validate(objects: list[Object], version: str, folder: Path) -> str:
    """What is wrong with objects; empty where nothing is."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all([o for o in objects if o["kind"] not in CUSTOM]))
    command = [str(COMMAND), "--strict", "--kubernetes-version", version, str(file)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_fit_the_schemas(name: str, version: str, tmp_path: Path) -> None:
    assert validate(overlay(name), version, tmp_path) == ""


def test_components_and_the_job_fit_the_schemas(tmp_path: Path) -> None:
    objects = build(DEPLOY / "retraining-job")
    for name in COMPONENTS:
        if name != "federated-client":
            objects = objects + with_component(name)
    assert validate(objects, VERSIONS[-1], tmp_path) == ""


def test_a_wrong_key_is_told(tmp_path: Path) -> None:
    objects = [{**overlay("local")[0], "spce": {}}]
    assert "spce" in validate(objects, VERSIONS[-1], tmp_path)
