"""Import rules: the contracts of pyproject.toml, and who alone may load what."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "fedrisk"
ROOMS = sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file())
HEAVY = {"fastapi", "flwr", "mlflow", "pandas", "pyarrow", "ray", "sklearn", "uvicorn"}
#: The only module that reads the environment; the others are handed settings.
READS_ENVIRONMENT = PACKAGE / "settings.py"


def test_the_import_contracts_hold():
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_opening_a_room_loads_no_heavy_library(room):
    code = f"import sys, fedrisk.{room}; print(' '.join({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


def environment_reads(file: Path) -> list[int]:
    """Lines that read the environment; handing a changed copy to a child process is no reading."""
    lines = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"os.getenv", "os.environ.get"}:
            lines.append(node.lineno)
        is_item = isinstance(node, ast.Subscript) and ast.unparse(node.value) == "os.environ"
        if is_item and isinstance(node.ctx, ast.Load):
            lines.append(node.lineno)
    return lines


def test_settings_alone_reads_the_environment():
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if file != READS_ENVIRONMENT
        for line in environment_reads(file)
    ]
    assert found == []
