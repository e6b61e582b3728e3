"""Every table of our own database; `migrations` tells how it came to be so.

A change here needs a revision there (a test compares the two), by the rule that keeps the release
before at work (docs/upgrading.md): what is added has a default or may be empty; what is not needed
any more goes one release later.
"""

from __future__ import annotations

import sqlalchemy as sql

METADATA = sql.MetaData()
WINDOWS = sql.Table(
    "windows",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("model", sql.String(200), nullable=False),
    sql.Column("version", sql.String(64), nullable=False),
    sql.Column("study", sql.String(64), nullable=False),
    sql.Column("source", sql.String(200), nullable=False),
    # ISO 8601 in UTC: sorts as it is, and reads the same in every database.
    sql.Column("start", sql.String(40), nullable=False),
    sql.Column("end", sql.String(40), nullable=False, index=True),
    sql.Column("rows", sql.Float, nullable=False),
    sql.Column("profile", sql.Text, nullable=False),
)
VERDICTS = sql.Table(
    "verdicts",
    METADATA,
    sql.Column("model", sql.String(200), primary_key=True),
    sql.Column("version", sql.String(64), primary_key=True),
    # ISO 8601 in UTC: sorts as it is, and reads the same in every database.
    sql.Column("at", sql.String(40), primary_key=True),
    sql.Column("status", sql.String(40), nullable=False),
    sql.Column("document", sql.Text, nullable=False),
)
MEMORIES = sql.Table(
    "verdict_memories",
    METADATA,
    sql.Column("model", sql.String(200), primary_key=True),
    sql.Column("version", sql.String(64), primary_key=True),
    sql.Column("document", sql.Text, nullable=False),
)
ALERTS = sql.Table(
    "watch_alerts",
    METADATA,
    # Homes of several models may share one database.
    sql.Column("model", sql.String(200), primary_key=True),
    sql.Column("key", sql.String(300), primary_key=True),
    sql.Column("source", sql.String(40), nullable=False),
    sql.Column("kind", sql.String(40), nullable=False),
    sql.Column("subject", sql.String(200), nullable=False),
    sql.Column("level", sql.String(10), nullable=False),
    sql.Column("title", sql.Text, nullable=False),
    sql.Column("text", sql.Text, nullable=False),
    # ISO 8601 in UTC; empty for never.
    sql.Column("since", sql.String(40), nullable=False),
    sql.Column("seen", sql.String(40), nullable=False),
    sql.Column("told", sql.String(40), nullable=False),
    sql.Column("told_level", sql.String(10), nullable=False),
    sql.Column("times", sql.Integer, nullable=False),
    sql.Column("active", sql.Boolean, nullable=False),
)
LOOPS = sql.Table(
    "retrainings",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("scope", sql.String(200), nullable=False, index=True),
    # The scope while it is open and nothing afterwards: so one is open at most.
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
)
TRANSITIONS = sql.Table(
    "retraining_transitions",
    METADATA,
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
)
LEASES = sql.Table(
    "retraining_leases",
    METADATA,
    sql.Column("scope", sql.String(200), primary_key=True),
    sql.Column("fence", sql.Integer, nullable=False),
    sql.Column("holder", sql.String(500), nullable=False),
    sql.Column("until", sql.Float, nullable=False),
)
#: What gates have looked at: it is not looked at again as if it were new.
GATES = sql.Table(
    "retraining_gates",
    METADATA,
    sql.Column("loop", sql.String(64), primary_key=True),
    sql.Column("scope", sql.String(200), nullable=False, index=True),
    sql.Column("at", sql.String(40), nullable=False),
    sql.Column("spent", sql.Text, nullable=False),
)
RUNS = sql.Table(
    "watch_runs",
    METADATA,
    # Homes of several models may share one database.
    sql.Column("model", sql.String(200), primary_key=True),
    sql.Column("job", sql.String(40), primary_key=True),
    # ISO 8601 in UTC; empty for never.
    sql.Column("began", sql.String(40), nullable=False),
    sql.Column("ended", sql.String(40), nullable=False),
    sql.Column("code", sql.Integer, nullable=False),
)
#: What the watch was asked to do, from elsewhere.
OPERATIONS = sql.Table(
    "operations",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("command", sql.String(16), nullable=False),
    sql.Column("arguments", sql.Text, nullable=False),
    sql.Column("state", sql.String(16), nullable=False, index=True),
    sql.Column("at", sql.String(40), nullable=False),
    sql.Column("begun", sql.Integer, nullable=False),
    # ISO 8601 in UTC; empty for never.
    sql.Column("began", sql.String(40), nullable=False),
    sql.Column("ended", sql.String(40), nullable=False),
    sql.Column("code", sql.Integer),
    sql.Column("answer", sql.Text, nullable=False),
    sql.Column("lines", sql.Text, nullable=False),
    sql.Column("told", sql.Integer, nullable=False),
)
JOBS = sql.Table(
    "jobs",
    METADATA,
    sql.Column("id", sql.String(64), primary_key=True),
    sql.Column("owner", sql.String(200), nullable=False, index=True),
    sql.Column("place", sql.String(64), nullable=False, index=True),
    sql.Column("replica", sql.String(200), nullable=False),
    sql.Column("state", sql.String(16), nullable=False),
    sql.Column("media_type", sql.String(100), nullable=False),
    sql.Column("gzip", sql.Boolean, nullable=False),
    sql.Column("explain", sql.Boolean, nullable=False),
    sql.Column("request_id", sql.String(128), nullable=False),
    sql.Column("bytes", sql.BigInteger, nullable=False),
    sql.Column("created", sql.Float, nullable=False),
    sql.Column("started", sql.Float),
    sql.Column("ended", sql.Float, index=True),
    sql.Column("read", sql.BigInteger, nullable=False, default=0),
    sql.Column("rows", sql.BigInteger, nullable=False, default=0),
    sql.Column("attempts", sql.Integer, nullable=False, default=0),
    sql.Column("fence", sql.Integer, nullable=False, default=0),
    sql.Column("holder", sql.String(200), nullable=False, default=""),
    sql.Column("lease", sql.Float, nullable=False, default=0.0),
    sql.Column("model", sql.Text, nullable=False, default="{}"),
    sql.Column("error", sql.Text, nullable=False, default="null"),
)
CLAIMS = sql.Table(
    "limit_claims",
    METADATA,
    sql.Column("replica", sql.String(200), primary_key=True),
    sql.Column("beat", sql.BigInteger, nullable=False),
    sql.Column("claim", sql.Text, nullable=False),
)
#: One row: the oldest revision whose programs can use these tables as they are.
COMPATIBILITY = sql.Table(
    "fedrisk_compatibility",
    METADATA,
    sql.Column("oldest", sql.String(32), primary_key=True),
)
