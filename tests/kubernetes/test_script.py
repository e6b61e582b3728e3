"""scripts/deploy-k8s.sh names what is wrong and how to mend it, before anything is applied."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from .cluster import SCRIPT
from .manifests import DEPLOY, OVERLAYS, pods

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

#: A cluster that answers what files in its folder say; the file `applied` tells of an overlay.
KUBECTL = """\
#!/usr/bin/env bash
here=$(dirname "$0")
words="$*"
case $words in
  *kustomize*) exec "$REAL" "$@" ;;
  *readyz*) exit 0 ;;
  *"get storageclass -o go-template"*) cat "$here/default-class" ;;
  *"get storageclass"*) printf 'storageclass.storage.k8s.io/slow\\n' ;;
  *metrics.k8s.io*) exit "$(cat "$here/metrics")" ;;
  *"get namespace"*) exit 0 ;;
  *"get pvc data-postgres-0"*) exit "$(cat "$here/database")" ;;
  *"get secret fedrisk-secrets -o"*) cat "$here/held" ;;
  *"get secret"*) exit 1 ;;
  *"patch secret"*) cat >"$here/patched"; printf '%s\\n' "$words" >>"$here/words" ;;
  *"create secret"*) printf '%s\\n' "$words" >>"$here/words" ;;
  *"apply"*" -f -") cat >/dev/null ;;
  *apply*) touch "$here/applied"; exit 1 ;;
