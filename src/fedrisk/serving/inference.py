"""Inference as the Open Inference Protocol has it: which model is asked, what it answers.

REST and gRPC both come here, so both are under the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from fedrisk.serving.access import Guard, Guarded
from fedrisk.serving.champion import ServedModel
from fedrisk.serving.dialect import Dialect
from fedrisk.serving.formats import ScoredBatch
from fedrisk.serving.journal import Journal
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.predict import PredictBatch
from fedrisk.serving.tensors import Tensor, rows_of, told
from fedrisk.serving.transport import Envelope

PLATFORM = "fedrisk_logistic"
#: What the figures count inference over gRPC under.
GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Asked:
    """Who is asked.

    Attributes
    ----------
    served : ServedModel
        The champion, or the model whose version was named.
    named : bool
        Whether its version was named; then no other version may answer.
    """

    served: ServedModel
    named: bool


class Inference:
    """Finds the model that is asked, and scores tensors by it.

    Parameters
    ----------
    scoring : PredictBatch
    """

    def __init__(self, scoring: PredictBatch) -> None:
        self.scoring = scoring
        self.champion = scoring.champion

    @property
    def versions(self) -> list[ServedModel]:
        """Models that can be asked by their version.

        The challenger is among them while it answers a share of the requests: in the shadow alone
        nobody is to see what it says.

        Raises
        ------
        ModelFileError
            While none serves.
        """
        champion, trial = self.champion.require(), self.scoring.trial
        challenger = trial.opponent(champion) if trial is not None and trial.rules.share else None
        return [champion] if challenger is None else [champion, challenger]

    def asked(self, name: str, version: str | None) -> Asked:
        """The model of this name and version; without a version, whichever the trial chooses.

        Raises
        ------
        HTTPException
            404 when there is none.
        ModelFileError
            While none serves.
        """
        versions = self.versions
        if name != versions[0].stored.name:
            raise HTTPException(404, "no such model; GET /model tells which one serves")
        if not version:
            return Asked(versions[0], named=False)
        for served in versions:
            if served.stored.version == version:
                return Asked(served, named=True)
        serving = " and ".join(served.stored.version for served in versions)
        verb = "does" if len(versions) == 1 else "do"
        raise HTTPException(404, f"this version does not serve, {serving} {verb}")

    def answer(
        self, asked: Asked, tensors: Sequence[Tensor], key: bytes, request_id: str
    ) -> ScoredBatch:
        """Score tensors.

        Parameters
        ----------
        asked : Asked
        tensors : sequence of Tensor
        key : bytes
            What decides whether the challenger answers.
        request_id : str

        Raises
        ------
        UsageError
            When tensors do not fit together.
        DataError
            When values break the study.
        """
        validator = asked.served.validator
        rows = validator.records(rows_of(tensors, validator))
        if asked.named:
            return self.scoring.score_by(asked.served, rows, False, request_id)
        return self.scoring.scored(asked.served, rows, False, request_id, key)[1]


@dataclass(frozen=True, slots=True)
class Door:
    """What a transport beside HTTP needs to answer under the same rules.

    Attributes
    ----------
    inference : Inference
    guard : Guard or None
    lifecycle : Lifecycle
    failed : callable
        Told path and HTTP status of every answer that is an error.
    journal : Journal or None
    """

    inference: Inference
    guard: Guard | None
    lifecycle: Lifecycle
    failed: Callable[[str, int], None]
    journal: Journal | None

    def behind(self, endpoint: ASGIApp) -> ASGIApp:
        """An endpoint behind all that requests over HTTP pass."""
        guarded = endpoint if self.guard is None else Guarded(endpoint, self.guard, "batch")
        spoken = Dialect(guarded, told, self.lifecycle)
        return Envelope(spoken, self.failed, journal=self.journal)


def output_data(batch: ScoredBatch, names: Iterable[str]) -> dict[str, list[float] | list[str]]:
    """Values of the outputs of these names."""
    data: dict[str, list[float] | list[str]] = {
        "risk_score": batch.risks,
        "risk_level": batch.levels,
    }
    return {name: data[name] for name in names}
