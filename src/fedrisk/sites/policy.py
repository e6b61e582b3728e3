"""What a site answers: `policy.toml`, read strictly, with safe defaults.

A key that a file leaves out has its safe default; a key that does not exist is an error. Infinity
(``inf`` in TOML) for a bound, and zero for a minimum, switch a rule off.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fedrisk.errors import SiteFolderError

INFINITY = float("inf")


class Policy(BaseModel):
    """Bounds on what leaves a site; every attribute is a key of `policy.toml`.

    Attributes
    ----------
    approved_studies_only : bool
        Answer only studies that a person approved, by hash.
    models, strategies, queries : tuple of str
        Kinds of model, ways to fit them, and kinds of question that are answered. Model and
        strategy are what the question says they are; the kind of question is what is computed.
    intercept, coefficient, linear_predictor : float
        Largest absolute values at which sums are computed: of the intercept, of a coefficient for
        one standard deviation, and of the log-odds that as many of the site's rows as
        ``contributors`` may reach.
    effective_rows : float
        Least effective sample size, (sum of w)^2 / sum of w^2 (Kish, Survey Sampling, 1965), of
        the weights behind every sum over rows.
    contributors : int
        Least number of rows behind every entry: a level, a missing value, an outcome, a bin, a
        score. Unless it is zero, no row makes up half of a number's variance either.
    pair_contributors : int
        Least number of rows with both of two levels or missing values (DataSHIELD's
        ``nfilter.tab`` is 3), and of either outcome within a group of scores that has it.
    parameters_per_row : float
        Most parameters for one training row (DataSHIELD's ``nfilter.glm``).
    candidates : int
        Most parameter vectors in one question.
    smallest_share : float
        The site's rows are at least this share of all that a design matrix can be made of.
    test_rows, test_events : int
        Least test rows, and events and others among them, for an evaluation; with fewer the site
        takes no part in it.
    local_steps : int
        Most gradient steps in one question.
    queries_per_day : float
        Most parameter vectors (a question without any counts as one) a day (UTC), of all studies
        together: another study over the same rows brings no second budget.
    evaluations_per_day : float
        Most evaluations among them.
    refusals_per_day : float
        Most refusals a day that depend on the rows: each tells one bit about them.
    related_studies : bool
        Answer a study that reads columns which another study, answered before, reads too, without
        a second approval: the answers of two studies can be subtracted.
    frozen_cohort : bool
        Rows that change in the middle of a run end it.
    cohort_difference : int
        Least rows by which two cohorts that were asked about may differ, unless they are the same:
        training rows (these also by ``effective_rows``), and test rows. Unless it is zero, a group
        among these rows is no smaller than ``contributors`` and ``pair_contributors`` allow, and
        the times asked about are in order.
    window_days : int
        Windows of a profile are made of steps of so many days, counted from a Monday (UTC).
    window_people : int
        Least people in every closed stretch of such steps, and by whom its rows may differ from
        those that were told before, unless they are the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    approved_studies_only: bool = True
    models: tuple[str, ...] = ("logistic",)
    strategies: tuple[str, ...] = ("exact", "fedavg", "fedprox", "fedadam", "recalibrate")
    queries: tuple[str, ...] = (
        "summary",
        "newton",
        "descent",
        "evaluation",
        "profile",
        "comparison",
        "placement",
    )
    intercept: float = Field(default=15.0, gt=0)
    coefficient: float = Field(default=5.0, gt=0)
    linear_predictor: float = Field(default=20.0, gt=0)
    effective_rows: float = Field(default=50.0, ge=0)
    contributors: int = Field(default=10, ge=0)
    pair_contributors: int = Field(default=5, ge=0)
    parameters_per_row: float = Field(default=0.33, gt=0)
    candidates: float = Field(default=8, ge=1)
    smallest_share: float = Field(default=0.001, ge=0, le=1)
    test_rows: int = Field(default=50, ge=0)
    test_events: int = Field(default=10, ge=0)
    local_steps: float = Field(default=100, ge=1)
    queries_per_day: float = Field(default=100, gt=0)
    evaluations_per_day: float = Field(default=20, gt=0)
    refusals_per_day: float = Field(default=20, gt=0)
    related_studies: bool = False
    frozen_cohort: bool = True
    cohort_difference: int = Field(default=50, ge=0)
    window_days: int = Field(default=7, ge=1)
    window_people: int = Field(default=20, ge=0)


#: Of files that belong to whoever asks: nothing is refused, nothing is counted.
OPEN = Policy(
    approved_studies_only=False,
    intercept=INFINITY,
    coefficient=INFINITY,
    linear_predictor=INFINITY,
    effective_rows=0,
    contributors=0,
    pair_contributors=0,
    parameters_per_row=INFINITY,
    candidates=INFINITY,
    smallest_share=0,
    test_rows=0,
    test_events=0,
    local_steps=INFINITY,
    queries_per_day=INFINITY,
    evaluations_per_day=INFINITY,
    refusals_per_day=INFINITY,
    related_studies=True,
    frozen_cohort=False,
    cohort_difference=0,
    window_people=0,
)

#: What `write_policy` says about each key.
_COMMENTS = {
    "approved_studies_only": "answer only studies approved with `fedrisk site approve STUDY.toml`",
    "models": "kinds of model that are fitted here",
    "strategies": "ways to fit them, as the question names its own; `queries` is what binds",
    "queries": "kinds of question that are answered",
    "intercept": "largest |intercept| that sums are computed at, in log-odds",
    "coefficient": "largest |coefficient|, in log-odds for one standard deviation",
    "linear_predictor": "largest |log-odds| that a question may give to `contributors` rows",
    "effective_rows": "least effective sample size behind every sum",
    "contributors": "least rows behind every level, missing value, outcome, bin and score",
    "pair_contributors": "least rows of a pair of levels, and of an outcome in a group of scores",
    "parameters_per_row": "most parameters for one training row",
    "candidates": "most parameter vectors in one question",
    "smallest_share": "these rows are at least this share of the federation's",
    "test_rows": "least test rows for an evaluation",
    "test_events": "least events, and least others, among them",
    "local_steps": "most gradient steps in one question",
    "queries_per_day": "most parameter vectors a day (UTC), all studies together",
    "evaluations_per_day": "most evaluations among them",
    "refusals_per_day": "most refusals a day that depend on the rows",
    "related_studies": "answer a study over columns of another without a second approval",
    "frozen_cohort": "refuse when the rows change in the middle of a run",
    "window_days": "profiles count whole steps of so many days, from a Monday on (UTC)",
    "window_people": "least people in a step, or in several together; and of a change in one",
    "cohort_difference": "two cohorts asked about are the same or differ by so many rows a side",
}


def load_policy(path: Path) -> Policy:
    """Read a policy.

    Raises
    ------
    SiteFolderError
        When the file is missing, is not TOML, or has an unknown key or a value out of range.
    """
    document = read_toml(path)
    try:
        return Policy.model_validate(document)
    except ValidationError as error:
        raise SiteFolderError(
            f"{path}: {explain(error, 'policy')}", hint="docs/policy.md lists every key"
        ) from None


def read_toml(path: Path) -> dict[str, object]:
    """Read a TOML file of a site's folder.

    Raises
    ------
    SiteFolderError
        When it cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SiteFolderError(
            f"{path}: no such file", hint="`fedrisk site init` writes it"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SiteFolderError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SiteFolderError(f"{path}: not valid TOML: {error}") from None


def explain(error: ValidationError, what: str) -> str:
    """Every key that is wrong, and why, in one line."""
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or what
        message = re.sub(r"^Value error, ", "", problem["msg"])
        if problem["type"] == "extra_forbidden":
            message = f"is not a key that a {what} has"
        lines.append(f"{place}: {message}")
    return "; ".join(lines)


def write_policy(path: Path, policy: Policy | None = None) -> None:
    """Write a policy with a comment for every key; the safe defaults unless another is given."""
    lines = ["# What this site answers. Unknown keys are errors; docs/policy.md explains each.", ""]
    for name, value in (policy or Policy()).model_dump(mode="python").items():
        lines.append(f"{name} = {_toml(value)}  # {_COMMENTS[name]}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return repr(value) if isinstance(value, float) else str(value)