esac
"""
#: A file of nothing.
EMPTY = DEPLOY.parents[1] / "src" / "fedrisk" / "py.typed"
ALL = "postgres-password api-keys metrics-key operations-token site-metrics-token "


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """A folder whose kubectl stands for a cluster on which everything is well."""
    (tmp_path / "kubectl").write_text(KUBECTL)
    (tmp_path / "kubectl").chmod(0o755)
    for name, text in (
        ("default-class", "true"),
        ("metrics", "0"),
        ("database", "1"),
        ("held", ""),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def run(*words: str, stage: Path | None = None, **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "KUBECONFIG"} | changes
    if stage is not None:
        environment["REAL"] = str(shutil.which("kubectl"))
        environment["PATH"] = f"{stage}:{environment['PATH']}"
    return subprocess.run(
        [str(SCRIPT), *words],
        capture_output=True, text=True, env=environment, cwd="/", timeout=120, check=False,
    )  # fmt: skip


def test_help_tells_every_option() -> None:
    told = run("--help")
    assert told.returncode == 0
    parsed = SCRIPT.read_text(encoding="utf-8").split("parse() {")[1].split("\n}\n")[0]
    options = set(re.findall(r"--[a-z-]+", parsed))
    assert len(options) > 10
    assert [option for option in options if option not in told.stdout] == []


@pytest.mark.parametrize(
    ("words", "error", "hint"),
    [
        (["locale"], "no overlay is named locale", "one of: local production staging"),
        (["--tag", "latest"], "latest", "--tag"),
        (["--tga", "x"], "unknown option --tga", "--help"),
        (["--site", "north"], "not NAME=FILE", "north=rows.csv"),
        (["--site", "north=/nowhere"], "no such file", "--site"),
        (["--site", f"north={EMPTY}"], "is empty", "--site"),
        (["--site", "north=/bin/sh"], "neither .csv nor .parquet", "north=rows.csv"),
        (["--timeout", "soon"], "no number of seconds", "300"),
        (["local", "staging"], "one overlay at a time", "--help"),
        (["--data"], "--delete", "--help"),
    ],
)
def test_what_was_typed_wrongly_is_named(
    words: list[str], error: str, hint: str, stage: Path
) -> None:
    ended = run(*words, stage=stage)
    assert ended.returncode == 2
    first, second = ended.stderr.strip().splitlines()
    assert first.startswith("error: ")
    assert second.startswith("hint: ")
    assert error in first
    assert hint in second


def test_a_cluster_that_is_away_is_named(tmp_path: Path) -> None:
    ended = run("local", KUBECONFIG=str(tmp_path / "none"))
    assert ended.returncode == 1
    assert "the cluster does not answer" in ended.stderr
    assert "KUBECONFIG" in ended.stderr


def test_no_default_storage_class_is_named(stage: Path) -> None:
    (stage / "default-class").write_text("")
    ended = run("local", stage=stage)
    assert ended.returncode == 1
    assert "no default StorageClass" in ended.stderr
    assert "slow" in ended.stderr, "those that there are"
    assert not (stage / "applied").exists()


def test_a_cluster_without_metrics_is_named_and_may_be_accepted(stage: Path) -> None:
    (stage / "metrics").write_text("1")
    ended = run("local", stage=stage)
    assert ended.returncode == 1
    assert "no metrics" in ended.stderr
    assert "--without-metrics" in ended.stderr
    assert not (stage / "applied").exists()
    assert "does not scale" in run("local", "--without-metrics", stage=stage).stderr


def test_missing_secrets_are_made_through_standard_input(stage: Path) -> None:
    run("local", stage=stage)
    made = yaml.safe_load((stage / "patched").read_text())["stringData"]
    assert set(made) == set(ALL.split())
    assert made["metrics-key"].startswith("frk_")
    words = (stage / "words").read_text()
    for value in made.values():
        assert value.strip() not in words


def test_a_password_for_grafana_is_made_where_grafana_is(stage: Path) -> None:
    overlay, components = (
        os.path.relpath(DEPLOY / each, stage.resolve()) for each in ("overlays/local", "components")
    )
    text = f"resources: [{overlay}]\ncomponents: [{components}/grafana]\n"
    (stage / "kustomization.yaml").write_text(text)
    run(str(stage), stage=stage)
    made = yaml.safe_load((stage / "patched").read_text())["stringData"]
    assert set(made) == {*ALL.split(), "grafana-password"}


def test_the_key_store_holds_hashes_that_the_server_reads(stage: Path, tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from fedrisk.serving.access.keys import read_keys

    run("local", stage=stage)
    made = yaml.safe_load((stage / "patched").read_text())["stringData"]
    (tmp_path / "keys.json").write_text(made["api-keys"])
    ring = read_keys(tmp_path / "keys.json")
    assert ring.find(made["metrics-key"], datetime.now(UTC)).scopes == ("metrics",)
    scopes = {each.name: each.scopes for each in ring.keys.values()}
    assert scopes["first"] == ("predict", "batch", "admin")


def test_secrets_that_are_there_stay(stage: Path) -> None:
    (stage / "held").write_text(ALL)
    run("local", stage=stage)
    assert not (stage / "patched").exists()
    (stage / "held").write_text(ALL.replace("operations-token ", ""))
    run("local", stage=stage)
    assert set(yaml.safe_load((stage / "patched").read_text())["stringData"]) == {
        "operations-token"
    }


def test_a_missing_secret_is_named_where_none_is_to_be_made(stage: Path) -> None:
    (stage / "held").write_text(ALL.replace("api-keys ", ""))
    ended = run("local", "--existing-secrets", stage=stage)
    assert ended.returncode == 1
    assert "lacks: api-keys" in ended.stderr
    assert "--from-file" in ended.stderr


def test_no_second_password_is_made_for_a_database_that_has_one(stage: Path) -> None:
    (stage / "database").write_text("0")
    ended = run("local", stage=stage)
    assert ended.returncode == 1
    assert "there is a database with another one" in ended.stderr


@pytest.mark.parametrize("name", OVERLAYS)
def test_tag_registry_and_namespace_replace_what_the_overlay_says(name: str, stage: Path) -> None:
    words = ["--tag", "7f3a", "--registry", "registry.test/Team/", "--namespace", "elsewhere"]
    told = run(name, *words, "--render", stage=stage)
    assert told.returncode == 0, told.stderr
    objects = [each for each in yaml.safe_load_all(told.stdout) if each]
    images = {
        c["image"] for pod in pods(objects) for c in pod.containers if "fedrisk" in c["image"]
    }
    pieces = ("server", "client", "inference", "mlflow")
    assert images == {f"registry.test/team/fedrisk-{piece}:7f3a" for piece in pieces}
    spaces = {each["metadata"].get("namespace") for each in objects if each["kind"] != "Namespace"}
    assert spaces == {"elsewhere"}
    (space,) = [each for each in objects if each["kind"] == "Namespace"]
    assert space["metadata"]["name"] == "elsewhere"


def test_an_image_that_an_overlay_pins_by_digest_is_replaced_as_well(
    stage: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    pinned = f"{{name: fedrisk-server, newName: own/fedrisk-server, digest: 'sha256:{'0' * 64}'}}"
    production = os.path.relpath(DEPLOY / "base", folder.resolve())
    (folder / "kustomization.yaml").write_text(f"resources: [{production}]\nimages: [{pinned}]\n")
    told = run(str(folder), "--tag", "7f3a", "--render", stage=stage)
    assert told.returncode == 0, told.stderr
    assert "image: own/fedrisk-server:7f3a\n" in told.stdout
    assert "sha256" not in told.stdout


def test_an_overlay_that_does_not_build_is_named(stage: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "kustomization.yaml").write_text("resources: [nowhere.yaml]\n")
    told = run(str(tmp_path / "broken"), "--tag", "7f3a", stage=stage)
    assert told.returncode == 1
    assert "does not build" in told.stderr
    assert not (stage / "applied").exists()


def test_an_account_of_the_namespace_alone_deploys(stage: Path) -> None:
    """It may neither list StorageClasses nor change a namespace."""
    kubectl = (stage / "kubectl").read_text()
    forbidden = '  *storageclass*|*"auth can-i"*|*"/nodes"*) echo Forbidden >&2; exit 1 ;;\n'
    kubectl = kubectl.replace("case $words in\n", f"case $words in\n{forbidden}")
    taken = '  *apply*) cp "${words##* -f }" "$here/applied" ;;\n'
    (stage / "kubectl").write_text(kubectl.replace("  *apply*) touch", f"{taken}  *apply*) touch"))
    ended = run("local", "--no-join", stage=stage)
    assert "may not list StorageClasses" in ended.stderr
    assert "may not change namespace fedrisk" in ended.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all((stage / "applied").read_text()) if each]
    assert "Namespace" not in kinds
    assert {"Deployment", "NetworkPolicy", "CronJob"} <= set(kinds)


#: A cluster on which everything is well, and its one site has joined.
WELL = """\
#!/usr/bin/env bash
case "$*" in
  *kustomize*) exec "$REAL" "$@" ;;
  *"get secret fedrisk-secrets -o"*) printf '%s' "$HELD" ;;
  *"get storageclass -o"*) echo true ;;
  *"get deployments -l"*template*) echo north ;;
  *"get pods -l"*"instance=north"*) echo "pod joined" ;;
  *"get configmap"*) exit "$UNSEALED" ;;
  *exec*) exit 1 ;;
esac
"""


@pytest.mark.parametrize("unsealed", ["0", "1"])
def test_rows_that_are_not_taken_and_backups_that_are_not_sealed_are_told(
    stage: Path, tmp_path: Path, unsealed: str
) -> None:
    (stage / "kubectl").write_text(WELL)
    (tmp_path / "rows.csv").write_text("age\n1\n")
    words = ["local", "--site", f"north={tmp_path / 'rows.csv'}"]
    ended = run(*words, stage=stage, HELD=ALL, UNSEALED=unsealed)
    assert ended.returncode == 0, ended.stderr
    assert "site north has joined: its rows stay" in ended.stderr
    assert ("backups are not sealed" in ended.stderr) == (unsealed == "1")
