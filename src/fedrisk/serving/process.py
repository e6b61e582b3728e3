"""The API as a child process: start it, wait until it answers, end it.

The port is taken by the parent and handed over, so it is known at once and a taken one is an error
before anything starts. The child ends when the parent does, in whatever way, because its standard
input then closes.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fedrisk.errors import FedriskError, ModelFileError
from fedrisk.home import Home
from fedrisk.serving.listening import listen, url_of

COMMAND = "from fedrisk.cli import main; main()"
#: Seconds that the server has to finish its requests.
GRACE = 10.0
#: Seconds between two questions whether it is ready.
PAUSE = 0.05


@dataclass
class ServerProcess:
    """A server that was started.

    Attributes
    ----------
    url : str
        Where it answers, without a final slash.
    log : Path
        What it prints.
    process : subprocess.Popen
    """

    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def wait_ready(self, timeout: float = 30.0) -> dict[str, object]:
        """Wait until a model has answered its self-test.

        Parameters
        ----------
        timeout : float
            Seconds.

        Returns
        -------
        dict
            What ``/ready`` answered.

        Raises
        ------
        ModelFileError
            When the server ends, or no model serves in time; with the reason.
        """
        end = time.monotonic() + timeout
        reason = "it does not answer"
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise ModelFileError(
                    f"the server ended with exit code {self.process.returncode}: {self._tail()}",
                    hint=f"see {self.log}",
                )
            answered = self._ask()
            if answered is not None and answered[0] == http.client.OK:
                return answered[1]
            if answered is not None:
                reason = str(answered[1].get("reason"))
            time.sleep(PAUSE)
        raise ModelFileError(
            f"the server is not ready after {timeout:g} s: {reason}", hint=f"see {self.log}"
        )

    def stop(self, grace: float = GRACE) -> int:
        """End the server and return its exit code; asked again, it answers the same."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(grace)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def _ask(self) -> tuple[int, dict[str, object]] | None:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=5)
        try:
            connection.request("GET", "/ready")
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            connection.close()

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "no message"


def start_server(home: Home, host: str, port: int, log: Path) -> ServerProcess:
    """Start the API over a home's model cache, in a process of its own.

    Parameters
    ----------
    home : Home
    host : str
        A loopback address.
    port : int
        0 takes a free one.
    log : Path
        Where its output goes; added to what is there.

    Raises
    ------
    UsageError
        When the address is not loopback.
    PortInUseError
        When the port is taken.
    """
    opened = listen(host, port)
    log.parent.mkdir(parents=True, exist_ok=True)
    handle = opened.fileno()
    command = [sys.executable, "-c", COMMAND, "serve", "--home", str(home.root)]
    try:
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 our own command
                [*command, "--socket", str(handle), "--until-input-closes"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[handle],
                start_new_session=True,
            )
        return ServerProcess(url_of(opened), log, process)
    except OSError as error:
        raise FedriskError(f"the server cannot be started: {error}") from None
    finally:
        # The child has its own; with this one open, a dead server's port would seem to answer.
        opened.close()
