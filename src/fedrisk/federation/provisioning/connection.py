"""Try a site's way to its coordinator, and say in plain words why it fails."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

from fedrisk.errors import FederationError
from fedrisk.federation.compatibility import check_version
from fedrisk.federation.provisioning.signatures import signed_headers

#: Flower refuses a node that signs a time later than its own by 5 s, or earlier by 305 s.
FLOWERS_LEAD, FLOWERS_LAG = timedelta(seconds=5), timedelta(seconds=305)
#: What is told as a fault by the header `Date`, which tells whole seconds.
LARGEST_LEAD, LARGEST_LAG = timedelta(seconds=4), timedelta(seconds=300)
TIMEOUT = 10.0
#: What the coordinator's door tells whoever signs: which site it is, or why it is refused.
STANDING = "/site"


def fault(
    superlink: str, authorities: Path, now: Callable[[], datetime], key: Path | None = None
) -> str:
    """What stands between a site and its coordinator; empty when nothing does.

    Parameters
    ----------
    superlink : str
        ``HOST:PORT``.
    authorities : Path
        Certificates to trust, PEM.
    now : callable
        This machine's clock, UTC.
    key : Path, optional
        The site's private key: the coordinator is asked whether it lets its owner in.
    """
    host, _, port = superlink.rpartition(":")
    try:
        context = ssl.create_default_context(cafile=str(authorities))
    except (OSError, ssl.SSLError) as error:
        return f"the authorities' certificates in {authorities} cannot be read: {error}"
    connection = http.client.HTTPSConnection(
        host.strip("[]"), int(port), timeout=TIMEOUT, context=context
    )
    with closing(connection):
        try:
            connection.connect()
            asked = now()
            connection.request("GET", "/health")
            answer = connection.getresponse()
            told = answer.read()
            answered = now()
        except ssl.SSLCertVerificationError as error:
            return _certificate_fault(error)
        except (OSError, http.client.HTTPException) as error:
            return f"{superlink} cannot be reached: {error}"
        shown = answer.headers.get("Date")
        found = clock_fault(shown, asked, answered) or release_fault(told)
        return found or ("" if key is None else _standing_fault(connection, key, now()))


def _standing_fault(connection: http.client.HTTPSConnection, key: Path, now: datetime) -> str:
    """Why the coordinator does not let the owner of a key in; empty when it does, or is silent."""
    try:
        connection.request("GET", STANDING, headers=signed_headers(key, now))
        answer = connection.getresponse()
        told = json.loads(answer.read())
    except FederationError as error:
        return error.message
    except (OSError, http.client.HTTPException, ValueError):
        return ""  # it answered a moment ago, and will be asked again
    refused = answer.status == http.client.UNAUTHORIZED and isinstance(told, dict)
    return str(told.get("detail", "")) if refused else ""


def release_fault(answer: bytes) -> str:
    """Whether the coordinator runs a release that this one must not meet.

    Parameters
    ----------
    answer : bytes
        Of the coordinator's ``GET /health``.

    Returns
    -------
    str
        Empty when the releases may meet.
    """
    try:
        told = json.loads(answer)["fedrisk"]
        check_version(str(told), "the coordinator")
    except (ValueError, KeyError, TypeError):
        return "what answers there is not a fedrisk coordinator"
    except FederationError as error:
        return f"{error.message}: {error.hint}"
    return ""


def _certificate_fault(error: ssl.SSLCertVerificationError) -> str:
    reason = error.verify_message
    if "expired" in reason:
        return "the coordinator's certificate has expired; its operator runs `federation rotate`"
    if "not yet valid" in reason:
        return "the coordinator's certificate is not valid yet; compare both machines' clocks"
    if "mismatch" in reason or "not valid for" in reason:
        return f"the coordinator's certificate is for another name: {reason}"
    return (
        f"the certificate shown is not of this federation's authority ({reason}): "
        "a foreign or self-signed one, or an authority changed without `site trust`"
    )


def clock_fault(shown: str | None, asked: datetime, answered: datetime) -> str:
    """Whether this clock is too far from the coordinator's for Flower's signed times.

    The coordinator tells its time after it is asked and before its answer is here, so a slow
    answer is no clock that leads: what is told is wrong at both ends.

    Parameters
    ----------
    shown : str or None
        The ``Date`` header of the coordinator's answer.
    asked, answered : datetime
        This machine's time before and after, UTC.

    Returns
    -------
    str
        Empty when the clocks agree or the coordinator does not tell.
    """
    if shown is None:
        return ""
    try:
        told = parsedate_to_datetime(shown).astimezone(UTC)
    except ValueError:
        return ""
    if asked - told > LARGEST_LEAD:
        return skew_fault(asked - told)
    if told - answered > LARGEST_LAG:
        return skew_fault(answered - told)
    return ""


def skew_fault(lead: timedelta) -> str:
    """What is told of a site's clock that is so far ahead, or behind where it is negative.

    >>> skew_fault(timedelta(hours=-1))[:60]
    "this site's clock is 3600 s behind the coordinator's; a site"
    """
    way = "ahead of" if lead > timedelta(0) else "behind"
    seconds = abs(lead.total_seconds())
    most, least = LARGEST_LEAD.total_seconds(), LARGEST_LAG.total_seconds()
    return (
        f"this site's clock is {seconds:.0f} s {way} the coordinator's; a site may be "
        f"{most:.0f} s ahead or {least:.0f} s behind: synchronise the clocks (NTP)"
    )
