"""The `fedrisk` command: finds its subcommands only when they are called."""

from __future__ import annotations

import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import FrameType

import click

from fedrisk import __version__
from fedrisk.errors import DataError, FedriskError

#: Command, where it lives, and its line in `fedrisk --help`: nothing else is imported for help.
COMMANDS = {
    "up": ("fedrisk.cli.up:up", "Train, register and serve on this machine: the main job."),
    "study": ("fedrisk.cli.study:study", "Draft a study from data, or check data against it."),
    "train": ("fedrisk.cli.train:train", "One federated run over the sites."),
    "score": ("fedrisk.cli.score:score", "Score a file by the champion, in a stream."),
    "serve": ("fedrisk.cli.serve:serve", "Serve the champion over HTTP."),
    "keys": ("fedrisk.cli.keys:keys", "Make, list and revoke the API's keys."),
    "record": ("fedrisk.cli.record:record", "Open or erase the sealed record of predictions."),
    "models": ("fedrisk.cli.models:models", "List the registered models."),
    "promote": ("fedrisk.cli.models:promote", "Make a version the champion."),
    "rollback": ("fedrisk.cli.models:rollback", "Return to the champion before this one."),
    "watch": ("fedrisk.cli.watch:watch", "Look for drift and retrain by schedule."),
    "trigger": ("fedrisk.cli.trigger:trigger", "Have a running watch look, retrain or train."),
    "alerts": ("fedrisk.cli.alerts:alerts", "List alerts, and try the ways to people."),
    "retrain": ("fedrisk.cli.retrain:retrain", "The loop once: judge, fit, gate, try, promote."),
    "federation": ("fedrisk.cli.federation:federation", "Run a federation of real machines."),
    "site": ("fedrisk.cli.site:site", "Take part in a federation, and guard what leaves."),
    "drift": ("fedrisk.cli.drift:drift", "Judge current rows against the champion's reference."),
    "database": ("fedrisk.cli.database:database", "Look at our tables, and upgrade them."),
    "backup": ("fedrisk.cli.backup:backup", "Back up, check a backup, restore."),
    "simulate": ("fedrisk.cli.simulate:simulate", "Write the simulated cohort, one file a site."),
}
#: Shown of a DataError's violations on a terminal; `--json` prints them all.
SHOWN_VIOLATIONS = 20


class Terminated(KeyboardInterrupt):
    """SIGTERM came: everything ends as on Ctrl-C, and the exit code tells the difference."""


class LazyGroup(click.Group):
    """A group that imports a subcommand when it is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fedrisk")
def cli() -> None:
    """Health-risk models that sites train together without moving their data."""


def report(error: FedriskError) -> None:
    """Print an error as people read it: what, every violation up to a limit, what to do."""
    click.secho(f"error: {error.message}", fg="red", err=True)
    if isinstance(error, DataError):
        for violation in error.violations[:SHOWN_VIOLATIONS]:
            click.echo(f"  {violation}", err=True)
        more = error.total - min(len(error.violations), SHOWN_VIOLATIONS)
        if more > 0:
            click.echo(f"  ... and {more} more", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def _report_json(error: FedriskError) -> None:
    document: dict[str, object] = {"error": error.message, "hint": error.hint}
    if isinstance(error, DataError):
        names = ("file", "row", "column", "value", "rule")
        document["total"] = error.total
        document["violations"] = [{n: getattr(v, n) for n in names} for v in error.violations]
    click.echo(json.dumps(document))


@contextmanager
def _ending_well() -> Iterator[None]:
    """Let SIGTERM unwind the command, unless whoever started it lets it be ignored."""
    ours = threading.current_thread() is threading.main_thread()
    former = signal.getsignal(signal.SIGTERM)
    if not ours or former in (signal.SIG_IGN, None):
        yield
        return

    def end(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _interrupted(error: BaseException | None) -> int:
    """Say what ended the command; the exit code is a shell's for its signal."""
    terminated = isinstance(error, Terminated)
    click.echo("terminated" if terminated else "interrupted", err=True)
    return 128 + (signal.SIGTERM if terminated else signal.SIGINT)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with the exit code of errors.py."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        with _ending_well():
            code = cli.main(args=given, prog_name="fedrisk", standalone_mode=False)
    except FedriskError as error:
        report(error)
        if "--json" in given:
            _report_json(error)
        sys.exit(error.exit_code)
    except click.exceptions.Abort as error:
        sys.exit(_interrupted(error.__cause__))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        sys.exit(_interrupted(error))
    except BrokenPipeError:
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)
