"""The process that scores one job: body and result are open files, the task comes by line.

It ends with its parent, in whatever way that ends, because its standard input closes then.
"""

from __future__ import annotations

import json
import os
import sys
from threading import Thread
from typing import IO

from fedrisk.serving.batch.absent import keep_pandas_out
from fedrisk.serving.batch.child import told, work
from fedrisk.serving.batch.frames import DATA, END, ERROR, Task, error_payload, frame

#: Single predictions and batches go first where they want the same processor.
NICENESS = 10


def main(body: int, result: int) -> None:
    """Do the task that standard input brings."""
    os.nice(NICENESS)
    keep_pandas_out()
    line = sys.stdin.buffer.readline()
    if not line:
        return
    Thread(target=_end_with_parent, args=(sys.stdin.buffer,), daemon=True).start()
    target = sys.stdout.buffer
    last: list[bytes] = []

    def tell(kind: bytes, payload: bytes) -> None:
        if kind == END:
            last.append(payload)  # told once the result is written
            return
        target.write(frame(kind, payload))
        target.flush()

    try:
        with os.fdopen(body, "rb") as source, os.fdopen(result, "wb") as spool:

            def beat(rows: int) -> None:
                tell(DATA, json.dumps({"rows": rows, "read": source.tell()}).encode())

            work(Task(**json.loads(line)), source, spool, tell, beat)
            spool.flush()
            os.fsync(spool.fileno())
    except Exception as error:  # noqa: BLE001 the server tells the caller
        tell(ERROR, error_payload(told(error)))
        return
    target.write(frame(END, last[0]))
    target.flush()


def _end_with_parent(stdin: IO[bytes]) -> None:
    while stdin.read(1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
