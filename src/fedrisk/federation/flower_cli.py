"""Several `flwr` commands in one process, which is several starts of Python saved.

Run as ``python -m fedrisk.federation.flower_cli`` with one JSON list of arguments a line on
standard input; ends with the first command that fails.
"""

from __future__ import annotations

import json
import sys

import click


def main() -> None:
    """Run every command; exit 1 with its message when one fails."""
    from flwr.cli.app import app
    from typer.main import get_command

    command = get_command(app)
    for line in sys.stdin:
        try:
            command.main(args=json.loads(line), prog_name="flwr", standalone_mode=False)
        except click.exceptions.Exit as done:
            if done.exit_code:
                sys.exit(f"flwr {line.strip()} ended with code {done.exit_code}")
        except click.ClickException as error:
            sys.exit(error.format_message())


if __name__ == "__main__":
    main()
