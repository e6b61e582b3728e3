"""What every test shares: examples are judged by their outcome, never by the clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("fedrisk", deadline=None)
settings.load_profile("fedrisk")
