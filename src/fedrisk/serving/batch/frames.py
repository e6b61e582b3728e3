"""What the server and its scoring process tell each other: a task, then frames and errors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import IO, Any

from starlette.exceptions import HTTPException

from fedrisk import errors
from fedrisk.errors import DataError, FedriskError, Violation

#: Kinds of frames: the model that answers, a part of the answer, its end, and an error instead.
START, DATA, END, ERROR = b"S", b"D", b"E", b"X"
HEAD = 5
#: Bytes of the length before each part of a body; a part without bytes is its end.
LENGTH = 4


@dataclass(frozen=True, slots=True)
class Task:
    """What a scoring process is to do with the body that follows.

    Attributes
    ----------
    model : str
        Folder of the model's files.
    media_type : str
    gzip : bool
    explain : bool
    live : bool
        Answer while the body comes, instead of into the spool file.
    request_id : str
    most_bytes, most_rows : int
        Of the body, unpacked.
    """

    model: str
    media_type: str
    gzip: bool
    explain: bool
    live: bool
    request_id: str
    most_bytes: int
    most_rows: int

    def line(self) -> bytes:
        """The task as the process reads it."""
        return json.dumps(asdict(self)).encode() + b"\n"


def part(data: bytes) -> bytes:
    """A part of a body, as it is handed over; an empty one ends it.

    >>> list(part(b"age")), list(part(b""))
    ([0, 0, 0, 3, 97, 103, 101], [0, 0, 0, 0])
    """
    return len(data).to_bytes(LENGTH, "big") + data


class Parts:
    """A body out of its parts; the stream goes on behind it.

    Parameters
    ----------
    stream : binary file
        Buffered.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = 0
        self._ended = False

    def read1(self, size: int) -> bytes:
        """What there is, at most ``size`` bytes; none at the end.

        Raises
        ------
        EOFError
            When the stream ends before the body does.
        """
        if not self._left and not self._ended:
            self._left = int.from_bytes(self._exactly(LENGTH), "big")
            self._ended = not self._left
        if self._ended:
            return b""
        data: bytes = self._stream.read1(min(size, self._left))  # type: ignore[attr-defined]
        if not data:
            raise EOFError
        self._left -= len(data)
        return data

    def read(self, size: int) -> bytes:
        """``size`` bytes, fewer at the end; errors as `read1`."""
        found: list[bytes] = []
        while size > 0 and (data := self.read1(size)):
            found.append(data)
            size -= len(data)
        return b"".join(found)

    def _exactly(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError
        return data


def frame(kind: bytes, payload: bytes) -> bytes:
    """A frame: kind, length, payload."""
    return kind + len(payload).to_bytes(4, "big") + payload


def error_payload(error: Exception) -> bytes:
    """An error as the other side can raise it again; of an unforeseen one, kind alone."""
    if isinstance(error, HTTPException):
        document: dict[str, Any] = {"status": error.status_code, "message": error.detail}
    elif isinstance(error, FedriskError):
        kind = type(error).__name__
        document = {"kind": kind, "message": error.message, "hint": error.hint}
        if isinstance(error, DataError):
            document["violations"] = [asdict(violation) for violation in error.violations]
            document["total"] = error.total
    else:
        document = {"kind": "FedriskError", "message": f"scoring failed: {type(error).__name__}"}
    return json.dumps(document).encode()


def raised(payload: bytes) -> Exception:
    """The error that `error_payload` wrote."""
    document = json.loads(payload)
    if "status" in document:
        return HTTPException(document["status"], document["message"])
    hint = document.get("hint", "")
    if document["kind"] == "DataError":
        found = [Violation(**each) for each in document["violations"]]
        return DataError(document["message"], found, document["total"], hint)
    kind = getattr(errors, document["kind"], FedriskError)
    error: FedriskError = kind(document["message"], hint=hint)
    return error
