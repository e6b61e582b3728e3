"""A real PostgreSQL server of a test's own, on a loopback port, gone when the test is.

PostgreSQL refuses to run as root; there it runs as the user nobody.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from running import wait_until

#: Skips a test where the server is not installed.
needs_postgresql = pytest.mark.skipif(
    shutil.which("initdb") is None or shutil.which("postgres") is None,
    reason="PostgreSQL's initdb and postgres are not on the path",
)
OWNER = "nobody"
#: Settings of a server that holds nothing worth keeping over a power cut.
QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=40")


class PostgreSQL:
    """One server; ``url`` stays the same over its restarts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = int(listener.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As SQLAlchemy reads it."""
        return f"postgresql+psycopg://fedrisk@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Lay out an empty database; who reaches the port may do everything."""
        options = ["--auth=trust", "--username=fedrisk", "--encoding=UTF8", "--no-sync"]
        subprocess.run(
            ["initdb", "--pgdata", str(self.data), *options],
            check=True,
            capture_output=True,
            cwd=self.folder,
            **_owner(),
        )

    def start(self) -> None:
        """Start, and wait until it takes connections."""
        place = ["-D", str(self.data), "-k", str(self.folder), "-p", str(self.port)]
        quick = [word for setting in QUICK for word in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["postgres", *place, "-c", "listen_addresses=127.0.0.1", *quick],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_owner(),
            )
        assert wait_until(self._answers, 60), (self.folder / "log").read_text()

    def ask(self, statement: str) -> None:
        """Have the owner run a statement, over the socket that needs no password."""
        import psycopg

        place = {"host": str(self.folder), "port": self.port, "user": "fedrisk"}
        with psycopg.connect(dbname="postgres", autocommit=True, **place) as connection:
            connection.execute(statement)

    def require_passwords(self) -> None:
        """From now on the port needs a password; the socket does not."""
        rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (self.data / "pg_hba.conf").write_text(rules)
        self.ask("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """End it at once, as a crash would: whoever is connected is cut off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(60)
            self._process = None

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url.replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server that runs while the body does."""
    # Not pytest's own folder: that is closed to every other user.
    folder = Path(tempfile.mkdtemp(prefix="fedrisk-postgresql-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, OWNER)
        server = PostgreSQL(folder)
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _owner() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": OWNER, "group": _group(), "extra_groups": []}


def _group() -> int:
    import pwd

    return pwd.getpwnam(OWNER).pw_gid
