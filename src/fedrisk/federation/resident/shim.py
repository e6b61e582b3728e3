"""Stands in for one of Flower's commands: hands the call to the resident process, or runs it.

Called as ``python -I -S shim.py SOCKET FALLBACK NAME [ARGUMENT ...]``. Only the standard library is
used and little of it: this runs for every message.
"""

import array
import contextlib
import json
import os
import signal
import socket
import sys


def main() -> None:
    """Hand over arguments, environment, folder and standard streams; end as the command ends."""
    place, fallback, *argv = sys.argv[1:]
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(place)
    except OSError:
        os.execv(fallback, [fallback, *argv[1:]])  # noqa: S606 the same command, Flower's own
    target: list[int] = []
    early: list[int] = []

    def forward(number: int, _frame: object) -> None:
        if not target:
            early.append(number)  # the command is not known yet
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(target[0], number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, forward)
    order = {"argv": argv, "env": dict(os.environ), "cwd": os.getcwd()}  # noqa: PTH109
    data = json.dumps(order).encode() + b"\n"
    streams = array.array("i", [0, 1, 2])
    sent = connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
    connection.sendall(data[sent:])
    answers = connection.makefile("rb")
    process = int(answers.readline() or b"0")
    if not process:
        sys.exit(70)
    target.append(process)
    for missed in early:
        forward(missed, None)
    code = answers.readline()
    sys.exit(int(code) if code else 70)


if __name__ == "__main__":
    main()
