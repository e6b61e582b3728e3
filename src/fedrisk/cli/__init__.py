"""The command line: the composition root that reads settings and hands them down."""

from fedrisk.cli.main import main

__all__ = ["main"]
