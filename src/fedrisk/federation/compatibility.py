"""Which releases of fedrisk may work together: the same major and minor number.

Patch releases change no question, record or number, so they may differ, with a warning. Before 1.0
a minor release may change everything, so the rule is the same there.
"""

from __future__ import annotations

from collections.abc import Mapping

from fedrisk import __version__
from fedrisk.errors import FederationError


def compatible(one: str, other: str) -> bool:
    """Whether two releases may work together.

    >>> compatible("0.3.0", "0.3.9"), compatible("0.3.0", "0.4.0"), compatible("1.2.0", "2.2.0")
    (True, False, False)
    """
    return _series(one) == _series(other)


def check_version(theirs: str, whose: str, own: str = __version__) -> None:
    """Refuse another party's release, by the rule.

    Parameters
    ----------
    theirs : str
        As the message says; an empty one is not judged, for a message without it is judged by its
        other parts.
    whose : str
        Who that is, as a sentence begins: ``"site 'north'"``.
    own : str

    Raises
    ------
    FederationError
        When the releases do not work together.
    """
    if theirs and not compatible(theirs, own):
        raise FederationError(
            f"{whose} runs fedrisk {theirs}, which does not work with {own} here",
            hint="install one release, with the same first two numbers, on both sides",
        )


def version_warnings(versions: Mapping[str, str], own: str = __version__) -> list[str]:
    """A line for each site that runs another release than this coordinator.

    >>> version_warnings({"north": "0.1.0", "south": "0.1.2"}, own="0.1.0")
    ["site 'south' runs fedrisk 0.1.2, the coordinator 0.1.0"]
    """
    return [
        f"site {site!r} runs fedrisk {version}, the coordinator {own}"
        for site, version in sorted(versions.items())
        if version and version != own
    ]


def _series(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])
