"""The registered model's pyfunc on a real local Spark session gives what `fedrisk score` gives."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from registry.conftest import STUDY, fit
from running import COMMAND, environment, processes_of, wait_until

from fedrisk.home import Home
from fedrisk.registry.bundle import write_bundle
from fedrisk.registry.cache import write_model
from fedrisk.registry.store import prepare_mlflow
from fedrisk.study import parse_study

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("java") is None and "JAVA_HOME" not in os.environ,
        reason="Spark needs a Java runtime (17 or newer)",
    ),
]
EXAMPLE = Path(__file__).parents[2] / "examples" / "spark" / "score.py"
#: Levels are numbers in the file, age is an integer, sbp is missing here and there.
ROWS = "patient,age,sbp,sex\n" + "".join(
    f"p{n},{20 + n % 70},{'' if n % 7 == 0 else 100 + n % 60},{'' if n % 11 == 0 else n % 2}\n"
    for n in range(200)
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home whose champion's levels are 0 and 1; its bundle lies beside it."""
    document = copy.deepcopy(STUDY)
    document["features"][2]["levels"] = ["0", "1"]
    result = fit(parse_study(document), 1, "run1")
    home = Home(tmp_path / "home").prepare()
    parts = result.model, result.reference, result.checks
    write_model(home.champion, *parts, name="heart", version="1", run_id="run1")
    prepare_mlflow()
    write_bundle(tmp_path / "model", result, "# card", "a" * 32)
    (tmp_path / "rows.csv").write_text(ROWS)
    return home


def on_spark(folder: Path, source: str, target: str) -> None:
    """Run the example on one core, with all that it leaves behind in a folder."""
    settings = {
        "SPARK_LOCAL_IP": "127.0.0.1",
        "SPARK_LOCAL_DIRS": str(folder / "spark"),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_SUBMIT_ARGS": "--master local[1] --driver-memory 1g --conf spark.ui.enabled=false"
        f" --conf spark.sql.warehouse.dir={folder / 'spark'} pyspark-shell",
    }
    command = [sys.executable, EXAMPLE, folder / "model", folder / source, folder / target]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            told, _ = process.communicate(timeout=400)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, told[-3000:]


def test_spark_scores_as_fedrisk_does(home: Home, tmp_path: Path) -> None:
    import pyarrow.csv
    import pyarrow.parquet

    paths = ["--input", tmp_path / "rows.csv", "--output", tmp_path / "scored.csv"]
    command = [*COMMAND, "score", "--home", home.root, *paths]
    subprocess.run(command, check=True, env=environment(), capture_output=True)
    expected = pyarrow.csv.read_csv(tmp_path / "scored.csv")

    on_spark(tmp_path, "rows.csv", "spark.parquet")
    scored = pyarrow.parquet.read_table(tmp_path / "spark.parquet").sort_by("patient")
    expected = expected.sort_by("patient")
    assert scored.column_names == expected.column_names
    assert scored["patient"].to_pylist() == expected["patient"].to_pylist()
    risks = [table["risk_score"].to_numpy() for table in (scored, expected)]
    np.testing.assert_allclose(*risks, rtol=1e-12)
    assert scored["risk_level"].to_pylist() == expected["risk_level"].to_pylist()
    assert wait_until(lambda: not processes_of(tmp_path), 30)
