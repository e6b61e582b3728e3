"""Who may ask what: API keys, bearer tokens, and how much each may ask."""

from fedrisk.serving.access.guard import ANY, Guard, Guarded, Principal, guard_routes

__all__ = ["ANY", "Guard", "Guarded", "Principal", "guard_routes"]
