"""A real server process that speaks gRPC."""

from __future__ import annotations

import json
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from running import start, wait_until
from serving.conftest import home as home
from serving.conftest import store
from serving.conftest import stored as stored

from fedrisk.home import Home


@dataclass
class Served:
    """A server that answers."""

    process: subprocess.Popen[str]
    url: str
    grpc: str
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


Starting = Callable[..., Served]


@contextmanager
def servers(home: Home, folder: Path) -> Iterator[Starting]:
    """What starts servers of a home; they end with the block, and well."""
    running: list[Served] = []

    def started(*options: str, **settings: str) -> Served:
        ports = ["--port", "0", "--grpc-port", "0", "--json"]
        process = start("serve", "--home", str(home.root), *ports, *options, **settings)
        log = folder / f"serve-{len(running)}.log"
        Thread(target=lambda: log.write_text(process.stderr.read()), daemon=True).start()
        told = json.loads(process.stdout.readline())
        served = Served(process, told["url"], told["grpc"], log)
        running.append(served)
        assert wait_until(lambda: served.get("/health")[0] == 200, 60)
        return served

    yield started
    codes = [served.stop() for served in running]
    for served in running:
        wait_until(served.log.exists, 10)
        served.process.stdout.close()
        served.process.stderr.close()
    assert codes == [0] * len(running)


@pytest.fixture
def starting(home: Home, tmp_path: Path) -> Iterator[Starting]:
    """Start servers of `home`."""
    with servers(home, tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with champion 1, for every test that leaves it as it is."""
    folder = tmp_path_factory.mktemp("served")
    home = Home(folder / "home").prepare()
    store(home)
    with servers(home, folder) as started:
        yield started()
