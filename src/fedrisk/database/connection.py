"""Connections to SQLite or PostgreSQL, with a password that may change while they are used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from fedrisk.errors import HomeError

#: Seconds to wait for another writer of a SQLite file, and for a server to take a connection.
BUSY_SECONDS, CONNECT_SECONDS = 10, 10
#: Milliseconds after which a connection whose other end says nothing any more is given up.
SILENT_MILLISECONDS = 20_000
#: By database, what knows "unless it is there already"; others are refused.
INSERTS: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
#: Part of an address that names the file with the password; not the driver's, but ours.
PASSWORD_FILE = "password_file"  # noqa: S105 a name, no password


def make_engine(url: str, what: str, options: dict[str, Any] | None = None) -> sql.Engine:
    """Connections to a database, made when they are needed.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it: SQLite or PostgreSQL. ``password_file`` among its parameters names
        a file with the password.
    what : str
        What is kept there, for messages.
    options : dict, optional
        Of the driver, in place of the usual limits of waiting.

    Raises
    ------
    HomeError
        When the address is none, or of a database that is not supported.
    """
    try:
        place = sql.make_url(url)
        backend = place.get_backend_name()
        if backend not in INSERTS:
            raise HomeError(
                f"{what} cannot be kept in {backend}",
                hint="an address begins with sqlite:/// or postgresql+psycopg://",
            )
        secret = place.query.get(PASSWORD_FILE)
        place = place.difference_update_query([PASSWORD_FILE])
        chosen = _limits(place, backend) if options is None else options
        engine = sql.create_engine(place, pool_pre_ping=True, connect_args=chosen)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        # The text of an address that cannot be read may hold a password.
        reason = str(error) if isinstance(error, ImportError) else type(error).__name__
        raise HomeError(
            f"the address of the database of {what} cannot be used: {reason}",
            hint="it begins with sqlite:/// or postgresql+psycopg://",
        ) from None
    if isinstance(secret, str):
        _read_at_connect(engine, Path(secret))
    return engine


def read_passwords(file: Path) -> list[str]:
    """Passwords of a file, one a line: the one in use, and while it is changed the other as well.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it holds none, or is no text.
    """
    found = [line for line in file.read_text(encoding="utf-8").splitlines() if line]
    if not found:
        raise ValueError("it holds no password")
    return found


def _read_at_connect(engine: sql.Engine, file: Path) -> None:
    """Try the file's passwords, in order, with each new connection."""

    def connect(dialect: sql.Dialect, _record: Any, words: list[Any], names: Any) -> Any:
        driver: Any = dialect.loaded_dbapi
        try:
            passwords = read_passwords(file)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise driver.OperationalError(f"the password's file {file}: {reason}") from None
        # The first once more: the server may have taken it up since it refused it.
        tries = [*passwords, *passwords[: len(passwords) - 1]]
        for password in tries[:-1]:
            try:
                return dialect.connect(*words, **{**names, "password": password})
            except driver.OperationalError as error:
                if "timeout" in type(error).__name__.lower():
                    raise  # nobody said no to this password
        return dialect.connect(*words, **{**names, "password": tries[-1]})

    sql.event.listen(engine, "do_connect", connect)


def _limits(place: sql.URL, backend: str) -> dict[str, Any]:
    """Limits of waiting, where the address says nothing about them."""
    if backend == "sqlite":
        return {"timeout": BUSY_SECONDS}
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": SILENT_MILLISECONDS}
    return {name: value for name, value in limits.items() if name not in place.query}
