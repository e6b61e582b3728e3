"""What the loop needs of the world: sites, a registry, a service, and the time.

The command line plugs in a federation, MLflow and a server; tests plug in worlds that fail when
they are told to. Every effect may be asked for twice, because whoever asked may have died before
the answer was written down: it must then be as if it had been asked for once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from fedrisk.monitoring.verdict import Verdict
from fedrisk.registry.trial_control import TrialControl
from fedrisk.serving.trial_report import TrialReport
from fedrisk.study import Study
from fedrisk.study.questions import (
    ComparisonRequest,
    ComparisonResult,
    ProfileRequest,
    ProfileResult,
)
from fedrisk.study.training import TrainingRequest, TrainingResult


class Fitted(Protocol):
    """A model that was fitted and registered."""

    @property
    def version(self) -> str:
        """Of the registered model."""

    @property
    def result(self) -> TrainingResult:
        """What the run brought."""


class Sites(Protocol):
    """The sites of a federation. A question whose run ended well is not asked again."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of those that are asked."""

    def train(self, request: TrainingRequest) -> Fitted:
        """Fit, evaluate at the sites, register a version; no alias is moved."""

    def profile(self, request: ProfileRequest) -> ProfileResult:
        """Bin counts by windows."""

    def compare(self, request: ComparisonRequest) -> ComparisonResult:
        """Models on the same matured rows."""


@dataclass(frozen=True)
class StoredVersion:
    """A version of the registered model with its documents, verified.

    Attributes
    ----------
    name, version, run_id : str
    study : Study
    document, reference : dict
        model.json and reference.json.
    fitted_until : datetime or None
        Where the rows end that it was fitted on; None where they have no time.
    """

    name: str
    version: str
    run_id: str
    study: Study
    document: Mapping[str, Any]
    reference: Mapping[str, Any]
    fitted_until: datetime | None = None


@dataclass(frozen=True)
class Standing:
    """Where the aliases point.

    Attributes
    ----------
    champion, challenger : str or None
        Versions.
    past : tuple of str
        Champions that led to the present one, which is last.
    """

    champion: str | None
    challenger: str | None
    past: tuple[str, ...] = ()


class Registry(Protocol):
    """One registered model. Moves carry a fencing token: one lower than the last is refused.

    Raises
    ------
    RegistryError
        From every method, when the registry is away.
    FencedError
        From every move, when a later holder has moved something.
    """

    def guard(self, fence: int) -> None:
        """Refuse moves under a lower token from now on."""

    def standing(self) -> Standing:
        """Where the aliases point now."""

    def stored(self, version: str) -> StoredVersion:
        """A version, verified (hashes, document, self-test).

        Raises
        ------
        ModelNotFoundError, ModelFileError
        """

    def challenge(self, version: str, control: TrialControl, reason: str, fence: int) -> None:
        """Make a version the challenger, and say how it is tried."""

    def withdraw(self, version: str, reason: str, fence: int) -> None:
        """Let a version be challenger no more; nothing if it is none."""

    def promote(self, version: str, instead_of: str, reason: str, fence: int) -> None:
        """Make a version champion if the champion is still the one that is named, or it already."""

    def give_back(self, version: str, instead_of: str, reason: str, fence: int) -> None:
        """Return to an earlier champion, if the champion is still the one that is named."""


@dataclass(frozen=True)
class Service:
    """What a server says of itself.

    Attributes
    ----------
    version : str or None
        Which model answers; None while none does.
    refused : str
        Why the model in its cache does not serve; empty where it does.
    requests, errors : float
        Predictions answered, and answered by a fault of the server's, since it started.
    latency : dict of float to float
        Requests by the seconds within which they were answered, cumulative, the last infinite.
    replicas : dict of str to Service
        By address, where several servers are one service; empty where there is one.
    """

    version: str | None
    refused: str = ""
    requests: float = 0.0
    errors: float = 0.0
    latency: Mapping[float, float] = field(default_factory=dict)
    replicas: Mapping[str, Service] = field(default_factory=dict)


class Server(Protocol):
    """A running server.

    Raises
    ------
    ServiceAwayError
        From every method, when it does not answer.
    """

    def look(self) -> Service:
        """What it serves, and how it fares."""

    def trial(self) -> TrialReport | None:
        """How the challenger does beside the champion; None while none is tried."""


@dataclass(frozen=True)
class Assessment:
    """What the current rows say about the champion.

    Attributes
    ----------
    verdict : Verdict
    rows, events : float
        Mature rows and events since the champion's last row.
    keep : callable
        Lets the verdict count: later ones go on from it.
    """

    verdict: Verdict
    rows: float
    events: float
    keep: Callable[[], None] = lambda: None


class Watch(Protocol):
    """Looks at the sites' current rows."""

    def assess(self, champion: StoredVersion, now: datetime) -> Assessment:
        """Judge them against the champion's reference; a dry run keeps nothing of it."""


class Clock(Protocol):
    """Time, with its zone."""

    def now(self) -> datetime:
        """The time."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


@dataclass(frozen=True)
class World:
    """All of it; without a server nothing is tried in service and nobody watches it."""

    sites: Sites
    registry: Registry
    watch: Watch
    server: Server | None
    clock: Clock
