"""Run the command line as a person would, and look at what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = [str(Path(sys.executable).parent / "fedrisk")]


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without settings of ours, but for patience on a loaded machine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("FEDRISK_", "MLFLOW_"))}
    return kept | {"NO_COLOR": "1", "FEDRISK_MOST_LAG": "60"} | changes


def hear_interrupts() -> None:
    """Ctrl-C reaches a person's command, also where the tests run in the background of a shell."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(*words: str, **changes: str) -> subprocess.Popen[str]:
    """Start the command line as a person would."""
    return subprocess.Popen(
        [*COMMAND, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
        preexec_fn=hear_interrupts,
    )


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that does not outlive the block, so that what fails inside does not wait for it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def processes_of(home: Path) -> list[str]:
    """Command lines of the processes that name this home in arguments or environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or folder.name == str(os.getpid()):
            continue
        try:
            words = (folder / "cmdline").read_bytes()
            named = words + (folder / "environ").read_bytes()
            ended = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            continue
        if str(home).encode() in named and not ended:
            found.append(words.replace(b"\0", b" ").decode())
    return found


def wait_until(condition: Callable[[], object], seconds: float) -> bool:
    """Whether the condition came true within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False
