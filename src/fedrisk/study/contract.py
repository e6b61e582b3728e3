"""The study contract: features, units, ranges, label, maturity, split, bands, penalty."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fedrisk.errors import StudyError
from fedrisk.study.features import CategoryFeature, Feature, NumberFeature

Scalar = bool | int | float | str
Duration = Annotated[str, Field(pattern=r"^\d+(s|m|h|d|w)$")]
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``30d``; units are s, m, h, d, w.

    >>> parse_duration("2w").days
    14
    """
    return timedelta(seconds=int(text[:-1]) * _SECONDS[text[-1]])


class Bands(BaseModel):
    """Lower limits of the risk levels: low below ``medium``, high from ``high``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    medium: float = Field(default=0.3, gt=0, lt=1)
    high: float = Field(default=0.7, gt=0, lt=1)

    @model_validator(mode="after")
    def _ordered(self) -> Bands:
        if not self.medium < self.high:
            raise ValueError("medium must be below high")
        return self


class Study(BaseModel):
    """What sites agree on before any of them opens a row.

    Every message between coordinator and site carries `hash`; a site approves a study by it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    title: str = ""
    label: str = Field(min_length=1)
    positive: tuple[Scalar, ...] = Field(min_length=1)
    id: str | None = None
    time: str | None = None
    horizon: Duration = "0d"
    reporting_lag: Duration = "0d"
    treated: str | None = None
    split: str | None = None
    test_fraction: float = Field(default=0.2, gt=0, lt=1)
    subgroups: tuple[str, ...] = ()
    bands: Bands = Bands()
    penalty: float = Field(default=1.0, ge=0)
    features: tuple[Feature, ...] = Field(min_length=1)

    @field_validator("positive", mode="before")
    @classmethod
    def _one_value_is_a_list(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else [value]

    @model_validator(mode="after")
    def _names_fit(self) -> Study:
        names = [feature.name for feature in self.features]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"features are named twice: {', '.join(repeated)}")
        roles = [self.label, self.id, self.time, self.split, self.treated]
        used = [role for role in roles if role is not None]
        if len(set(used)) != len(used):
            raise ValueError("label, id, time, split and treated must be different columns")
        both = sorted(set(names) & (set(used) - {self.time}))
        if both:
            raise ValueError(f"a column cannot be a feature and have a role: {', '.join(both)}")
        unknown = [name for name in self.subgroups if name not in self.category_names]
        if unknown:
            raise ValueError(f"subgroups must be category features: {', '.join(unknown)}")
        if self.time is None and (self.maturity > timedelta(0)):
            raise ValueError("horizon and reporting_lag need a time column")
        return self

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the features, in the order of the file."""
        return tuple(feature.name for feature in self.features)

    @property
    def numbers(self) -> tuple[NumberFeature, ...]:
        """The number features, in order."""
        return tuple(f for f in self.features if isinstance(f, NumberFeature))

    @property
    def categories(self) -> tuple[CategoryFeature, ...]:
        """The category features, in order."""
        return tuple(f for f in self.features if isinstance(f, CategoryFeature))

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the category features, in order."""
        return tuple(feature.name for feature in self.categories)

    @property
    def maturity(self) -> timedelta:
        """How long after a row's time its label is final: horizon plus reporting lag."""
        return parse_duration(self.horizon) + parse_duration(self.reporting_lag)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the study names: features, label, id, time, treated, split."""
        roles = (self.label, self.id, self.time, self.treated, self.split)
        named = [role for role in roles if role is not None]
        return tuple(dict.fromkeys([*self.feature_names, *named]))

    @property
    def canonical(self) -> str:
        """The study as JSON with sorted keys and every default written out."""
        document = self.model_dump(mode="json")
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def hash(self) -> str:
        """SHA-256 of `canonical`, in hexadecimal: the study hash."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or "study"
        message = re.sub(r"^Value error, ", "", problem["msg"])
        if problem["type"] == "extra_forbidden":
            message = "is not a key that a study has"
        lines.append(f"{place}: {message}")
    return "; ".join(lines)


def parse_study(document: dict[str, Any] | str, source: str = "study") -> Study:
    """Check a study given as a mapping or as its canonical JSON.

    Parameters
    ----------
    document : dict or str
        The study's keys and values.
    source : str
        How to name it in an error.

    Raises
    ------
    StudyError
        With every key that is wrong, and why.
    """
    try:
        if isinstance(document, str):
            return Study.model_validate_json(document)
        return Study.model_validate(document)
    except ValidationError as error:
        raise StudyError(
            f"{source}: {_explain(error)}", hint="docs/study.md lists every key"
        ) from None


def load_study(path: Path) -> Study:
    """Read a study file.

    Raises
    ------
    StudyError
        When the file is missing, is not TOML, or breaks the contract.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StudyError(
            f"{path}: no such study file",
            hint="`fedrisk study infer --site NAME=FILE --label COLUMN` drafts one",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: not valid TOML: {error}") from None
    return parse_study(document, str(path))
