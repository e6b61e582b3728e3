"""Vulnerabilities are found and told from a service that is away; licences are held to the list."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AUDIT = ROOT / "scripts" / "audit.sh"
LICENCES = ROOT / "scripts" / "licences.py"
AWAY = 75


class Vulnerabilities(BaseHTTPRequestHandler):
    """An OSV that knows one vulnerability, of idna."""

    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not question:
            self.send_error(400)
            return
        known = {"id": "PYSEC-2000-1", "summary": "made up", "details": "made up", "affected": []}
        found = [known] if question["package"]["name"] == "idna" else []
        body = json.dumps({"vulns": found} if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def osv():
    server = HTTPServer(("127.0.0.1", 0), Vulnerabilities)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


def lock(tmp_path, *pins):
    file = tmp_path / "some.txt"
    file.write_text("".join(f"{pin} \\\n    --hash=sha256:{'0' * 64}\n" for pin in pins))
    return str(file)


def audit(*arguments):
    if not (ROOT / ".venv-deploy" / "bin" / "pip-audit").is_file():
        pytest.skip("pip-audit is absent: make deploy-tools")
    return subprocess.run([AUDIT, *arguments], capture_output=True, text=True)


class TestAudit:
    def test_nothing_is_known(self, osv, tmp_path):
        done = audit("--osv-url", osv, lock(tmp_path, "six==1.17.0"))
        assert done.returncode == 0, done.stderr

    def test_what_is_known_is_named(self, osv, tmp_path):
        done = audit("--osv-url", osv, lock(tmp_path, "six==1.17.0", "idna==3.4"))
        assert done.returncode == 1
        assert "PYSEC-2000-1" in done.stdout
        assert "hint: make lock" in done.stderr

    def test_a_service_that_is_away_is_no_good_news(self, tmp_path):
        done = audit("--osv-url", "http://127.0.0.1:9/v1/query", lock(tmp_path, "six==1.17.0"))
        assert done.returncode == AWAY
        assert "nothing was learnt" in done.stderr

    def test_a_lock_that_is_not_there_is_refused(self, tmp_path):
        done = audit(str(tmp_path / "none.txt"))
        assert done.returncode == 2
        assert "none.txt" in done.stderr


POLICY = """
allowed = ["MIT", "BSD-3-Clause", "Apache-2.0"]
[words]
"MIT License" = "MIT"
[exceptions]
odd = { licence = "UNKNOWN", reason = "read" }
"""


def licences(tmp_path, *packages, odd="UNKNOWN"):
    rows = [{"Name": "odd", "Version": "1", "License": odd}] if odd else []
    rows += [{"Name": f"p{k}", "Version": "1", "License": text} for k, text in enumerate(packages)]
    (tmp_path / "installed.json").write_text(json.dumps(rows))
    (tmp_path / "policy.toml").write_text(POLICY)
    command = [sys.executable, LICENCES, "--policy", tmp_path / "policy.toml"]
    command += ["--installed", tmp_path / "installed.json", "--report", tmp_path / "report.md"]
    return subprocess.run(command, capture_output=True, text=True)


class TestLicences:
    @pytest.mark.parametrize(
        "text",
        [
            "MIT",
            "MIT License",
            "MIT License\n\nCopyright",
            "GPL-3.0-only OR MIT",
            "MIT AND BSD-3-Clause",
            "BSD-3-Clause; MIT License",
            "Apache-2.0 AND (GPL-2.0-only OR MIT)",
        ],
    )
    def test_allowed(self, tmp_path, text):
        done = licences(tmp_path, text)
        assert done.returncode == 0, done.stderr
        assert "| p0 | 1 | " in (tmp_path / "report.md").read_text()

    @pytest.mark.parametrize(
        "text",
        ["UNKNOWN", "", "GPL-3.0-only", "MIT AND GPL-3.0-only", "MIT License; Other", "Mitt"],
    )
    def test_not_allowed(self, tmp_path, text):
        done = licences(tmp_path, text)
        assert done.returncode == 1
        assert "error: p0 1: " in done.stderr
        assert "hint: " in done.stderr

    def test_an_exception_is_about_one_licence_of_one_package(self, tmp_path):
        assert licences(tmp_path, odd="GPL-3.0-only").returncode == 1

    def test_an_exception_for_what_is_gone_is_told(self, tmp_path):
        done = licences(tmp_path, "MIT", odd=None)
        assert done.returncode == 1
        assert "odd: an exception for what is not installed" in done.stderr

    def test_what_is_installed_here_is_allowed(self):
        if not (ROOT / ".venv-deploy" / "bin" / "pip-licenses").is_file():
            pytest.skip("pip-licenses is absent: make deploy-tools")
        done = subprocess.run([sys.executable, LICENCES], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
