"""Health-risk models that sites train together without moving their data."""

__version__ = "0.1.0"
