"""The watch's commands: each a process of its own, ended with the watch or when it hangs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO, TextIO

from fedrisk.retraining.watch import Finished

#: Seconds that a command has to end when it is told to.
GRACE = 30.0
#: Lines that are kept of what a command tells beside its answer.
KEPT_LINES = 40
#: Seconds to wait for the last lines of a command that has ended.
LAST_WORDS_SECONDS = 2.0


class Commands:
    """Runs `fedrisk` as a person would; at the end of the context, what runs is told to end.

    Parameters
    ----------
    limit : float
        Seconds after which a command is ended, so that one that hangs stops no other.
    grace : float
        Seconds that it has to end by itself then.
    program : tuple of str
    log : text stream
        Gets what commands tell beside their answers.
    """

    def __init__(
        self,
        limit: float,
        grace: float = GRACE,
        program: tuple[str, ...] = (sys.executable, "-m", "fedrisk"),
        log: TextIO | None = None,
    ) -> None:
        self._limit, self._grace, self._program = limit, grace, program
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None
        self._told = Told()

    def __enter__(self) -> None:
        """Nothing runs yet."""

    def __exit__(self, *_: object) -> None:
        if self._running is not None:
            self._end(self._running)

    def told(self) -> tuple[tuple[str, ...], int]:
        """The last lines of the command that runs, or ran last, and how many it told in all."""
        return self._told.last()

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        """Tell a command to end, and make it."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(self._grace)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def run(self, words: Sequence[str]) -> Finished:
        """Run one command to its end; what it tells beside its answer is passed on."""
        self._told = Told()
        # A file, not a pipe: what a command leaves running could hold a pipe open for ever.
        with TemporaryFile() as answer:
            self._running = process = subprocess.Popen(  # noqa: S603 our own command
                [*self._program, *words],
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.PIPE,
            )
            assert process.stderr is not None  # noqa: S101 it is a pipe
            reader = self._told.reading(process.stderr, self._log or sys.stderr)
            try:
                code = process.wait(self._limit)
            except subprocess.TimeoutExpired:
                self._end(process)
                told = f"it had not ended after {self._limit / 3600:g} hours, and was made to"
                done = Finished(process.returncode, {"error": told})
            else:
                answer.seek(0)
                done = Finished.read(code, answer.read().decode(errors="replace"))
            self._running = None
            # What it left running may tell more, for ever: nobody waits for that.
            reader.join(LAST_WORDS_SECONDS)
        lines, count = self.told()
        return replace(done, lines=lines, told=count)


class Told:
    """Lines of one command, as they come."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._lock = threading.Lock()

    def last(self) -> tuple[tuple[str, ...], int]:
        """The last lines, and how many there were in all."""
        with self._lock:
            return tuple(self._lines), self._count

    def reading(self, pipe: IO[bytes], log: TextIO) -> threading.Thread:
        """Read until nobody holds the pipe's other end; pass every line on."""
        thread = threading.Thread(target=self._read, args=(pipe, log), name="told", daemon=True)
        thread.start()
        return thread

    def _read(self, pipe: IO[bytes], log: TextIO) -> None:
        with pipe:
            for raw in pipe:
                line = raw.decode(errors="replace").rstrip("\n")
                with self._lock:
                    self._lines.append(line)
                    self._count += 1
                try:
                    log.write(line + "\n")
                    log.flush()
                except (OSError, ValueError):
                    continue  # Nobody reads the log: the command must not be held up by that.
