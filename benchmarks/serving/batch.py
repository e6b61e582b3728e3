"""Measure long batches over HTTP beside `fedrisk score`, and single predictions meanwhile.

    python benchmarks/serving/batch.py [--rows 1000000]

One server process on loopback answers batches of the built-in study's shape; `fedrisk score` goes
through the same CSV file. Prints a Markdown table: rows a second, from the first byte sent to the
last byte read, and how long single predictions wait without and with a batch beside them.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import score as scoring_benchmark

from fedrisk.home import Home
from fedrisk.models.checks import make_checks
from fedrisk.registry.cache import write_model
from fedrisk.serving.process import ServerProcess, start_server
from fedrisk.study import Study, find_study

#: Seconds between two single predictions: an open loop of a hundred a second.
PERIOD = 0.01
JSON, CSV, LINES = "application/json", "text/csv", "application/x-ndjson"


def write_bodies(study: Study, rows: int, folder: Path) -> tuple[Path, Path]:
    """The same rows as CSV and as JSON lines, nothing but the study's features."""
    import pyarrow as pa
    import pyarrow.csv as arrow

    drawn = scoring_benchmark.draw(study, rows, np.random.default_rng(7))
    levels = {f.name: pa.array(f.levels) for f in study.categories}
    table = pa.table(
        {n: levels[n].take(pa.array(v)) if n in levels else v for n, v in drawn.items()}
    )
    text, lines = folder / "rows.csv", folder / "rows.ndjson"
    arrow.write_csv(table, text)
    with lines.open("w") as out:
        for row in table.slice(0, rows // 5).to_pylist():
            out.write(json.dumps(row) + "\n")
    return text, lines


def post(server: ServerProcess, path: str, body: bytes, kind: str) -> tuple[float, bytes]:
    """Seconds, and the answer."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=600)
    began = time.perf_counter()
    connection.request("POST", path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {content[:300]!r}")
    return time.perf_counter() - began, content


def waits(server: ServerProcess, row: bytes, until: threading.Event) -> list[float]:
    """Seconds that each single prediction took since it was due."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    found, due = [], time.perf_counter()
    while not until.is_set():
        due += PERIOD
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.request("POST", "/predict", row, {"Content-Type": JSON})
        connection.getresponse().read()
        found.append(time.perf_counter() - due)
    connection.close()
    return found


def waits_beside(server: ServerProcess, row: bytes, body: bytes | None) -> str:
    """Median and 99th percentile in milliseconds, over a batch or over five seconds of nothing."""
    ended, found = threading.Event(), list[float]()
    asking = threading.Thread(target=lambda: found.extend(waits(server, row, ended)))
    asking.start()
    if body is None:
        time.sleep(5)
    else:
        for _ in range(3):
            post(server, "/predict/batch", body, CSV)
    ended.set()
    asking.join()
    median, late = np.quantile(found, [0.5, 0.99]) * 1000
    return f"{median:.1f} ms, p99 {late:.1f} ms"


def offline(home: Home, source: Path) -> float:
    """Rows a second of `fedrisk score`, its start not counted."""
    options = ["--home", home.root, "--input", source, "--output", source.with_suffix(".out.csv")]
    words = [sys.executable, "-c", scoring_benchmark.COMMAND, "score", *map(str, options), "--json"]
    done = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return float(done["rows"] / done["seconds"])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    study = find_study("air-wearables")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home = Home(folder / "home").prepare()
        model, bins = scoring_benchmark.fit(study, np.random.default_rng(7))
        identity = {"name": study.name, "version": "1", "run_id": "benchmark"}
        write_model(home.champion, model.document(), bins, make_checks(model), **identity)
        text, lines = write_bodies(study, rows, folder)
        body, row = text.read_bytes(), lines.read_bytes().partition(b"\n")[0]
        print("| way | rows/s |\n| --- | --- |")
        print(f"| `fedrisk score`, CSV | {offline(home, text):,.0f} |")
        server = start_server(home, "127.0.0.1", 0, folder / "serve.log")
        try:
            server.wait_ready()
            first = post(server, "/predict/batch", body, CSV)[0]
            print(f"| HTTP, CSV, the process just started | {rows / first:,.0f} |")
            best = min(post(server, "/predict/batch", body, CSV)[0] for _ in range(3))
            print(f"| HTTP, CSV, best of 3 | {rows / best:,.0f} |")
            best = min(
                post(server, "/predict/batch", lines.read_bytes(), LINES)[0] for _ in range(2)
            )
            print(f"| HTTP, JSON lines, best of 2 | {rows // 5 / best:,.0f} |")
            print("\n| single predictions, 100 a second | wait |\n| --- | --- |")
            print(f"| alone | {waits_beside(server, row, None)} |")
            print(f"| beside CSV batches | {waits_beside(server, row, body)} |")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
