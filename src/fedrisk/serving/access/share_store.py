"""The replicas' claims in a database: one row each, changed by one replica at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy.exc import SQLAlchemyError

from fedrisk.database.connection import make_engine
from fedrisk.database.revision import ensure
from fedrisk.database.schema import CLAIMS
from fedrisk.errors import HomeError
from fedrisk.serving.access.shares import Claim

#: Seconds that the database may take to connect, to let others finish, and to answer.
PATIENCE = 3
#: Held in PostgreSQL for the length of a transaction; any number that nobody else takes.
_LOCK = 7_160_244_118


class Claims:
    """The rows, while nobody else changes them.

    Attributes
    ----------
    claims : dict of str to Claim
        By replica.
    """

    def __init__(self, connection: sql.Connection) -> None:
        self._connection = connection
        self.claims = {row.replica: _read(row) for row in connection.execute(sql.select(CLAIMS))}

    def write(self, replica: str, claim: Claim) -> None:
        """Put a replica's row in the place of its earlier one."""
        self.forget(replica)
        document = {"base": claim.base, "shares": claim.shares, "demand": claim.demand}
        row = {"replica": replica, "beat": claim.beat, "claim": json.dumps(document)}
        self._connection.execute(CLAIMS.insert(), row)

    def forget(self, replica: str) -> None:
        """Delete a replica's row."""
        self._connection.execute(CLAIMS.delete().where(CLAIMS.c.replica == replica))


class DatabaseClaims:
    """Claims in one database.

    Parameters
    ----------
    url : str
        As SQLAlchemy reads it: PostgreSQL or SQLite.

    Raises
    ------
    HomeError
        From `transaction`, when the database is away or cannot be written to.
    """

    def __init__(self, url: str) -> None:
        place = sql.make_url(url)
        self._server = place.get_backend_name() == "postgresql"
        options: dict[str, Any] = {"timeout": PATIENCE, "isolation_level": None}
        if self._server:
            limit = f"-c statement_timeout={PATIENCE}s -c lock_timeout={PATIENCE}s"
            options = {
                "connect_timeout": PATIENCE,
                "options": limit,
                "tcp_user_timeout": 1000 * PATIENCE,
            }
        self._engine = make_engine(url, "shares of limits", options)
        self._ready = False

    @contextmanager
    def transaction(self) -> Iterator[Claims]:
        """All rows, for this replica alone until the context ends."""
        try:
            if not self._ready:
                ensure(self._engine)
                self._ready = True
            with self._engine.begin() as connection:
                lock = (
                    f"SELECT pg_advisory_xact_lock({_LOCK})" if self._server else "BEGIN IMMEDIATE"
                )
                connection.execute(sql.text(lock))
                yield Claims(connection)
        except (SQLAlchemyError, ValueError, KeyError, TypeError) as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            place = self._engine.url.render_as_string(hide_password=True)
            raise HomeError(
                f"shares of limits cannot be agreed on at {place}: {reason}",
                hint="the database must be reachable and have room",
            ) from None

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()


def _read(row: Any) -> Claim:
    document = json.loads(row.claim)
    return Claim(
        row.beat,
        float(document["base"]),
        {int(place): float(share) for place, share in document["shares"].items()},
        {int(place): float(each) for place, each in document["demand"].items()},
    )
