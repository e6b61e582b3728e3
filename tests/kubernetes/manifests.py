"""What kustomize makes of deploy/kubernetes, as objects."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
COMPONENT = "app.kubernetes.io/component"
OVERLAYS = sorted(each.parent.name for each in DEPLOY.glob("overlays/*/kustomization.yaml"))
COMPONENTS = sorted(each.parent.name for each in DEPLOY.glob("components/*/kustomization.yaml"))

Object = dict[str, Any]


@cache
def _built(folder: Path) -> str:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    ended = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@cache
def build(folder: Path) -> list[Object]:
    """The objects of a folder with a kustomization; not to be changed."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return [each for each in yaml.load_all(_built(folder), Loader=loader) if each]


def overlay(name: str) -> list[Object]:
    """The objects of an overlay."""
    return build(DEPLOY / "overlays" / name)


@cache
def _with_component(name: str) -> Path:
    """A folder that has base and one component."""
    folder = Path(tempfile.mkdtemp(dir=DEPLOY, prefix=".test-"))
    text = f"resources: [../base]\ncomponents: [../components/{name}]\n"
    (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
    try:
        _built(folder)
    finally:
        shutil.rmtree(folder)
    return folder


def with_component(name: str) -> list[Object]:
    """Base and one component."""
    return build(_with_component(name))


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    return [each for each in objects if each["kind"] in kinds]


def named(objects: list[Object], kind: str, name: str) -> Object:
    (found,) = [each for each in of_kind(objects, kind) if each["metadata"]["name"] == name]
    return found


@dataclass(frozen=True)
class Pod:
    """A pod that an object makes."""

    owner: str
    labels: dict[str, str]
    spec: dict[str, Any]

    @property
    def component(self) -> str:
        return self.labels[COMPONENT]

    @property
    def containers(self) -> list[dict[str, Any]]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


def pods(objects: list[Object]) -> Iterator[Pod]:
    """Every pod template."""
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if isinstance(spec, dict) and "spec" in (template := spec.get("template", {})):
            owner = f"{each['kind']}/{each['metadata']['name']}"
            yield Pod(owner, template["metadata"]["labels"], template["spec"])
