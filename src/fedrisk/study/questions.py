"""Runs that fit nothing: what the sites' rows look like, and which of several models fits them.

Requests and results are handed between rooms as JSON, as those of a training run are.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, model_validator

from fedrisk.study.request import Instant, SiteRequest, check_order, check_timed
from fedrisk.study.training import RoundRecord, TrainingRequest, TrainingResult

#: Most windows in one question, and most models.
MOST_WINDOWS, MOST_MODELS = 400, 8


class ProfileRequest(SiteRequest):
    """Bin counts of the sites' rows by windows of time: what drift is seen by.

    Attributes
    ----------
    model : dict or None
        Document of the model whose scores are counted too; None counts features alone.
    windows : tuple of pairs of str
        ISO 8601 times, in UTC; the end is not part of a window. Disjoint and in order. Empty for
        all rows of a study without ``time``.
    deadline, quorum
        By default two minutes, and whoever answers is enough: who does not is told.
    """

    task: Literal["profile"] = "profile"
    model: dict[str, Any] | None = None
    windows: tuple[tuple[Instant, Instant], ...] = Field(default=(), max_length=MOST_WINDOWS)
    deadline: float = Field(default=120.0, gt=0, le=86_400.0)
    quorum: int | None = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _windows_are_disjoint(self) -> Self:
        check_timed(self.study, *self.windows)
        for since, until in self.windows:
            check_order(since, until)
        for (_, end), (start, _) in zip(self.windows, self.windows[1:], strict=False):
            if start < end:
                raise ValueError(f"windows overlap or are not in order: {start} is before {end}")
        return self

    @property
    def described(self) -> str:
        """What is asked, in a few words."""
        return f"profiles of {len(self.windows) or 1} window(s)"


class ComparisonRequest(SiteRequest):
    """Champion and challengers on the same matured test rows of every site.

    Attributes
    ----------
    models : dict of name to model document
        At least one, at most `MOST_MODELS`; the first is the champion.
    since, until : str or None
        Only rows with time in ``[since, until)``; None leaves that end open.
    untreated : bool
        Leave out rows where a score led to care (the study's ``treated``).
    deadline, quorum
        By default two minutes, and whoever answers is enough: who does not is told.
    """

    task: Literal["comparison"] = "comparison"
    models: dict[str, dict[str, Any]] = Field(min_length=1, max_length=MOST_MODELS)
    since: Instant | None = None
    until: Instant | None = None
    untreated: bool = False
    deadline: float = Field(default=120.0, gt=0, le=86_400.0)
    quorum: int | None = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _window_fits(self) -> Self:
        check_timed(self.study, self.since, self.until)
        check_order(self.since, self.until)
        if self.untreated and self.study.treated is None:
            raise ValueError(f"study {self.study.name!r} names no `treated`")
        return self

    @property
    def described(self) -> str:
        """What is asked, in a few words."""
        return f"comparison of {', '.join(self.models)}"


class ProfileResult(BaseModel):
    """Bin counts by site and window.

    Attributes
    ----------
    request : ProfileRequest
    windows : list of dict
        Documents of `fedrisk.profiles.site_window.SiteWindow`, by site, then time.
    refused : dict of site to reason
        Who did not answer well, and why.
    seconds : float
    rounds : tuple of RoundRecord
    warnings : tuple of str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: ProfileRequest
    windows: list[dict[str, Any]]
    refused: dict[str, str] = {}
    seconds: float
    rounds: tuple[RoundRecord, ...] = ()
    warnings: tuple[str, ...] = ()


class ComparisonResult(BaseModel):
    """How the models fare on the same rows.

    Attributes
    ----------
    request : ComparisonRequest
    comparison : dict
        Document of `fedrisk.models.comparison.Comparison`.
    refused : dict of site to reason
        Who did not answer well, and why.
    seconds : float
    rounds : tuple of RoundRecord
    warnings : tuple of str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: ComparisonRequest
    comparison: dict[str, Any]
    refused: dict[str, str] = {}
    seconds: float
    rounds: tuple[RoundRecord, ...] = ()
    warnings: tuple[str, ...] = ()


def _task(document: Any) -> str:
    """The kind of a request; those that name none are of releases that only trained."""
    if isinstance(document, dict):
        return str(document.get("task", "training"))
    return str(getattr(document, "task", ""))


#: A request of any kind.
Request = Annotated[
    Annotated[TrainingRequest, Tag("training")]
    | Annotated[ProfileRequest, Tag("profile")]
    | Annotated[ComparisonRequest, Tag("comparison")],
    Discriminator(_task),
]
#: What a run of any kind brought.
Result = TrainingResult | ProfileResult | ComparisonResult

_REQUEST: TypeAdapter[Request] = TypeAdapter(Request)


def parse_request(text: str) -> Request:
    """A request of any kind from its JSON.

    Raises
    ------
    ValueError
        When it is none.
    """
    return _REQUEST.validate_json(text)
