"""MLServer with a scikit-learn model, in an environment of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

#: Pythons that MLServer's releases run on, best first.
PYTHONS = ("python3.11", "python3.10", "python3.12", "python3.9")
#: Its releases do not pin their way past newer majors of what they import.
PACKAGES = ("mlserver", "mlserver-sklearn")
#: Seconds that the installation may take.
PATIENCE = 420.0
MODEL = (
    "import joblib, numpy as np; from sklearn.linear_model import LogisticRegression as L; "
    "r = np.random.default_rng(1); "
    "joblib.dump(L().fit(r.normal(size=(500, 11)), r.random(500) < .3), 'model.joblib')"
)
BODY = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 11], "datatype": "FP64", "data": [0.1] * 11}]}
).encode()


def run(words: list[str], folder: Path) -> str:
    """Run a step of the installation; what it said where it failed, else nothing."""
    try:
        done = subprocess.run(
            words, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{words[0]}: {type(error).__name__}"
    return "" if done.returncode == 0 else (done.stderr or done.stdout).strip()[-300:] or "failed"


def installed(place: Path) -> Path | None:
    """Install it below a folder; its program, or None, with the reason on standard error.

    ``MLSERVER`` in the environment names a program that is installed already.
    """
    given = os.environ.get("MLSERVER")
    if given:
        return Path(given)
    reasons = []
    for name in dict.fromkeys((sys.executable, *PYTHONS)):
        python = shutil.which(name)
        if python is None:
            continue
        room = place / "venv"
        shutil.rmtree(room, ignore_errors=True)
        inside = str(room / "bin" / "python")
        words = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES]
        program = [inside, "-c", "import mlserver.cli, mlserver_sklearn"]
        reason = run([python, "-m", "venv", str(room)], place) or run(words, place)
        reason = reason or run(program, place)
        if not reason:
            return room / "bin" / "mlserver"
        reasons.append(f"{name}: {reason}")
    print("MLServer cannot be installed here; it is left out", *reasons, sep="\n", file=sys.stderr)
    return None


def prepare(place: Path, ports: tuple[int, int, int]) -> Path | None:
    """Install it and write a model and settings; its program, or None."""
    place.mkdir()
    program = installed(place)
    if program is None:
        return None
    reason = run([str(program.parent / "python"), "-c", MODEL], place)
    if reason:
        print(f"MLServer is left out: {reason}", file=sys.stderr)
        return None
    model = {"name": "m", "implementation": "mlserver_sklearn.SKLearnModel"}
    model_settings = {**model, "parameters": {"uri": "./model.joblib"}}
    (place / "model-settings.json").write_text(json.dumps(model_settings))
    names = ("http_port", "grpc_port", "metrics_port")
    general = {"debug": False, "parallel_workers": 0, **dict(zip(names, ports, strict=True))}
    (place / "settings.json").write_text(json.dumps(general))
    return program
