"""Log lines: one an event, and never somebody's values."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from running import wait_until

from fedrisk.logs import BackgroundHandler, Format, JsonLog, announcer, configure_logs

#: Loggers that have a level of their own where a server runs, or ran, in this process.
NAMED = ("fedrisk", "uvicorn", "uvicorn.error")
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_an_event_is_one_line_of_json() -> None:
    stream = io.StringIO()
    log = JsonLog(lambda: NOON, stream)
    log("exited", service="superlink", code=1)
    log("late", level="warning", service="a\nb", folder=Path("/x"))
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first == {
        "time": "2026-03-01T12:00:00.000+00:00",
        "level": "info",
        "event": "exited",
        "service": "superlink",
        "code": 1,
    }
    assert (second["level"], second["service"], second["folder"]) == ("warning", "a\nb", "/x")


def test_lines_of_threads_do_not_mix() -> None:
    stream = io.StringIO()
    log = JsonLog(lambda: NOON, stream)

    def write(number: int) -> None:
        for _ in range(200):
            log("event", number=number, filler="x" * 200)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 800


def test_a_log_that_nobody_reads_ends_nothing() -> None:
    closed = io.StringIO()
    closed.close()
    JsonLog(lambda: NOON, closed)("started")
    reader, writer = os.pipe()
    os.close(reader)
    gone = io.TextIOWrapper(io.FileIO(writer, "w"), write_through=True)
    JsonLog(lambda: NOON, gone)("started")
    with pytest.raises(BrokenPipeError):
        gone.write("nobody reads this")
    with suppress(BrokenPipeError):
        gone.close()


@pytest.fixture
def restored() -> Iterator[None]:
    """Loggers are the process's: give them back as they were."""
    root, named = logging.getLogger(), [logging.getLogger(name) for name in NAMED]
    former = [(each.handlers[:], each.level, each.propagate) for each in (root, *named)]
    shown = warnings.showwarning
    yield
    for each, (handlers, level, propagate) in zip((root, *named), former, strict=True):
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)
    warnings.showwarning = shown


@pytest.mark.usefixtures("restored")
def test_what_another_library_configured_before_neither_doubles_nor_hides_lines() -> None:
    beside = io.StringIO()
    for name in NAMED:
        logger = logging.getLogger(name)
        logger.addHandler(logging.StreamHandler(beside))
        logger.setLevel(logging.CRITICAL)
        logger.propagate = False
    assert lines_of("text")[:2] == ["INFO:     model m", "INFO:     Started"]
    assert beside.getvalue() == ""


def lines_of(form: Format, *, level: str = "info") -> list[str]:
    stream = io.StringIO()
    configure_logs(form, level, stream)
    logging.getLogger("fedrisk.serving").info("model %s\nserves", "m", extra={"request_id": "r1"})
    logging.getLogger("uvicorn.error").info("Started")
    logging.getLogger("fedrisk").debug("too fine")
    logging.getLogger("other").info("not ours")
    try:
        float("secret 71.5")
    except ValueError:
        logging.getLogger("asyncio").exception("it failed\nfuture: ValueError('secret 71.5')")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of old\nsecret 71.5", stacklevel=1)
    logging.getLogger().handlers[0].flush()
    return stream.getvalue().splitlines()


@pytest.mark.usefixtures("restored")
def test_json_lines_have_what_a_search_needs_and_no_values() -> None:
    text = lines_of("json")
    found = [json.loads(line) for line in text]
    assert [(line["level"], line["logger"], line["message"]) for line in found[:3]] == [
        ("info", "fedrisk.serving", "model m"),
        ("info", "uvicorn.error", "Started"),
        ("error", "asyncio", "it failed"),
    ]
    assert found[0]["request_id"] == "r1"
    assert "request_id" not in found[1]
    assert found[2]["error"].startswith(f"ValueError at {__file__}:")
    assert datetime.fromisoformat(found[0]["time"]).utcoffset() is not None
    assert "of old" in found[3]["message"]
    assert len(found) == 4
    assert not any("secret" in line for line in text)


@pytest.mark.usefixtures("restored")
def test_warnings_are_told_however_a_library_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", lambda *_, **__: "nothing\n")
    monkeypatch.setattr(warnings, "showwarning", lambda *_, **__: None)
    found = [json.loads(line) for line in lines_of("json")]
    assert found[3]["logger"] == "py.warnings"
    assert found[3]["message"].endswith("UserWarning: of old")


@pytest.mark.usefixtures("restored")
def test_text_lines_hold_no_values_either() -> None:
    text = lines_of("text")
    assert text[:2] == ["INFO:     model m", "INFO:     Started"]
    assert text[2].startswith(f"ERROR:    it failed: ValueError at {__file__}:")
    assert not any("secret" in line for line in text)


@pytest.mark.usefixtures("restored")
def test_a_level_leaves_out_what_is_below_it() -> None:
    assert [line.split()[0] for line in lines_of("text", level="error")] == ["ERROR:", "WARNING:"]


@pytest.mark.usefixtures("restored")
def test_a_command_tells_its_lines_where_the_logs_are() -> None:
    stream, printed = io.StringIO(), []
    configure_logs("json", "info", stream)
    announcer("json", printed.append)("serving")
    announcer("text", printed.append)("serving in words")
    logging.getLogger().handlers[0].flush()
    assert json.loads(stream.getvalue())["message"] == "serving"
    assert printed == ["serving in words"]


def test_a_log_that_nobody_reads_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream, os.fdopen(reading) as other:
        handler = BackgroundHandler(stream, waiting=3)
        record = logging.makeLogRecord({"msg": "x" * 30_000, "levelname": "INFO"})
        for _ in range(50):
            handler.emit(record)
        assert handler._dropped >= 40
        taken = 50 - handler._dropped
        for _ in range(taken):
            assert len(other.readline()) == 30_001
        assert wait_until(lambda: handler._lines.unfinished_tasks == 0, 10)
