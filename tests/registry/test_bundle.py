"""The model's folder: it loads where there is no fedrisk, and scores as the model does."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from fedrisk.models.checks import columns_from_rows
from fedrisk.models.logistic import LogisticModel
from fedrisk.registry.bundle import needed_modules, renamed, write_bundle
from fedrisk.registry.model_card import model_card
from fedrisk.registry.store import prepare_mlflow

ROWS = [
    {"age": 54.0, "sbp": 120.0, "sex": "male"},
    {"age": 81.5, "sbp": None, "sex": "female"},
    {"age": 20.0, "sbp": 160.0, "sex": None},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, result):
    prepare_mlflow()
    folder = tmp_path_factory.mktemp("bundle") / "model"
    write_bundle(folder, result, model_card(result), "a" * 32)
    return folder


@pytest.fixture(scope="module")
def expected(result):
    model = LogisticModel.from_document(result.model)
    return model.risk(columns_from_rows(model.study, ROWS))


@pytest.fixture(scope="module")
def loaded(folder):
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(folder))


def test_mlflow_scores_as_the_model_does(loaded, expected):
    import pandas as pd

    answer = loaded.predict(pd.DataFrame(ROWS))
    assert list(answer.columns) == ["risk_score", "risk_level"]
    np.testing.assert_allclose(answer["risk_score"], expected, rtol=0, atol=1e-15)
    levels = ["low" if r < 0.3 else "high" if r >= 0.7 else "medium" for r in expected]
    assert answer["risk_level"].tolist() == levels


def test_columns_that_may_be_missing_may_be_absent(loaded, result):
    import pandas as pd

    model = LogisticModel.from_document(result.model)
    answer = loaded.predict(pd.DataFrame({"age": [50.0, 60.0]}, index=[7, 9]))
    alone = model.risk(columns_from_rows(model.study, [{"age": 50.0}, {"age": 60.0}]))
    np.testing.assert_allclose(answer["risk_score"], alone, rtol=0, atol=1e-15)
    assert answer.index.tolist() == [7, 9]


def test_a_required_column_is_required(loaded):
    import pandas as pd
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException, match="age"):
        loaded.predict(pd.DataFrame({"sbp": [120.0]}))


def test_the_signature_and_the_example_are_the_study_s(folder, result):
    from mlflow.models import Model

    model = Model.load(str(folder))
    required = {column.name: column.required for column in model.signature.inputs.inputs}
    assert required == {"age": True, "sbp": False, "sex": False}
    assert [column.name for column in model.signature.outputs.inputs] == [
        "risk_score",
        "risk_level",
    ]
    example = model.load_input_example(str(folder))
    assert list(example.columns) == ["age", "sbp", "sex"]
    assert model.run_id == "a" * 32
    assert model.metadata["study_hash"] == result.request.study.hash


def test_requirements_name_no_fedrisk(folder):
    lines = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in lines} == {"mlflow", "numpy", "pandas", "pydantic"}
    assert all("==" in line for line in lines)


ALONE = """
import json, sys
import pandas as pd

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "fedrisk":
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
import mlflow.pyfunc
model = mlflow.pyfunc.load_model(sys.argv[1])
print(json.dumps(model.predict(pd.DataFrame(json.loads(sys.argv[2])))["risk_score"].tolist()))
assert not [name for name in sys.modules if name.partition(".")[0] == "fedrisk"]
"""


def test_it_loads_where_there_is_no_fedrisk(folder, expected):
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(folder), json.dumps(ROWS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(json.loads(done.stdout), expected, rtol=0, atol=1e-15)


def test_the_code_is_no_more_than_needed(folder):
    (package,) = (folder / "code").iterdir()
    copied = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert copied == set(needed_modules())
    assert {"registry/pyfunc.py", "models/logistic.py", "study/contract.py"} <= copied
    rooms = {path.partition("/")[0] for path in copied}
    assert rooms == {"__init__.py", "errors.py", "models", "registry", "study"}
    heavy = ("mlflow", "flwr", "pyarrow", "fastapi")
    texts = [path.read_text() for path in package.rglob("*.py")]
    assert not [name for name in heavy for text in texts if f"import {name}" in text]


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("import fedrisk\n", "import other\n"),
        ("    from fedrisk.study import x\n", "    from other.study import x\n"),
        ("from fedrisk_more import x\n", "from fedrisk_more import x\n"),
        ("# from fedrisk to you\n", "# from fedrisk to you\n"),
        ("a = 'fedrisk'\n", "a = 'fedrisk'\n"),
    ],
)
def test_only_imports_are_renamed(line, after):
    assert renamed("x = 1\n" + line, "other") == "x = 1\n" + after


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture
def server(folder, tmp_path):
    port = _free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    # The scoring server looks for uvicorn on the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATH": path},
        )
    try:
        _wait(f"http://127.0.0.1:{port}/ping", process, tmp_path / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _wait(url, process, log):
    for _ in range(600):
        if process.poll() is not None:
            pytest.fail(Path(log).read_text())
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(Path(log).read_text())


def _post(url, document):
    body = json.dumps(document).encode()
    request = urllib.request.Request(
        f"{url}/invocations", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)["predictions"]


@pytest.mark.slow
def test_mlflow_models_serve_answers(server, expected):
    answer = _post(server, {"dataframe_records": ROWS})
    np.testing.assert_allclose([a["risk_score"] for a in answer], expected, rtol=0, atol=1e-15)
    split = {"columns": ["age", "sbp", "sex"], "data": [[54, None, None]]}
    (one,) = _post(server, {"dataframe_split": split})
    assert 0 < one["risk_score"] < 1
    with pytest.raises(urllib.error.HTTPError, match="400") as caught:
        _post(server, {"dataframe_records": [{"age": 500.0}]})
    caught.value.close()
