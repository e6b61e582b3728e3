"""What every test shares: examples are judged by their outcome, never by the clock."""

from __future__ import annotations

import os

from hypothesis import settings

# Servers that tests start inherit it: a loaded machine must not change what they answer.
os.environ.setdefault("FEDRISK_MOST_LAG", "60")
settings.register_profile("fedrisk", deadline=None)
settings.load_profile("fedrisk")
