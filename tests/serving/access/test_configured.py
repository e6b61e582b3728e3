"""What a home and settings ask for, and keys that change while two workers answer."""

from __future__ import annotations

import json
import subprocess
import threading
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from running import start, wait_until

from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.serving.access.configured import make_guard, make_tokens
from fedrisk.serving.access.keys import KeyRing, make_key, write_keys
from fedrisk.settings import Settings
from tests.serving.conftest import ROW, store


def status(url: str, secret: str) -> int:
    headers = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/predict", json.dumps(ROW).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_keys_change_under_requests_to_two_workers(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").prepare()
    store(home)
    now = datetime.now(UTC)
    (old, old_secret), (new, new_secret) = (make_key("app", ["predict"], now) for _ in range(2))
    write_keys(home.keys, KeyRing({old.id: old}))
    options = ["--home", str(home.root), "--port", "0", "--workers", "2", "--json"]
    with start("serve", *options) as process:
        try:
            assert process.stdout is not None
            url = json.loads(process.stdout.readline())["url"]
            assert status(url, old_secret) == 200
            write_keys(home.keys, KeyRing({old.id: old, new.id: new}))
            # A new connection each time: twenty in a row have met both workers.
            assert wait_until(lambda: {status(url, new_secret) for _ in range(20)} == {200}, 30)
            answers: list[int] = []
            stop = threading.Event()

            def ask() -> None:
                while not stop.is_set():
                    answers.append(status(url, new_secret))

            asking = [threading.Thread(target=ask) for _ in range(2)]
            for thread in asking:
                thread.start()
            write_keys(home.keys, KeyRing({new.id: new}))
            assert wait_until(lambda: {status(url, old_secret) for _ in range(20)} == {401}, 30)
            stop.set()
            for thread in asking:
                thread.join()
            assert set(answers) == {200}
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def test_without_keys_and_issuer_nobody_is_asked(tmp_path: Path) -> None:
    assert make_guard(Home(tmp_path / "home").prepare(), Settings()) is None


@pytest.mark.parametrize(
    "settings",
    [
        {"oidc_issuer": "https://id.example.org"},
        {"oidc_audience": "fedrisk"},
        {"oidc_issuer": "http://id.example.org", "oidc_audience": "fedrisk"},
        {"oidc_issuer": "https://a", "oidc_audience": "b", "oidc_scopes": "x"},
        {"oidc_issuer": "https://a", "oidc_audience": "b", "oidc_jwks": Path("none.json")},
    ],
)
def test_settings_of_tokens_that_do_not_fit_together_start_nothing(settings) -> None:
    with pytest.raises(UsageError, match="OIDC"):
        make_tokens(Settings(**settings))
