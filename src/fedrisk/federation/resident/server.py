"""The resident process: everything imported once, one fork a command.

Run as ``python -m fedrisk.federation.resident.server SOCKET``. It ends on SIGTERM or SIGINT, and
then so do the commands it forked.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from fedrisk.federation import pinning
from fedrisk.federation.guardian import die_with_parent

#: Commands and where they live: Flower's as its entry points say, our own where a bundle is run.
COMMANDS = {
    "flwr": ("flwr.cli.app", "app"),
    **{
        name: ("fedrisk.federation.pinning", function.__name__)
        for name, function in pinning.COMMANDS.items()
    },
    "flower-superexec": ("flwr.supercore.cli", "flower_superexec"),
    "flower-superlink": ("flwr.superlink.cli", "flower_superlink"),
    "flower-supernode": ("flwr.supernode.cli", "flower_supernode"),
}
#: Imported before the first fork beside the commands: what a site's answer needs.
PRELOAD = (
    "fedrisk.federation.client_app",
    "fedrisk.federation.training",
    "flwr.superlink.cli",
    "flwr.superlink.main",
    "flwr.superlink.runtime.run_serverapp",
    "flwr.supernode.cli",
    "flwr.supernode.runtime.run_clientapp",
    "flwr.supernode.start_client_internal",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
)
#: Arrow imports pandas, a second of work, when it first converts a column and finds it installed.
PRELOAD_IF_INSTALLED = ("pandas",)
_LARGEST_ORDER = 1 << 20


@dataclass
class Call:
    """One connection of a shim: first an order, then silence until its process ends."""

    connection: socket.socket
    data: bytes = b""
    streams: list[int] = field(default_factory=list)
    process: int = 0


class Resident:
    """Accepts calls and forks.

    Parameters
    ----------
    listener : socket
        A listening Unix socket.
    commands : mapping of name to callable
        What each command runs in its fork.
    """

    def __init__(self, listener: socket.socket, commands: dict[str, Callable[[], Any]]) -> None:
        self._listener = listener
        self._commands = commands
        self._calls: dict[int, Call] = {}
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        stopping: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: stopping.append(number))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(reader, selectors.EVENT_READ)
        while not stopping:
            for key, _ in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj == reader:
                    os.read(reader, 4096)
                else:
                    self._read(self._calls[key.fd])
            self._reap()
        for call in self._calls.values():
            _signal(call.process, signal.SIGTERM)

    def _accept(self) -> None:
        connection, _ = self._listener.accept()
        self._calls[connection.fileno()] = Call(connection)
        self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, call: Call) -> None:
        try:
            data, extra, _, _ = call.connection.recvmsg(65_536, socket.CMSG_SPACE(12))
        except OSError:
            data, extra = b"", []
        for level, kind, payload in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                call.streams = array.array("i", payload).tolist()
        if not data:
            # The shim is gone: what it stood for must not go on without it.
            _signal(call.process, signal.SIGTERM)
            self._forget(call)
            return
        call.data += data
        if len(call.data) > _LARGEST_ORDER:
            self._forget(call)
        elif call.data.endswith(b"\n") and not call.process:
            self._fork(call)

    def _fork(self, call: Call) -> None:
        order = json.loads(call.data)
        process = os.fork()
        if process == 0:
            self._become(call, order)
        call.process = process
        for stream in call.streams:
            os.close(stream)
        call.streams = []
        with contextlib.suppress(OSError):
            call.connection.sendall(f"{process}\n".encode())

    def _become(self, call: Call, order: dict[str, Any]) -> None:
        """Turn this fork into the command and end with its exit code."""
        code = 70
        try:
            # Whoever started the command is told that it ended, and starts it again.
            die_with_parent()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.setsid()
            for target, stream in enumerate(call.streams):
                os.dup2(stream, target)
            for other in self._calls.values():
                other.connection.close()
            self._listener.close()
            os.environ.clear()
            os.environ.update(order["env"])
            os.chdir(order["cwd"])
            sys.argv = list(order["argv"])
            code = _run(self._commands[Path(sys.argv[0]).name])
        finally:
            os._exit(code)

    def _reap(self) -> None:
        while True:
            try:
                process, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if process == 0:
                return
            code = os.waitstatus_to_exitcode(status)
            for call in [c for c in self._calls.values() if c.process == process]:
                with contextlib.suppress(OSError):
                    call.connection.sendall(f"{code if code >= 0 else 128 - code}\n".encode())
                call.process = 0
                self._forget(call)

    def _forget(self, call: Call) -> None:
        self._selector.unregister(call.connection)
        del self._calls[call.connection.fileno()]
        call.connection.close()
        for stream in call.streams:
            os.close(stream)


def _signal(process: int, number: int) -> None:
    if process:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _run(command: Callable[[], Any]) -> int:
    """Run a command as an interpreter would: exit code, threads joined, exit handlers, flush."""
    try:
        command()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 an interpreter prints what nobody caught, and so do we
        sys.excepthook(*sys.exc_info())
        code = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 what the interpreter calls
        atexit._run_exitfuncs()  # noqa: SLF001 as above
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    return code


def load_commands() -> dict[str, Callable[[], Any]]:
    """Import Flower's commands, and what they import in turn when they run."""
    for module in PRELOAD:
        import_module(module)
    for module in PRELOAD_IF_INSTALLED:
        with contextlib.suppress(ImportError):
            import_module(module)
    pinning.own_pin()
    return {
        name: getattr(import_module(module), function)
        for name, (module, function) in COMMANDS.items()
    }


def main() -> None:
    """Serve on the socket named as the first argument."""
    place = Path(sys.argv[1])
    commands = load_commands()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    place.unlink(missing_ok=True)
    listener.bind(str(place))
    place.chmod(0o600)
    listener.listen(64)
    Resident(listener, commands).serve()


if __name__ == "__main__":
    main()
