"""What a federated run was asked for, and what it brought: handed between rooms as JSON."""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedrisk.study.contract import Study

#: Most seconds that the answers to one message are waited for: a day. Every wait has an end.
LONGEST_DEADLINE = 86_400.0


class TrainingRequest(BaseModel):
    """One federated run as asked for.

    Attributes
    ----------
    run_id : str
        Our own identifier of the run; survives restarts of Flower. It names the run's folder:
        letters, digits, dots, dashes and underscores, at most 64, the first a letter or digit.
    study : Study
        The contract.
    model, strategy : str
        Names as on the command line.
    sites : tuple of str
        Names of the sites that must answer; empty where whoever is connected takes part.
    as_of : str
        ISO 8601 time; rows whose label is not yet mature then are left out.
    rounds : int
        Most messages of one kind to each site.
    options : dict
        Strategy options, by name.
    seed : int
        Seed of every random choice.
    deadline : float
        Seconds to wait for the replies to one message; a day at most.
    quorum : int or None
        How many sites must answer every message for the run to go on; None means every site. At
        least 1, at most the number of named sites.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    study: Study
    model: str = "logistic"
    strategy: str = "exact"
    sites: tuple[str, ...] = ()
    as_of: str
    rounds: int = Field(default=30, ge=1)
    options: dict[str, float] = {}
    seed: int = 20_240_229
    deadline: float = Field(default=600.0, gt=0, le=LONGEST_DEADLINE)
    quorum: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> Self:
        if self.sites and self.quorum is not None and self.quorum > len(self.sites):
            raise ValueError(f"a quorum of {self.quorum} of {len(self.sites)} sites")
        return self


class RoundRecord(BaseModel):
    """One message to every site and what its replies said.

    ``metrics`` are of the whole federation (loss per row, step size), ``per_site`` of each site.
    ``sites`` took part; ``dropped`` tells why a site takes no part from this message on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    number: int
    kind: str
    seconds: float
    bytes_out: int = 0
    bytes_in: int = 0
    sites: tuple[str, ...] = ()
    metrics: dict[str, float] = {}
    per_site: dict[str, dict[str, float]] = {}
    dropped: dict[str, str] = {}


class Dropout(BaseModel):
    """A site that was dropped from a run: at which round, in answer to what, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    site: str
    round: int
    kind: str
    reason: str


class TrainingResult(BaseModel):
    """What a run brought: a model document, its evaluation at the sites, and how it came about.

    ``model`` is the readable document that `fedrisk.models` writes (model.json), ``reference`` the
    bins and counts of the training rows, ``checks`` rows with answers for self-tests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: TrainingRequest
    model: dict[str, Any]
    reference: dict[str, Any]
    checks: list[dict[str, Any]]
    rounds: tuple[RoundRecord, ...]
    seconds: float
    rows: dict[str, dict[str, int]]
    metrics: dict[str, float | None]
    per_site: dict[str, dict[str, float | None]]
    warnings: tuple[str, ...] = ()
    versions: dict[str, str] = {}

    @property
    def dropouts(self) -> tuple[Dropout, ...]:
        """Sites that were dropped, in order of time."""
        return tuple(
            Dropout(site=site, round=each.number, kind=each.kind, reason=reason)
            for each in self.rounds
            for site, reason in each.dropped.items()
        )
