from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import click
import pytest

from fedrisk import __version__
from fedrisk.cli import main
from fedrisk.cli.main import COMMANDS, SHOWN_VIOLATIONS, LazyGroup, cli
from fedrisk.errors import DataError, ModelNotFoundError, Violation

HEAVY = {
    "alembic", "fastapi", "flwr", "mlflow", "numpy", "pandas", "pyarrow", "pydantic",
    "pydantic_settings", "ray", "rich", "scipy", "sklearn", "sqlalchemy", "uvicorn",
}  # fmt: skip


@pytest.fixture
def run(capsys, monkeypatch):
    """Run the command line with a command `fail` that raises; returns code, output, error text."""

    def call(error, *flags):
        @click.command(context_settings={"ignore_unknown_options": True})
        @click.argument("rest", nargs=-1)
        def fail(rest):
            raise error

        monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: fail)
        with pytest.raises(SystemExit) as ended:
            main(["fail", *flags])
        printed = capsys.readouterr()
        return ended.value.code, printed.out, printed.err

    return call


def test_help_imports_none_of_the_heavy_libraries():
    code = (
        "import sys\n"
        "from fedrisk.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "click" in loaded
    assert not loaded & HEAVY


def test_the_installed_command_answers_help_and_version():
    command = Path(sys.executable).with_name("fedrisk")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"fedrisk, version {__version__}\n"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True)
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says_and_has_help(name, capsys):
    module, _, attribute = COMMANDS[name][0].partition(":")
    command = getattr(import_module(module), attribute)
    assert isinstance(command, click.Command)
    assert command.help
    assert cli.get_command(click.Context(cli), name) is command
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["train", "--nonsense"]])
def test_what_is_not_a_command_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "nonsense" in printed.err


def test_an_error_of_ours_is_a_sentence_a_hint_and_a_code(run):
    code, out, err = run(ModelNotFoundError("no champion yet", hint="train one"))
    assert code == ModelNotFoundError.exit_code
    assert out == ""
    assert err == "error: no champion yet\nhint: train one\n"


def test_with_json_the_error_is_one_object_on_standard_output(run):
    violation = Violation("a.csv", 3, "age", "-1", "must be at least 0")
    code, out, err = run(DataError("1 value is wrong", [violation], total=5, hint="h"), "--json")
    assert code == DataError.exit_code
    document = json.loads(out)
    assert document["error"] == "1 value is wrong"
    assert document["total"] == 5
    assert document["violations"] == [
        {"file": "a.csv", "row": 3, "column": "age", "value": "-1", "rule": "must be at least 0"}
    ]
    assert "a.csv, row 3" in err


def test_violations_are_listed_up_to_a_limit_and_counted_beyond(run):
    many = [Violation("a.csv", row, "x", "?", "must be a number") for row in range(1, 31)]
    _, _, err = run(DataError("wrong", many, total=100))
    assert err.count("must be a number") == SHOWN_VIOLATIONS
    assert f"... and {100 - SHOWN_VIOLATIONS} more" in err


def test_sigterm_unwinds_a_command_and_exits_as_shells_expect(monkeypatch, capsys):
    unwound = []

    @click.command()
    def wait():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            unwound.append(True)

    monkeypatch.setattr(LazyGroup, "get_command", lambda self, ctx, name: wait)
    # Without a handler of ours the signal would end the tests as well.
    former = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("nobody handles SIGTERM"))
    try:
        with pytest.raises(SystemExit) as ended:
            main(["wait"])
        assert signal.getsignal(signal.SIGTERM).__name__ == "<lambda>"
    finally:
        signal.signal(signal.SIGTERM, former)
    assert (ended.value.code, unwound) == (143, [True])
    assert capsys.readouterr().err.strip() == "terminated"


def test_who_ignores_sigterm_goes_on_ignoring_it(run):
    former = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert run(ModelNotFoundError("none"))[0] == ModelNotFoundError.exit_code
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, former)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.exceptions.Abort()])
def test_an_interruption_exits_as_shells_expect(run, error):
    code, out, err = run(error)
    assert code == 130
    assert out == ""
    assert err.strip() == "interrupted"
