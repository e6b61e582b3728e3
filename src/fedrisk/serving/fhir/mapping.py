"""Which FHIR code, unit and element a feature has: ``fhir.toml`` in the home over the defaults."""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from fedrisk.errors import HomeError
from fedrisk.study import Feature, NumberFeature

#: System of the codes of features that nobody gave another: the code is the feature's name.
LOCAL = "urn:fedrisk:feature"
#: UCUM of the units that studies write otherwise.
UCUM = {"beats/min": "/min", "breaths/min": "/min", "degC": "Cel", "year": "a", "steps/day": "/d"}
_ANNOTATION = re.compile(r"\{[^{}]*\}")


def canonical(unit: str) -> str:
    """A UCUM unit without annotations, as they change nothing, and without a leading 1.

    >>> canonical("{steps}/d"), canonical("1/min"), canonical("{score}"), canonical("10*3/uL")
    ('/d', '/min', '', '10*3/uL')
    """
    bare = _ANNOTATION.sub("", unit).strip()
    return "" if bare == "1" else re.sub(r"^1/", "/", bare)


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Conversion(_Strict):
    """Into the mapped unit: value times ``factor`` plus ``offset``."""

    factor: float = 1.0
    offset: float = 0.0


class Source(_Strict):
    """Where a feature's value stands: in the patient, or in observations with one of some codes.

    Attributes
    ----------
    patient : "birthDate", "gender" or None
    system : str
    code : tuple of str
    unit : str
        UCUM; the number that it counts is the feature's own, whose unit may be written otherwise.
    conversions : dict of UCUM unit to Conversion
    feature_unit : str or None
        The entry holds for a feature with this unit in the study, and for no other.
    levels : dict of level to codes
        Of a category: which ``system|code``, code or text means which level; a level's own name
        is among them.
    """

    patient: Literal["birthDate", "gender"] | None = None
    system: str = LOCAL
    code: Texts = ()
    unit: str = ""
    conversions: dict[str, Conversion] = {}
    feature_unit: str | None = None
    levels: dict[str, Texts] = {}

    @model_validator(mode="after")
    def _is_somewhere(self) -> Source:
        if (self.patient is None) == (not self.code):
            raise ValueError("needs either patient or code")
        return self

    def factors(self) -> dict[str, Conversion]:
        """Conversions by canonical unit, the mapped unit among them."""
        other = {canonical(unit): conversion for unit, conversion in self.conversions.items()}
        return {canonical(self.unit): Conversion(), **other}

    @property
    def place(self) -> str:
        """Where to look, in words."""
        if self.patient is not None:
            return f"Patient.{self.patient}"
        return f"an Observation with code {' or '.join(f'{self.system}|{c}' for c in self.code)}"


class Mapping(_Strict):
    """The whole file.

    Attributes
    ----------
    link : str
        Where a card leads to; the API's own documentation where empty.
    probability : "fraction" or "percent"
        How ``probabilityDecimal`` is written.
    features : dict of feature name to Source
    """

    link: str = Field(default="", pattern=r"^(https?://\S+)?$")
    probability: Literal["fraction", "percent"] = "fraction"
    features: dict[str, Source] = {}

    def source(self, feature: Feature) -> Source:
        """Where a feature's value stands."""
        unit = feature.unit if isinstance(feature, NumberFeature) else ""
        found = self.features.get(feature.name)
        if found is not None and found.feature_unit in (None, unit):
            return found
        return Source(code=(feature.name,), unit=UCUM.get(unit, unit))


def read_mapping(path: Path) -> Mapping:
    """The defaults, with the entries of a file over them where there is one.

    Raises
    ------
    HomeError
        When the file is not such a one.
    """
    default = resources.files(__package__).joinpath("default.toml").read_text("utf-8")
    document = tomllib.loads(default)
    try:
        own = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        features = {**document["features"], **own.get("features", {})}
        return Mapping.model_validate({**own, "features": features})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    raise HomeError(f"{path}: {reason}", hint="docs/fhir.md explains every key")
