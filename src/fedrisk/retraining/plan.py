"""The change plan: what a retraining may change, how it is tested, and within which bounds.

It is ``plan.toml`` in the home, and the defaults where there is none. A plan that a person has
signed lets a challenger be promoted without asking again, as a predetermined change control plan
does (FDA, Marketing Submission Recommendations for a Predetermined Change Control Plan, 2024).
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedrisk.errors import UsageError
from fedrisk.monitoring.rules import VerdictRules
from fedrisk.retraining.decision import DecisionRules
from fedrisk.retraining.loop import digest
from fedrisk.retraining.margins import Margins, SpendingRules

_STRICT = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
DAY = 86_400.0
#: Beyond these a date could not be reckoned, in the middle of a retraining that keeps its plan.
MOST_DAYS, MOST_SECONDS = 36_500.0, 366 * DAY


class Candidate(BaseModel):
    """One model that competes.

    Parameters
    ----------
    name : str
        Part of its run's id.
    model, strategy : str
        As of `fedrisk train`.
    options : dict
        Of the strategy.
    rows : {"all", "changed"}
        What it is fitted on: the plan's ``fit_days``, or rows since harm began. A change a few
        weeks old is lost among the rows of two years.
    """

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,15}$")
    model: str = "logistic"
    strategy: str = "exact"
    options: dict[str, float] = Field(default={})
    rows: Literal["all", "changed"] = "all"


#: Intercept and slope of the champion, fitted anew: what is enough where ranks still hold.
RECALIBRATION = Candidate(name="recalibrated", strategy="recalibrate", rows="changed")


class TrialRules(BaseModel):
    """How long a challenger is tried in service, and by how much.

    Parameters
    ----------
    seconds : float
        At least so long.
    least : int
        Rows in the shadow, requests in the canary, that must have been seen by then.
    most_seconds : float
        After which too few have come for a judgement.
    """

    model_config = _STRICT

    seconds: float = Field(gt=0, le=MOST_SECONDS)
    least: int = Field(ge=1)
    most_seconds: float = Field(gt=0, le=MOST_SECONDS)

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.most_seconds < self.seconds:
            raise ValueError("most_seconds is less than seconds")
        return self


class ServiceRules(BaseModel):
    """What a model must keep to in service.

    Parameters
    ----------
    share : float
        Part of the requests that a canary answers.
    most_errors : float
        Share of requests that a model may fail to answer.
    slower : float
        Times as long as the champion that a challenger's 99th percentile may take.
    slack_seconds : float
        By how much it may be slower whatever the ratio.
    most_seconds : float
        99th percentile after a promotion.
    most_difference : float
        Mean difference of risk, without its sign, between challenger and champion.
    least_requests : int
        After a promotion, requests below which errors and times are not judged.
    take_up_seconds : float
        Within which a server must serve what was promoted.
    """

    model_config = _STRICT

    share: float = Field(default=0.05, gt=0, le=1)
    most_errors: float = Field(default=0.001, ge=0, le=1)
    slower: float = Field(default=2.0, ge=1)
    slack_seconds: float = Field(default=0.005, ge=0)
    most_seconds: float = Field(default=0.5, gt=0)
    most_difference: float = Field(default=0.2, gt=0, le=1)
    least_requests: int = Field(default=100, ge=1)
    take_up_seconds: float = Field(default=120.0, gt=0, le=MOST_SECONDS)


class WatchRules(BaseModel):
    """How a new champion is watched.

    Parameters
    ----------
    days : float
        For how long.
    compare_days : float
        Between two looks at matured labels.
    least_events : float
        Matured events since the promotion, without which labels say nothing.
    poll_seconds : float
        Between two looks at the server.
    errors : float
        By how many standard errors the champion before must be better to be returned to.
    most_observed_expected : float
        Observed/expected events of a model that is returned to, as a factor from 1.
    """

    model_config = _STRICT

    days: float = Field(default=28.0, ge=0, le=MOST_DAYS)
    compare_days: float = Field(default=7.0, gt=0, le=MOST_DAYS)
    least_events: float = Field(default=50.0, ge=1)
    poll_seconds: float = Field(default=60.0, gt=0, le=MOST_SECONDS)
    errors: float = Field(default=2.58, gt=0)
    most_observed_expected: float = Field(default=2.0, gt=1)


class ChangePlan(BaseModel):
    """What may change, how it is tested, and within which bounds; unknown keys are errors.

    Parameters
    ----------
    drift_schedule, retrain_schedule : str
        Cron expressions: when the watch looks, when it retrains without a reason of its own.
    window_days : float
        Length of a window that drift is judged by.
    fit_days : float or None
        Rows of so many days are fitted on; None takes all.
    gate_days : float
        The latest matured rows of so many days are kept for the gate and not fitted on; where harm
        was measured, at most the later half of the days since it began.
    verdict : VerdictRules
    decision : DecisionRules
    margins : Margins
    spending : SpendingRules
    challengers : tuple of Candidate
        Who competes in a retraining. A recalibration has itself alone.
    approval : {"person", "plan"}
        Who lets a challenger that passed answer anybody: a person each time, or this plan, signed.
    approval_days : float
        After which nobody having answered ends a retraining.
    shadow, canary : TrialRules
    service : ServiceRules
    watch : WatchRules
    poll_seconds : float
        Between two looks at a trial.
    patience_seconds : float
        For how long a registry, server or sites that are away are waited for.
    deadline : float
        Seconds for one message to the sites.
    quorum : int or None
        How many sites must answer every message of a fit; None means every one.
    """

    model_config = _STRICT

    drift_schedule: str = "0 */6 * * *"
    retrain_schedule: str = "0 3 * * 1"
    window_days: float = Field(default=7.0, ge=1, le=92)
    fit_days: float | None = Field(default=None, gt=0, le=MOST_DAYS)
    gate_days: float = Field(default=56.0, gt=0, le=MOST_DAYS)
    verdict: VerdictRules = VerdictRules()
    decision: DecisionRules = DecisionRules()
    margins: Margins = Margins()
    spending: SpendingRules = SpendingRules()
    challengers: tuple[Candidate, ...] = Field(
        default=(
            Candidate(name="refit"),
            RECALIBRATION,
            Candidate(name="recent", rows="changed"),
        ),
        min_length=1,
        max_length=7,
    )
    approval: Literal["person", "plan"] = "person"
    approval_days: float = Field(default=14.0, gt=0, le=MOST_DAYS)
    shadow: TrialRules = TrialRules(seconds=DAY, least=1_000, most_seconds=7 * DAY)
    canary: TrialRules = TrialRules(seconds=DAY, least=500, most_seconds=7 * DAY)
    service: ServiceRules = ServiceRules()
    watch: WatchRules = WatchRules()
    poll_seconds: float = Field(default=5.0, gt=0, le=MOST_SECONDS)
    patience_seconds: float = Field(default=600.0, ge=0, le=MOST_SECONDS)
    deadline: float = Field(default=600.0, gt=0, le=DAY)
    quorum: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({each.name for each in self.challengers}) < len(self.challengers):
            raise ValueError("challengers: two have one name")
        return self

    def document(self) -> dict[str, Any]:
        """The plan as JSON values, with every default."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """SHA-256 of the document: what is signed, and what a retraining was begun under."""
        return digest(self.document())


def read_plan(path: Path) -> ChangePlan:
    """The plan in a file; the defaults where there is none.

    Raises
    ------
    UsageError
        When it cannot be read or breaks a rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ChangePlan()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    return parse_plan(text, str(path))


