"""Every error that fedrisk raises on purpose.

::

    FedriskError                    exit  HTTP
    ├── UsageError                     2   400   arguments that do not fit together
    ├── StudyError                     3   422   a study file that breaks the contract
    ├── DataError                      4   422   rows that break the study; carries every violation
    ├── HomeError                      5   500   a home that is missing, newer, or in use
    │   └── DatabaseAwayError          5   500   a database that does not answer at the moment
    ├── FederationError                6   502   a run that could not be finished
    │   ├── SiteRefusedError           6   502   a site answered with a refusal and its reason
    │   ├── QuorumError                6   504   too few sites answered in time
    │   ├── SupersededError            6   409   another process has taken this run up
    │   └── ConvergenceError           6   500   the fit has no finite, unique solution
    ├── EgressError                    7   403   a reply its site's gate does not let out
    │   ├── DisclosureError            7   403   a question that its site's policy does not answer
    │   └── TamperedLogError           7   403   an egress log that is not as it was written
    ├── RegistryError                  8   502   the registry is away or lacks what was asked
    │   ├── ModelNotFoundError         8   404   no such version, or no champion yet
    │   └── TrialError                 8   409   a challenger that cannot be tried
    ├── ModelFileError                 9   503   a stored model that is damaged or fails its test
    ├── PortInUseError                10   500   the port to listen on is taken
    ├── SiteFolderError               11   500   a site's folder or policy that cannot be used
    ├── OverloadedError               13   503   a server that has too much to do
    ├── RetrainingError               14   409   a retraining that cannot go on, or not as asked
    │   ├── FencedError               14   409   another process has taken the retraining up
    │   └── ServiceAwayError          14   502   a server that does not answer the loop
    └── AccessError                   12   403   a caller that may not do this
        ├── CredentialsError          12   401   a caller without a valid key or token
        ├── RateLimitError            12   429   a caller that asks more than its key allows
        └── IssuerError               12   503   tokens whose issuer's keys are unknown

A command that ends by an error prints ``message`` and ``hint`` on standard error, without a stack
trace, and exits with ``exit_code``. The API answers with ``http_status`` and the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Violation:
    """One value that breaks one rule of the study.

    Parameters
    ----------
    file : str
        The file as the caller named it, or the site's name.
    row : int or None
        Data row, the first one below the header is 1; None where a whole column is meant, and in
        a request of one row.
    column : str
        Column of the file; empty where a whole row is meant.
    value : str, float, int, bool or None
        The offending value as it stands in the file; of a request, the JSON value.
    rule : str
        What a value must satisfy, as a sentence part: ``"must be at most 120 year"``.
    """

    file: str
    row: int | None
    column: str
    value: str | float | bool | None
    rule: str

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}" if self.row is not None else self.file
        shown = f": {self.value!r}" if self.row is not None else ""
        return f"{place}, column {self.column!r}{shown} {self.rule}"


class FedriskError(Exception):
    """Base of every error above.

    Parameters
    ----------
    message : str
        What is wrong and where.
    hint : str
        What to do about it; empty where nothing sensible can be said.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(FedriskError):
    """Arguments that do not fit together."""

    exit_code = 2
    http_status = 400


class StudyError(FedriskError):
    """A study file that breaks the contract."""

    exit_code = 3
    http_status = 422


class DataError(FedriskError):
    """Rows that break the study.

    Parameters
    ----------
    message : str
        Summary of what is wrong.
    violations : sequence of Violation
        Every violation that was recorded, in file, column and row order.
    total : int, optional
        How many there are when not all were recorded; at least ``len(violations)``.
    hint : str
        What to do about it.
    """

    exit_code = 4
    http_status = 422

    def __init__(
        self,
        message: str,
        violations: Sequence[Violation] = (),
        total: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint)
        self.violations = tuple(violations)
        self.total = len(self.violations) if total is None else total


class HomeError(FedriskError):
    """A home directory that is missing, written by a newer version, or in use."""

    exit_code = 5


class DatabaseAwayError(HomeError):
    """A database that does not answer, or cannot be written to."""


class FederationError(FedriskError):
    """A federated run that could not be finished."""

    exit_code = 6
    http_status = 502


class SiteRefusedError(FederationError):
    """A site answered with a refusal and its reason."""


class QuorumError(FederationError):
    """Too few sites answered in time."""

    http_status = 504


class SupersededError(FederationError):
    """Another process has taken this run up; the older one may write nothing more of it."""

    http_status = 409


class ConvergenceError(FederationError):
    """The fit has no finite, unique solution."""

    http_status = 500


class EgressError(FedriskError):
    """A reply that its site's gate does not let out."""

    exit_code = 7
    http_status = 403


class DisclosureError(EgressError):
    """A question that its site's policy does not answer, with the rule that it breaks."""


class TamperedLogError(EgressError):
    """An egress log that was edited, cut short or rewritten; names the first entry that is off."""


class RegistryError(FedriskError):
    """The registry is away, or does not hold what was asked for."""

    exit_code = 8
    http_status = 502


class ModelNotFoundError(RegistryError):
    """No such model version, or no champion yet."""

    http_status = 404


class TrialError(RegistryError):
    """A challenger that is refused, or that cannot be compared with the champion."""

    http_status = 409


class ModelFileError(FedriskError):
    """A stored model that is damaged, or whose self-test fails."""

    exit_code = 9
    http_status = 503


class PortInUseError(FedriskError):
    """The port to listen on is taken."""

    exit_code = 10


class SiteFolderError(FedriskError):
    """A site's folder, or its policy, that cannot be used."""

    exit_code = 11


class OverloadedError(FedriskError):
    """A server that has more to do than it can in time, or is about to end."""

    exit_code = 13
    http_status = 503


class RetrainingError(FedriskError):
    """A retraining that cannot go on, or not as it was asked to."""

    exit_code = 14
    http_status = 409


class FencedError(RetrainingError):
    """Another process has taken the retraining up; the older one may move nothing more."""


class ServiceAwayError(RetrainingError):
    """A server that does not answer the loop."""

    http_status = 502


class AccessError(FedriskError):
    """A caller that is known and may not do this.

    Parameters
    ----------
    message : str
    hint : str
    challenge : str
        What the caller is told beside ``WWW-Authenticate: Bearer`` (RFC 6750, 3), such as
        ``error="invalid_token"``.

    Attributes
    ----------
    key_id : str or None
        Who it is, where that is known: for the audit journal.
    """

    exit_code = 12
    http_status = 403

    def __init__(self, message: str, hint: str = "", challenge: str = "") -> None:
        super().__init__(message, hint)
        self.challenge = challenge
        self.key_id: str | None = None


class CredentialsError(AccessError):
    """A caller without a valid key or token."""

    http_status = 401


class RateLimitError(AccessError):
    """A caller that asks more than its key allows.

    Parameters
    ----------
    message : str
    seconds : float
        After which it may ask again.
    hint : str
    """

    http_status = 429

    def __init__(self, message: str, seconds: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint)
        self.seconds = seconds


class IssuerError(AccessError):
    """Tokens cannot be judged, because the keys of their issuer are not known."""

    http_status = 503
