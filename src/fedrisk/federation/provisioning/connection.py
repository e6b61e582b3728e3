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

#: Flower refuses a node that signs a time later than its own by 5 s, or earlier by 305 s; the
#: header `Date` tells whole seconds.
LARGEST_LEAD, LARGEST_LAG = timedelta(seconds=4), timedelta(seconds=300)
TIMEOUT = 10.0


def fault(superlink: str, authorities: Path, now: Callable[[], datetime]) -> str:
    """What stands between a site and its coordinator; empty when nothing does.

    Parameters
    ----------
    superlink : str
        ``HOST:PORT``.
    authorities : Path
        Certificates to trust, PEM.
    now : callable
        This machine's clock, UTC.
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
            middle = asked + (now() - asked) / 2  # a slow answer is no clock that leads
        except ssl.SSLCertVerificationError as error:
            return _certificate_fault(error)
        except (OSError, http.client.HTTPException) as error:
            return f"{superlink} cannot be reached: {error}"
        return clock_fault(answer.headers.get("Date"), middle) or release_fault(answer.read())


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


def clock_fault(shown: str | None, now: datetime) -> str:
    """Whether this clock is too far from the coordinator's for Flower's signed times.

    Parameters
    ----------
    shown : str or None
        The ``Date`` header of the coordinator's answer.
    now : datetime
        This machine's time when the coordinator answered, UTC.

    Returns
    -------
    str
        Empty when the clocks agree or the coordinator does not tell.
    """
    if shown is None:
        return ""
    try:
        difference = now - parsedate_to_datetime(shown).astimezone(UTC)
    except ValueError:
        return ""
    if -LARGEST_LAG <= difference <= LARGEST_LEAD:
        return ""
    way = "ahead of" if difference > timedelta(0) else "behind"
    seconds = abs(difference.total_seconds())
    lead, lag = LARGEST_LEAD.total_seconds(), LARGEST_LAG.total_seconds()
    return (
        f"this machine's clock is {seconds:.0f} s {way} the coordinator's; a site may be "
        f"{lead:.0f} s ahead or {lag:.0f} s behind: synchronise the clocks (NTP)"
    )
