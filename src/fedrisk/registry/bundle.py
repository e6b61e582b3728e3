"""The model's folder as MLflow stores it: readable files, a pyfunc, and the code that it needs.

::

    MLmodel, requirements.txt, …   written by MLflow, with signature and input example
    data/fedrisk/                  model.json, reference.json, checks.json
    code/fedrisk_scoring_…/        the modules that score, and no others
    model_card.md

fedrisk is on no package index, so the modules travel with the model. They get a package name of
their own that ends in the hash of their text: an installed fedrisk is neither needed nor shadowed,
and models of two versions load in one process.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import fedrisk
from fedrisk.registry.cache import CHECKS, MODEL, REFERENCE, readable_json, sha256
from fedrisk.study import NumberFeature, Study, parse_study
from fedrisk.study.training import TrainingResult

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

#: The module that MLflow loads.
LOADER = "fedrisk.registry.pyfunc"
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pydantic")
#: Where the readable files lie in the model's folder.
DATA = "data/fedrisk"
CARD = "model_card.md"


def write_bundle(
    folder: Path, result: TrainingResult, card: str, mlflow_run: str
) -> dict[str, str]:
    """Write a model's folder.

    Parameters
    ----------
    folder : Path
        Must not exist, or be empty.
    result : TrainingResult
    card : str
        The model card, in Markdown.
    mlflow_run : str
        MLflow's identifier of the run that the folder belongs to.

    Returns
    -------
    dict
        SHA-256 of model.json, reference.json and checks.json.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    study = parse_study(result.model["study"], "model's study")
    with TemporaryDirectory(prefix="fedrisk-") as temporary:
        hashes = _write_data(Path(temporary) / DATA, result)
        package = _copy_modules(Path(temporary) / "code")
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=Model(artifact_path=folder.name, run_id=mlflow_run),
            loader_module=f"{package.name}.registry.pyfunc",
            data_path=str(Path(temporary) / DATA),
            code_paths=[str(package)],
            signature=_signature(study),
            input_example=_example(study, result.checks),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            metadata={"study_hash": study.hash, "fedrisk": fedrisk.__version__, "sha256": hashes},
        )
    (folder / CARD).write_text(card, encoding="utf-8")
    return hashes


def _write_data(folder: Path, result: TrainingResult) -> dict[str, str]:
    folder.mkdir(parents=True)
    hashes = {}
    parts = {MODEL: result.model, REFERENCE: result.reference, CHECKS: result.checks}
    for file, part in parts.items():
        content = readable_json(part).encode()
        (folder / file).write_bytes(content)
        hashes[file] = sha256(content)
    return hashes


def _copy_modules(folder: Path) -> Path:
    """Copy the modules under their own package name; that package's folder."""
    texts = needed_modules()
    digest = hashlib.sha256("\0".join(texts.values()).encode()).hexdigest()[:12]
    package = folder / f"fedrisk_scoring_{digest}"
    for module, text in texts.items():
        target = package / module
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(renamed(text, package.name), encoding="utf-8")
    return package


def needed_modules() -> dict[str, str]:
    """The loader and every module of fedrisk that it imports, in turn: path and text."""
    root = Path(fedrisk.__file__).parent
    found: dict[str, str] = {}
    waiting = [LOADER]
    while waiting:
        parts = waiting.pop().split(".")[1:]
        path = root.joinpath(*parts)
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        module = file.relative_to(root).as_posix()
        if module in found or not file.is_file():
            continue
        found[module] = file.read_text(encoding="utf-8")
        waiting += [".".join(["fedrisk", *parts[:-1]]), *_imported(found[module])]
    return dict(sorted(found.items()))


def _imported(text: str) -> Iterator[str]:
    """Names below fedrisk that a module imports, whether they turn out to be modules or not."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "fedrisk")


def renamed(text: str, package: str) -> str:
    """A module's text with its imports of fedrisk turned to another package.

    >>> renamed("from fedrisk.study import Study", "other")
    'from other.study import Study'
    """
    return re.sub(r"^(\s*(?:from|import) )fedrisk\b", rf"\g<1>{package}", text, flags=re.MULTILINE)


def _signature(study: Study) -> ModelSignature:
    """What MLflow checks before the scorer does.

    A category is any type: the scorer takes a level in every form that files may have, and MLflow
    would refuse the number 0 for the level ``0``.
    """
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import AnyType

    columns: list[ColSpec | TensorSpec] = [
        ColSpec(
            DataType.double if isinstance(feature, NumberFeature) else AnyType(),  # type: ignore[no-untyped-call]
            name=feature.name,
            required=feature.missing == "reject",
        )
        for feature in study.features
    ]
    outputs: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.double, "risk_score"),
        ColSpec(DataType.string, "risk_level"),
    ]
    return ModelSignature(inputs=Schema(columns), outputs=Schema(outputs))


def _example(study: Study, checks: list[dict[str, Any]]) -> Any:
    """The average person, as a frame of one row: no site's row."""
    import pandas as pd

    row = checks[0]["row"]
    return pd.DataFrame({feature.name: [row[feature.name]] for feature in study.features})
