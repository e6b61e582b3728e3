"""A file of bearer tokens, one a line: a new one beside the old while it is changed.

It is read whenever it is asked, so that a new token counts at once.
"""

from __future__ import annotations

import hmac
from pathlib import Path


def read_tokens(file: Path) -> tuple[str, ...]:
    """Tokens of a file, first the one to send; none where it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip() for line in lines if line.strip())


def admits(file: Path, header: str) -> bool:
    """Whether an ``Authorization`` header holds one of a file's tokens."""
    given = header.encode("latin-1", "replace")
    # Every line is compared, so that the time taken tells nothing of which one it was.
    same = [hmac.compare_digest(given, f"Bearer {each}".encode()) for each in read_tokens(file)]
    return any(same)
