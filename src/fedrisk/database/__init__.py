"""Our own database: its tables, their revisions, and the way to it, SQLite or PostgreSQL."""
