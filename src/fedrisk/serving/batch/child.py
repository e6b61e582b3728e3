"""The process that scores long bodies: task and body on standard input, frames on its output.

It is a process of its own so that the server's event loop, its memory and single predictions are
left alone: Arrow is loaded here and not there. One body comes after the other; an error ends it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from starlette.exceptions import HTTPException

from fedrisk.errors import UsageError
from fedrisk.registry.cache import read_model
from fedrisk.serving.batch.absent import keep_pandas_out
from fedrisk.serving.batch.decoding import PIECE, Limited, Unzipped
from fedrisk.serving.batch.frames import (
    DATA,
    END,
    ERROR,
    START,
    Parts,
    Task,
    error_payload,
    frame,
)
from fedrisk.serving.batch.slices import SliceScorer
from fedrisk.serving.batch.streams import score_body
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.formats import batch_format
from fedrisk.serving.records import SupportsRead

#: Single predictions go first where both want the same processor.
NICENESS = 5


def main(handle: int) -> None:
    """Do one task after the other, until standard input closes or one cannot be done."""
    os.nice(NICENESS)
    keep_pandas_out()
    import pyarrow.compute  # so that it is there when the task comes
    import pyarrow.csv  # noqa: F401

    source, target = sys.stdin.buffer, sys.stdout.buffer

    def tell(kind: bytes, payload: bytes) -> None:
        target.write(frame(kind, payload))
        target.flush()

    with os.fdopen(handle, "wb", buffering=0) as spool:
        try:
            while line := source.readline():
                work(Task(**json.loads(line)), Parts(source), spool, tell)
        except Exception as error:  # noqa: BLE001 the server tells the caller
            tell(ERROR, error_payload(told(error)))


def work(
    task: Task,
    source: SupportsRead,
    spool: IO[bytes],
    tell: Callable[[bytes, bytes], None],
    beat: Callable[[int], None] = lambda _: None,
) -> None:
    """Score the body that follows a task; ``beat`` is told the rows so far."""
    form = batch_format(task.media_type.encode())
    if form is None:
        raise UsageError(f"{task.media_type} is not a format of batches")
    served = ServedModel.build(
        read_model(Path(task.model)), datetime.now(UTC), most_rows=task.most_rows
    )
    scorer = SliceScorer(
        served,
        task.request_id,
        explain=task.explain,
        most_rows=task.most_rows,
        gather=not task.live,
        beat=beat,
    )
    body: Limited | Unzipped = Limited(source, task.most_bytes, prompt=task.live)
    if task.gzip:
        body = Limited(Unzipped(body), task.most_bytes)
    tell(START, json.dumps(served.identity).encode())
    write = (lambda piece: tell(DATA, piece)) if task.live else whole(spool)
    outcome = score_body(form, body, scorer, write)
    while source.read(PIECE):
        pass  # what follows is the next task
    tell(END, json.dumps(outcome.document()).encode())


def whole(target: IO[bytes]) -> Callable[[bytes], None]:
    """Write everything to an unbuffered file, which may take less than it is given."""

    def write(piece: bytes) -> None:
        left = memoryview(piece)
        while left:
            left = left[target.write(left) :]

    return write


def told(error: Exception) -> Exception:
    """An error as the caller is told it."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HTTPException(507, "there is no room on the server's disk for the answer")
    return error


if __name__ == "__main__":
    main(int(sys.argv[1]))
