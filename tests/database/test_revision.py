"""Tables are made whole, refused when too old or too new, and used when one revision newer."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgresql import needs_postgresql, postgresql

from fedrisk.database.connection import make_engine
from fedrisk.database.revision import HEAD, VERSIONS, Found, ensure, look
from fedrisk.database.schema import COMPATIBILITY, METADATA, WINDOWS
from fedrisk.database.store import Database
from fedrisk.database.upgrade import MIGRATIONS, copy_of, upgrade
from fedrisk.errors import FedriskError, HomeError

NEXT = "0002"
#: A revision that only adds, as the rule wants it.
EXPANDING = """
import sqlalchemy as sql
from alembic import op

revision, down_revision, oldest = "0002", "0001", "{oldest}"


def upgrade():
    op.add_column("windows", sql.Column("region", sql.String(40), nullable=True))
    op.create_table("regions", sql.Column("id", sql.Integer, primary_key=True))
    {more}
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=needs_postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state.db'}"
        return
    with postgresql() as server:
        yield server.url


@pytest.fixture
def engine(url: str) -> Iterator[sql.Engine]:
    made = make_engine(url, "tables")
    yield made
    made.dispose()


def following(folder: Path, oldest: str = HEAD, more: str = "") -> Path:
    """A folder with the revision that a next release might bring."""
    folder.mkdir(exist_ok=True)
    (folder / "regions_0002.py").write_text(EXPANDING.format(oldest=oldest, more=more))
    return folder


def found(engine: sql.Engine, head: str = HEAD) -> Found:
    with engine.connect() as connection:
        return look(connection, head)


def differences(engine: sql.Engine) -> list[object]:
    with engine.connect() as connection:
        options = {"version_table": VERSIONS.name, "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, METADATA))


def today(engine: sql.Engine) -> None:
    """What a release without revisions left: tables of some stores, with rows."""
    WINDOWS.create(engine)
    row = {c.name: 1.5 if c.name == "rows" else "x" for c in WINDOWS.columns}
    with engine.begin() as connection:
        connection.execute(WINDOWS.insert(), row)


def rows(engine: sql.Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(sql.select(sql.func.count()).select_from(WINDOWS)).scalar())


def test_revisions_lead_to_the_tables_that_the_program_has(url: str, engine: sql.Engine) -> None:
    assert upgrade(url).state == "empty"
    assert found(engine) == Found("current", HEAD)
    assert differences(engine) == []


def test_an_empty_database_gets_the_same_tables_at_once(url: str, engine: sql.Engine) -> None:
    ensure(engine)
    assert found(engine) == Found("current", HEAD)
    assert differences(engine) == []
    assert upgrade(url) == Found("current", HEAD)


def test_the_head_is_the_newest_revision() -> None:
    script = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
    assert script.get_heads() == [HEAD]
    assert all(hasattr(each.module, "oldest") for each in script.walk_revisions())


def test_many_that_start_at_once_make_the_tables_once(url: str, engine: sql.Engine) -> None:
    failed: list[Exception] = []

    def begin() -> None:
        own = make_engine(url, "tables")
        try:
            ensure(own)
        except (FedriskError, sql.exc.SQLAlchemyError) as error:
            failed.append(error)
        own.dispose()

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with engine.connect() as connection:
        assert connection.execute(sql.select(sql.func.count()).select_from(VERSIONS)).scalar() == 1


def test_tables_from_before_revisions_are_taken_up(url: str, engine: sql.Engine) -> None:
    today(engine)
    assert found(engine) == Found("unversioned")
    if engine.dialect.name == "postgresql":
        with pytest.raises(HomeError, match="without revisions") as told:
            ensure(engine)
        assert "fedrisk database upgrade" in told.value.hint
        upgrade(url)
    ensure(engine)
    assert found(engine) == Found("current", HEAD)
    assert rows(engine) == 1
    assert differences(engine) == []


def test_a_sqlite_file_is_copied_before_its_upgrade(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    engine = make_engine(f"sqlite:///{file}", "tables")
    today(engine)
    ensure(engine)
    engine.dispose()
    copy = make_engine(f"sqlite:///{copy_of(file)}", "tables")
    assert found(copy) == Found("unversioned")
    assert rows(copy) == 1
    copy.dispose()


def test_a_program_goes_on_with_tables_one_revision_newer(
    url: str, engine: sql.Engine, tmp_path: Path
) -> None:
    today(engine)
    upgrade(url)
    ensure(engine)
    assert upgrade(url, more=[following(tmp_path / "more")], head=NEXT) == Found("older", HEAD)
    assert found(engine) == Found("newer", NEXT)
    assert found(engine, NEXT) == Found("current", NEXT)
    ensure(engine)
    row = {c.name: 1.5 if c.name == "rows" else "y" for c in WINDOWS.columns}
    with engine.begin() as connection:
        connection.execute(WINDOWS.insert(), row)
    assert rows(engine) == 2


def test_tables_that_are_too_new_are_refused(url: str, engine: sql.Engine, tmp_path: Path) -> None:
    upgrade(url, more=[following(tmp_path / "more", oldest=NEXT)], head=NEXT)
    with pytest.raises(HomeError, match="too new"):
        ensure(engine)
    with pytest.raises(HomeError, match="too new"):
        upgrade(url)
    database = Database(url, "all")
    with pytest.raises(HomeError, match="too new"), database.transaction():
        pass
    database.close()


def test_a_revision_that_fails_changes_nothing(
    url: str, engine: sql.Engine, tmp_path: Path
) -> None:
    ensure(engine)
    more = following(tmp_path / "more", more='op.execute("SELECT nothing FROM nowhere")')
    with pytest.raises(HomeError, match="cannot be upgraded"):
        upgrade(url, more=[more], head=NEXT)
    assert found(engine) == Found("current", HEAD)
    assert differences(engine) == []
    assert not sql.inspect(engine).has_table("regions")


def test_what_says_the_oldest_program_follows_the_revision(
    url: str, engine: sql.Engine, tmp_path: Path
) -> None:
    def oldest() -> list[str]:
        with engine.connect() as connection:
            return list(connection.execute(sql.select(COMPATIBILITY.c.oldest)).scalars())

    ensure(engine)
    assert oldest() == [HEAD]
    upgrade(url, more=[following(tmp_path / "more", oldest=NEXT)], head=NEXT)
    assert oldest() == [NEXT]


def test_an_upgrade_apart_that_fails_says_why(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    engine = make_engine(f"sqlite:///{file}", "tables")
    today(engine)
    copy_of(file).mkdir()  # nothing can be copied there
    with pytest.raises(HomeError, match=r"upgrade failed: .*cannot be upgraded"):
        ensure(engine)
    assert found(engine) == Found("unversioned")
    engine.dispose()


def test_a_program_that_serves_loads_no_alembic(tmp_path: Path) -> None:
    file = tmp_path / "state.db"
    engine = make_engine(f"sqlite:///{file}", "tables")
    today(engine)
    engine.dispose()
    code = (
        "import sys\n"
        "from fedrisk.profiles.store import WindowStore\n"
        "from fedrisk.serving.jobs.store import JobStore\n"
        f"store = JobStore('sqlite:///{file}')\n"
        "assert store.waiting('x') == 0\n"
        "assert 'alembic' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    engine = make_engine(f"sqlite:///{file}", "tables")
    assert found(engine) == Found("current", HEAD)
    engine.dispose()
