"""Folders that looks for drift leave: deleted once nobody reads them any more.

What a look found is in the verdicts; its folder only lets a look that was killed go on.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

from fedrisk.home import Home

#: How the run ids of looks begin, and how long their folders stay.
PREFIX = "drift-"
KEPT = timedelta(days=14)


def forget_drift_runs(home: Home, now: datetime) -> list[str]:
    """Delete the folders of looks that nothing was written to lately; which they were.

    Parameters
    ----------
    home : Home
    now : datetime
        With its zone.
    """
    gone = []
    for folder in sorted((home.root / "runs").glob(f"{PREFIX}*")):
        try:
            changed = max(each.stat().st_mtime for each in (folder, *folder.iterdir()))
        except OSError:
            continue  # Somebody else deletes it in this moment.
        if changed < (now - KEPT).timestamp():
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(folder.name)
    return gone
