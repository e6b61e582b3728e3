"""The tables as they were when revisions began; a database from before keeps those it has."""

from __future__ import annotations

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None
#: The oldest revision whose programs can use the tables of this one.
oldest = "0001"


def upgrade() -> None:
    """Make what is missing."""
    op.create_table(
        "windows",
        sql.Column("id", sql.String(64), primary_key=True),
        sql.Column("model", sql.String(200), nullable=False),
        sql.Column("version", sql.String(64), nullable=False),
        sql.Column("study", sql.String(64), nullable=False),
        sql.Column("source", sql.String(200), nullable=False),
        sql.Column("start", sql.String(40), nullable=False),
        sql.Column("end", sql.String(40), nullable=False),
        sql.Column("rows", sql.Float, nullable=False),
        sql.Column("profile", sql.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "verdicts",
        sql.Column("model", sql.String(200), primary_key=True),
        sql.Column("version", sql.String(64), primary_key=True),
        sql.Column("at", sql.String(40), primary_key=True),
        sql.Column("status", sql.String(40), nullable=False),
        sql.Column("document", sql.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "verdict_memories",
        sql.Column("model", sql.String(200), primary_key=True),
        sql.Column("version", sql.String(64), primary_key=True),
        sql.Column("document", sql.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "watch_alerts",
        sql.Column("model", sql.String(200), primary_key=True),
        sql.Column("key", sql.String(300), primary_key=True),
        sql.Column("source", sql.String(40), nullable=False),
        sql.Column("kind", sql.String(40), nullable=False),
        sql.Column("subject", sql.String(200), nullable=False),
        sql.Column("level", sql.String(10), nullable=False),
        sql.Column("title", sql.Text, nullable=False),
        sql.Column("text", sql.Text, nullable=False),
        sql.Column("since", sql.String(40), nullable=False),
        sql.Column("seen", sql.String(40), nullable=False),
        sql.Column("told", sql.String(40), nullable=False),
        sql.Column("told_level", sql.String(10), nullable=False),
        sql.Column("times", sql.Integer, nullable=False),
        sql.Column("active", sql.Boolean, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "retrainings",
        sql.Column("id", sql.String(64), primary_key=True),
        sql.Column("scope", sql.String(200), nullable=False),
        sql.Column("open", sql.String(200), unique=True),
        sql.Column("trigger", sql.String(16), nullable=False),
        sql.Column("state", sql.String(32), nullable=False),
        sql.Column("reason", sql.Text, nullable=False),
        sql.Column("created", sql.String(40), nullable=False),
        sql.Column("changed", sql.String(40), nullable=False),
        sql.Column("number", sql.Integer, nullable=False),
        sql.Column("chain", sql.String(64), nullable=False),
        sql.Column("plan", sql.Text, nullable=False),
        sql.Column("approval", sql.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "retraining_transitions",
        sql.Column("loop", sql.String(64), primary_key=True),
        sql.Column("number", sql.Integer, primary_key=True, autoincrement=False),
        sql.Column("before", sql.String(32), nullable=False),
        sql.Column("state", sql.String(32), nullable=False),
        sql.Column("at", sql.String(40), nullable=False),
        sql.Column("fence", sql.Integer, nullable=False),
        sql.Column("reason", sql.Text, nullable=False),
        sql.Column("evidence", sql.Text, nullable=False),
        sql.Column("inputs", sql.Text, nullable=False),
        sql.Column("chain", sql.String(64), nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "retraining_leases",
        sql.Column("scope", sql.String(200), primary_key=True),
        sql.Column("fence", sql.Integer, nullable=False),
        sql.Column("holder", sql.String(500), nullable=False),
        sql.Column("until", sql.Float, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "retraining_gates",
        sql.Column("loop", sql.String(64), primary_key=True),
        sql.Column("scope", sql.String(200), nullable=False),
        sql.Column("at", sql.String(40), nullable=False),
        sql.Column("spent", sql.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "watch_runs",
        sql.Column("model", sql.String(200), primary_key=True),
        sql.Column("job", sql.String(40), primary_key=True),
        sql.Column("began", sql.String(40), nullable=False),
        sql.Column("ended", sql.String(40), nullable=False),
        sql.Column("code", sql.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "operations",
        sql.Column("id", sql.String(64), primary_key=True),
        sql.Column("command", sql.String(16), nullable=False),
        sql.Column("arguments", sql.Text, nullable=False),
        sql.Column("state", sql.String(16), nullable=False),
        sql.Column("at", sql.String(40), nullable=False),
        sql.Column("begun", sql.Integer, nullable=False),
        sql.Column("began", sql.String(40), nullable=False),
        sql.Column("ended", sql.String(40), nullable=False),
        sql.Column("code", sql.Integer),
        sql.Column("answer", sql.Text, nullable=False),
        sql.Column("lines", sql.Text, nullable=False),
        sql.Column("told", sql.Integer, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "jobs",
        sql.Column("id", sql.String(64), primary_key=True),
        sql.Column("owner", sql.String(200), nullable=False),
        sql.Column("place", sql.String(64), nullable=False),
        sql.Column("replica", sql.String(200), nullable=False),
        sql.Column("state", sql.String(16), nullable=False),
        sql.Column("media_type", sql.String(100), nullable=False),
        sql.Column("gzip", sql.Boolean, nullable=False),
        sql.Column("explain", sql.Boolean, nullable=False),
        sql.Column("request_id", sql.String(128), nullable=False),
        sql.Column("bytes", sql.BigInteger, nullable=False),
        sql.Column("created", sql.Float, nullable=False),
        sql.Column("started", sql.Float),
        sql.Column("ended", sql.Float),
        sql.Column("read", sql.BigInteger, nullable=False, default=0),
        sql.Column("rows", sql.BigInteger, nullable=False, default=0),
        sql.Column("attempts", sql.Integer, nullable=False, default=0),
        sql.Column("fence", sql.Integer, nullable=False, default=0),
        sql.Column("holder", sql.String(200), nullable=False, default=""),
        sql.Column("lease", sql.Float, nullable=False, default=0.0),
        sql.Column("model", sql.Text, nullable=False, default="{}"),
        sql.Column("error", sql.Text, nullable=False, default="null"),
        if_not_exists=True,
    )
    op.create_table(
        "limit_claims",
        sql.Column("replica", sql.String(200), primary_key=True),
        sql.Column("beat", sql.BigInteger, nullable=False),
        sql.Column("claim", sql.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "fedrisk_compatibility",
        sql.Column("oldest", sql.String(32), primary_key=True),
        if_not_exists=True,
    )
    op.create_index("ix_windows_end", "windows", ["end"], if_not_exists=True)
    op.create_index("ix_retrainings_scope", "retrainings", ["scope"], if_not_exists=True)
    op.create_index("ix_retraining_gates_scope", "retraining_gates", ["scope"], if_not_exists=True)
    op.create_index("ix_jobs_owner", "jobs", ["owner"], if_not_exists=True)
    op.create_index("ix_jobs_place", "jobs", ["place"], if_not_exists=True)
    op.create_index("ix_jobs_ended", "jobs", ["ended"], if_not_exists=True)
    op.create_index("ix_operations_state", "operations", ["state"], if_not_exists=True)
