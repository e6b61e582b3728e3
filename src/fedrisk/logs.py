"""What long-running processes say of themselves: one line an event, as JSON or as text.

No line holds a stack trace, the text of an exception or more than a message's first line: each of
these may repeat a value of somebody's row. Of an exception its kind and its places in the code are
told.
"""

from __future__ import annotations

import json
import logging
import queue
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

Format = Literal["json", "text"]
#: Places in the code that are told of an exception, the innermost first.
PLACES = 5
#: Loggers whose lines are told from the level that was asked for.
OURS = ("fedrisk", "uvicorn", "uvicorn.error", "uvicorn.access")
#: Lines that wait for a reader at most, and seconds that the end of a process waits for it.
WAITING, PATIENCE = 1000, 2.0


def json_line(at: datetime, level: str, **facts: object) -> str:
    """One event as JSON, without the line's end."""
    told = {"time": at.isoformat(timespec="milliseconds"), "level": level} | facts
    return json.dumps(told, default=str)


def origin(error: BaseException) -> str:
    """Kind and place of an error, without its text: that might hold somebody's values."""
    frames = traceback.extract_tb(error.__traceback__)[-PLACES:]
    places = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}" if places else type(error).__name__


class JsonLog:
    """Writes events as JSON, one a line; where nobody reads them any more, they are dropped.

    Parameters
    ----------
    clock : callable
        The time, UTC.
    stream : text stream
    """

    def __init__(self, clock: Callable[[], datetime], stream: TextIO = sys.stdout) -> None:
        self._clock = clock
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, event: str, *, level: str = "info", **facts: object) -> None:
        """Write one event."""
        line = json_line(self._clock(), level, event=event, **facts)
        # A full disk or a closed pipe must not end what is supervised.
        with self._lock, suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


class TextFormatter(logging.Formatter):
    """Level and message on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, without anything that might hold a value."""
        return f"{record.levelname + ':':<9} {first_line(record)}{_told_error(record, ': ')}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and error and request_id if any."""

    def format(self, record: logging.LogRecord) -> str:
        """The record, without anything that might hold a value."""
        facts: dict[str, Any] = {"logger": record.name, "message": first_line(record)}
        if error := _told_error(record):
            facts["error"] = error
        if identifier := getattr(record, "request_id", None):
            facts["request_id"] = identifier
        at = datetime.fromtimestamp(record.created, UTC)
        return json_line(at, record.levelname.lower(), **facts)


def first_line(record: logging.LogRecord) -> str:
    """What a record says; libraries put what they worked on below the first line."""
    return record.getMessage().strip().partition("\n")[0]


def _told_error(record: logging.LogRecord, before: str = "") -> str:
    error = record.exc_info[1] if record.exc_info else None
    return "" if error is None else before + origin(error)


class BackgroundHandler(logging.Handler):
    """Writes lines in a thread, so that a pipe that nobody reads holds nobody up.

    Parameters
    ----------
    stream : text stream
    waiting : int
        Lines that wait; what comes when there are so many is dropped, and its number told later.
    """

    def __init__(self, stream: TextIO, waiting: int = WAITING) -> None:
        super().__init__()
        self._stream = stream
        self._lines: queue.Queue[str] = queue.Queue(waiting)
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, if there is room."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self._dropped += 1

    def flush(self) -> None:
        """Wait until what was taken is written, for a while."""
        end = time.monotonic() + PATIENCE
        while self._lines.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if self._dropped and self._lines.empty():
                told, self._dropped = self._dropped, 0
                logging.getLogger("fedrisk").warning("%d log lines were dropped", told)
            with suppress(OSError, ValueError):
                self._stream.write(line + "\n")
                self._stream.flush()
            self._lines.task_done()


def configure_logs(form: Format, level: str, stream: TextIO = sys.stderr) -> None:
    """Let every logger of this process write to one stream.

    Parameters
    ----------
    form : str
        ``json`` or ``text``.
    level : str
        Least level of our own lines and of uvicorn's; of other libraries, warnings and worse.
    stream : text stream
    """
    handler = BackgroundHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logger = logging.getLogger(name)
        # A library that configured logs before must neither write beside this stream nor be silent.
        logger.handlers.clear()
        logger.propagate, logger.disabled = True, False
        logger.setLevel(logging.NOTSET)
    for name in ("fedrisk", "uvicorn"):
        logging.getLogger(name).setLevel(level.upper())
    warnings.showwarning = _tell_warning


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,  # noqa: ARG001 the standard library's signature
    line: str | None = None,  # noqa: ARG001
) -> None:
    """Log a warning by its first line, in whatever way a library has changed how they are shown."""
    told = str(message).strip().partition("\n")[0]
    logging.getLogger("py.warnings").warning(
        "%s:%d: %s: %s", filename, lineno, category.__name__, told
    )


def announcer(form: Format, print_line: Callable[[str], None]) -> Callable[[str], None]:
    """How a command tells a line about its work: among the logs where these are JSON."""
    return logging.getLogger("fedrisk").info if form == "json" else print_line
