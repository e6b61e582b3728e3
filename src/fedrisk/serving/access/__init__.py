"""Who may ask what: API keys, bearer tokens, and how much each may ask."""

from fedrisk.serving.access.guard import Guard, Guarded, Principal

__all__ = ["Guard", "Guarded", "Principal"]
