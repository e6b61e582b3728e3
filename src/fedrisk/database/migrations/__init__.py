"""Revisions of the tables, each a module that Alembic runs; `fedrisk.database.upgrade` calls it."""
