"""A password is read from its file with each connection, and may change while all goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgresql import PostgreSQL, needs_postgresql, postgresql
from running import wait_until

from fedrisk.database.connection import make_engine, read_passwords
from fedrisk.errors import HomeError
from fedrisk.profiles.store import WindowStore
from fedrisk.settings import Settings


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    with postgresql() as running:
        running.ask("CREATE ROLE app LOGIN PASSWORD 'first'")
        running.ask("GRANT ALL ON SCHEMA public TO app")
        running.require_passwords()
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "postgres password"


def address(server: PostgreSQL, file: Path) -> str:
    url = server.url.replace("fedrisk@", "app@")
    return Settings(database_url=url, database_password_file=file).database(Path())


def count(store: WindowStore) -> int:
    """A connection of its own, as after a pause."""
    now = datetime.now(UTC)
    try:
        return len(store.between("clinic", now - timedelta(days=1), now))
    finally:
        store.close()


@needs_postgresql
def test_another_password_is_taken_up_without_a_failed_question(
    server: PostgreSQL, file: Path
) -> None:
    server.ask("ALTER ROLE app PASSWORD 'first'")
    file.write_text("first\n")
    store, ended, failed, asked = WindowStore(address(server, file)), threading.Event(), [], []

    def ask() -> None:
        while not ended.is_set():
            try:
                asked.append(count(store))
            except HomeError as error:
                failed.append(error)

    def more() -> bool:
        """Whether questions are answered under what holds now."""
        before = len(asked)
        return wait_until(lambda: failed or len(asked) > before + 3, 60)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        assert more()
        draft = file.with_name("next")
        draft.write_text("second\nfirst\n")
        draft.replace(file)
        assert more()
        server.ask("ALTER ROLE app PASSWORD 'second'")
        assert more()
        draft.write_text("second\n")
        draft.replace(file)
        assert more()
    finally:
        ended.set()
        thread.join()
    assert failed == []
    file.write_text("first\n")
    with pytest.raises(HomeError, match="password authentication failed"):
        count(store)


@needs_postgresql
def test_a_file_that_is_missing_or_empty_is_named_and_no_password_told(
    server: PostgreSQL, file: Path
) -> None:
    store = WindowStore(address(server, file))
    with pytest.raises(HomeError, match=r"postgres password.*No such file"):
        count(store)
    file.write_text("\n")
    with pytest.raises(HomeError, match="holds no password"):
        count(store)
    file.write_text("wrong-secret\n")
    with pytest.raises(HomeError) as told:
        count(store)
    assert "wrong-secret" not in told.value.message + told.value.hint


def test_the_driver_is_not_told_of_the_file(file: Path) -> None:
    engine = make_engine(f"postgresql+psycopg://u@h/d?sslmode=require&password_file={file}", "all")
    assert dict(engine.url.query) == {"sslmode": "require"}


def test_lines_are_passwords_in_the_order_in_which_they_are_tried(file: Path) -> None:
    file.write_text("new one\n\nold\n")
    assert read_passwords(file) == ["new one", "old"]


def test_sqlite_has_no_password(file: Path) -> None:
    assert Settings(database_url="sqlite:///a.db", database_password_file=file).database(
        Path("b.db")
    ) == ("sqlite:///a.db")
    assert Settings(database_password_file=file).database(Path("b.db")) == "sqlite:///b.db"