def parse_plan(text: str, source: str) -> ChangePlan:
    """The plan in a text of TOML.

    Raises
    ------
    UsageError
        When it breaks a rule; it names the key.
    """
    try:
        return ChangePlan.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{source} is no TOML: {error}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UsageError(
            f"{source}: {place}: {first['msg']}",
            hint="`fedrisk retrain plan show` prints every key with its value",
        ) from None


def template() -> str:
    """A plan to begin with: what is changed most, as comments with the defaults.

    >>> parse_plan(template(), "template") == ChangePlan()
    True
    """
    plan = ChangePlan()
    return f"""\
# What retrainings may change, how that is tested, and within which bounds.
# `fedrisk retrain plan show` prints every key; a key that is left out has its default.
approval = "{plan.approval}"            # person: each time; plan: this plan, once it is signed
gate_days = {plan.gate_days}              # latest matured rows, kept for the gate
drift_schedule = "{plan.drift_schedule}"
retrain_schedule = "{plan.retrain_schedule}"

[shadow]
seconds = {plan.shadow.seconds}
least = {plan.shadow.least}
most_seconds = {plan.shadow.most_seconds}

[canary]
seconds = {plan.canary.seconds}
least = {plan.canary.least}
most_seconds = {plan.canary.most_seconds}

[service]
share = {plan.service.share}

[watch]
days = {plan.watch.days}
"""
