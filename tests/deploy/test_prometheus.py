"""A real Prometheus, by our configuration, over what the running system tells."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from deploy.exposed import start
from running import wait_until

from fedrisk.federation.engines.processes import free_ports

ROOT = Path(__file__).parents[2]
JOBS = {"inference", "coordinator", "watch", "site"}
SECRETS = {"metrics-key": "a" * 32, "site-metrics-token": "b" * 32}

pytestmark = [
    pytest.mark.monitoring,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is not installed; Debian's package of that name brings it",
    ),
]


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Addresses that tell what each job's process told, to whoever has its token."""
    texts = start(tmp_path_factory.mktemp("running")).texts
    assert set(texts) == JOBS
    servers = {}
    for job, text in texts.items():
        token = SECRETS["site-metrics-token" if job == "site" else "metrics-key"]
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler(text, f"Bearer {token}"))
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        servers[job] = server
    yield {job: f"127.0.0.1:{server.server_address[1]}" for job, server in servers.items()}
    for server in servers.values():
        server.shutdown()
        server.server_close()


def handler(text: str, expected: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            admitted = self.headers.get("Authorization") == expected
            body = text.encode() if admitted else b""
            self.send_response(200 if admitted else 401)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # a scrape that waited too long on a loaded machine
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def configured(folder: Path, targets: dict[str, str], port: int) -> None:
    """Our configuration, with addresses of this machine and a shorter interval."""
    shutil.copytree(ROOT / "deploy" / "prometheus", folder, dirs_exist_ok=True)
    (folder / "secrets").mkdir()
    for name, secret in SECRETS.items():
        (folder / "secrets" / name).write_text(secret)
    file = folder / "prometheus.yml"
    found = yaml.safe_load(file.read_text())
    found["global"] = dict.fromkeys(
        ("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s"
    )
    found["alerting"] = {}
    kept = []
    for job in found["scrape_configs"]:
        address = targets.get(job["job_name"])
        if job["job_name"] == "prometheus":
            address = f"127.0.0.1:{port}"
        if address is not None:
            job.pop("dns_sd_configs", None)
            kept.append(job | {"static_configs": [{"targets": [address]}]})
    found["scrape_configs"] = kept
    file.write_text(yaml.safe_dump(found))


@pytest.fixture(scope="module")
def prometheus(targets: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, (port,) = tmp_path_factory.mktemp("prometheus"), free_ports(1)
    configured(folder, targets, port)
    address = f"http://127.0.0.1:{port}"
    words = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    words += [f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["prometheus", *words], stderr=log, stdout=log)
    try:
        healthy = lambda: count(address, "count(up == 1)") == len(JOBS) + 1  # noqa: E731
        assert wait_until(healthy, 120), (folder / "log").read_text()[-2000:]
        assert wait_until(lambda: count(address, "count_over_time(up[5m]) > 8") > 0, 120)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def ask(address: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, timeout=30).json()
    assert answer["status"] == "success", answer
    return answer["data"]["result"]


def count(address: str, query: str) -> float:
    try:
        found = ask(address, query)
    except httpx.HTTPError:
        return 0
    return float(found[0]["value"][1]) if found else 0


def test_every_query_of_every_dashboard_shows_something(prometheus: str) -> None:
    files = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    panels = [panel for file in files for panel in json.loads(file.read_text())["panels"]]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(queries) > 40
    assert [query for query in queries if not ask(prometheus, query)] == []


def test_every_rule_is_evaluated(prometheus: str) -> None:
    groups = httpx.get(f"{prometheus}/api/v1/rules", timeout=30).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []


def test_alerts_fire_by_what_the_system_tells(prometheus: str) -> None:
    """The watch told of drift and of a gate that refused."""
    firing = {
        each["metric"]["alertname"] for each in ask(prometheus, 'ALERTS{alertstate="firing"}')
    }
    assert {"FedriskWatchdog", "FedriskDriftVerdict", "FedriskGateRefusing"} <= firing
    assert not firing & {"FedriskInstanceDown", "FedriskNothingServes", "FedriskHarmVerdict"}
