"""Ask the API from a pod until told to end, and tell every second what was answered.

Half of the threads keep their connections, half take a new one for each request.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path


class Caller:
    """What all threads share."""

    def __init__(self) -> None:
        self.key = Path("/run/secrets/key/api-key").read_text(encoding="utf-8").strip()
        self.body, self.pause = os.environ["ROW"].encode(), float(os.environ["PAUSE"])
        self.ended, self.lock = threading.Event(), threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.faults: list[tuple[float, str]] = []

    def ask(self, keep: bool) -> None:
        """One caller after the other."""
        heads = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        if not keep:
            heads["Connection"] = "close"
        way = None
        while not self.ended.is_set():
            try:
                way = way or http.client.HTTPConnection("inference", timeout=30)
                way.request("POST", "/predict", self.body, heads)
                answer = way.getresponse()
                document, status = json.loads(answer.read()), answer.status
                if answer.will_close:
                    way.close()
                    way = None
            except (OSError, http.client.HTTPException, ValueError) as error:
                document, status, way = {"fault": repr(error)}, -1, None
            self.count(status, document)
            time.sleep(self.pause)

    def count(self, status: int, document: dict[str, object]) -> None:
        model = document.get("model")
        with self.lock:
            self.statuses[str(status)] += 1
            self.versions[str(model["version"]) if isinstance(model, dict) else "none"] += 1
            if status != 200 and len(self.faults) < 5:
                self.faults.append((time.time(), json.dumps(document)))

    def tell(self) -> None:
        with self.lock:
            told = {"statuses": self.statuses, "versions": self.versions, "faults": self.faults}
            print(json.dumps(told), flush=True)


def main() -> None:
    caller = Caller()
    signal.signal(signal.SIGTERM, lambda *_: caller.ended.set())
    for number in range(int(os.environ["THREADS"])):
        threading.Thread(target=caller.ask, args=(number % 2 == 0,), daemon=True).start()
    while not caller.ended.wait(1):
        caller.tell()


if __name__ == "__main__":
    main()
