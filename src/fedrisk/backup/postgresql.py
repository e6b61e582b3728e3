"""PostgreSQL databases by its own tools: `pg_dump` and `pg_restore`, in their custom format."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fedrisk.errors import HomeError, UsageError
from fedrisk.settings import process_environment

if TYPE_CHECKING:
    import sqlalchemy as sql

_PIECE = 1 << 20


def check_address(name: str, url: str) -> None:
    """Refuse what is no PostgreSQL address, and one with a password that others could see.

    Raises
    ------
    UsageError
    """
    place = _place(name, url)
    if place.password:
        raise UsageError(
            f"--database {name}: a password on a command line is seen by everybody here",
            hint="put it in a file, and ?password_file=FILE at the end of the address",
        )


def dump(name: str, url: str, target: IO[bytes]) -> None:
    """Write a database's dump: one moment of it, however long it takes.

    Raises
    ------
    HomeError
        When the tool is missing, or fails.
    """
    words, environment = _connection(name, url)
    command = [_tool("pg_dump"), "--format=custom", "--no-owner", "--no-privileges", *words]
    with subprocess.Popen(  # noqa: S603 the tool that was found
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment
    ) as running:
        assert running.stdout is not None  # noqa: S101 for the type checker
        try:
            while piece := running.stdout.read(_PIECE):
                target.write(piece)
        except BaseException:
            running.kill()
            raise
    _check(name, "pg_dump", running.returncode)


def restore(name: str, url: str, source: IO[bytes], *, force: bool) -> None:
    """Put a dump in a database: all of it or nothing.

    Parameters
    ----------
    name : str
    url : str
    source : binary file
    force : bool
        Replace tables that are there.

    Raises
    ------
    HomeError
        When the tool is missing, or fails.
    """
    words, environment = _connection(name, url)
    flags = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    command = [_tool("pg_restore"), *flags, *(("--clean", "--if-exists") if force else ()), *words]
    with subprocess.Popen(  # noqa: S603 the tool that was found
        command, stdin=subprocess.PIPE, env=environment
    ) as running:
        assert running.stdin is not None  # noqa: S101 for the type checker
        try:
            shutil.copyfileobj(source, running.stdin, _PIECE)
            running.stdin.close()
        except BrokenPipeError:
            pass  # it says itself why it ended
        except BaseException:
            running.kill()
            raise
    _check(name, "pg_restore", running.returncode)


def is_empty(name: str, url: str) -> bool:
    """Whether a database has no table yet.

    Raises
    ------
    HomeError
        When it is away.
    """
    import sqlalchemy as sql

    from fedrisk.database.store import looking

    _place(name, url)
    with looking(url) as connection:
        return not sql.inspect(connection).get_table_names()


def _place(name: str, url: str) -> sql.URL:
    import sqlalchemy as sql
    from sqlalchemy.exc import SQLAlchemyError

    try:
        place = sql.make_url(url)
    except (SQLAlchemyError, ValueError):
        place = None
    if place is None or place.get_backend_name() != "postgresql":
        raise UsageError(
            f"--database {name}: its address begins with postgresql+psycopg://",
            hint="a SQLite file is copied with the folder it is in",
        )
    return place


def _connection(name: str, url: str) -> tuple[list[str], dict[str, str]]:
    """What the tools are told: the address as words, and the password where nobody sees it."""
    from psycopg.conninfo import make_conninfo

    from fedrisk.database.connection import PASSWORD_FILE

    place = _place(name, url)
    secret = place.query.get(PASSWORD_FILE)
    place = place.difference_update_query([PASSWORD_FILE])
    parts = {"host": place.host, "port": place.port, "user": place.username, **place.query}
    given = {key: str(value) for key, value in parts.items() if value is not None}
    told = make_conninfo("", dbname=place.database or "postgres", **given)
    environment = process_environment()
    password = place.password
    if isinstance(secret, str):
        password = _password_of(told, Path(secret))
    if password:
        environment["PGPASSWORD"] = str(password)
    return [f"--dbname={told}"], environment


def _password_of(address: str, file: Path) -> str:
    """The one that the server takes, of a file that holds two while the password is changed."""
    import psycopg

    from fedrisk.database.connection import read_passwords

    try:
        passwords = read_passwords(file)
    except (OSError, ValueError) as error:
        raise HomeError(f"the password's file {file}: {error}") from None
    for password in passwords[:-1]:
        try:
            psycopg.connect(address, password=password).close()
        except psycopg.OperationalError:
            continue
        return password
    return passwords[-1]


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise HomeError(
            f"{name} is not installed here",
            hint="install PostgreSQL's client, or dump where it is and give --dump NAME=FILE",
        )
    return found


def _check(name: str, tool: str, code: int) -> None:
    if code:
        raise HomeError(
            f"database {name!r}: {tool} ended with {code}", hint="what it printed says why"
        )
