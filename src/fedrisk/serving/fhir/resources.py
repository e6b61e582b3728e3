"""The few elements of FHIR R4 resources that a risk needs, checked; everything else is let pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from fedrisk.errors import UsageError

#: Observations of another status say nothing that may be used.
USABLE = ("final", "amended", "corrected", "preliminary")


class _Element(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="ignore", frozen=True, alias_generator=to_camel, allow_inf_nan=False
    )


class Coding(_Element):
    """A code in its system."""

    system: str | None = None
    code: str | None = None


class CodeableConcept(_Element):
    """A concept by its codes."""

    coding: list[Coding] = []


class Quantity(_Element):
    """A number with its unit."""

    value: float | None = None
    comparator: str | None = None
    unit: str | None = None
    code: str | None = None


class Reference(_Element):
    """Another resource."""

    reference: str | None = None


class Period(_Element):
    """From one time to another."""

    start: str | None = None
    end: str | None = None


class Measured(_Element):
    """What observations and their components share: a code and a value."""

    code: CodeableConcept = CodeableConcept()
    value_quantity: Quantity | None = None
    value_codeable_concept: CodeableConcept | None = None
    value_integer: int | None = None
    value_string: str | None = None


class Observation(Measured):
    """A measurement."""

    id: str | None = None
    status: str = ""
    subject: Reference | None = None
    effective_date_time: str | None = None
    effective_instant: str | None = None
    effective_period: Period | None = None
    issued: str | None = None
    component: list[Measured] = []

    @property
    def time(self) -> datetime:
        """When it was made; the beginning of all times where nothing is said.

        Raises
        ------
        UsageError
        """
        period = self.effective_period or Period()
        given = (self.effective_date_time, self.effective_instant, period.end, period.start)
        text = next((text for text in (*given, self.issued) if text), None)
        return datetime.min.replace(tzinfo=UTC) if text is None else parse_time(text)


class Patient(_Element):
    """A person."""

    id: str | None = None
    birth_date: str | None = None
    gender: str | None = None


@dataclass
class Case:
    """One patient and what was observed.

    Attributes
    ----------
    patient : Patient
    subject : str or None
        Reference to the patient.
    observations : list of (reference, Observation)
        The reference is None where the observation has no name.
    """

    patient: Patient
    subject: str | None
    observations: list[tuple[str | None, Observation]] = field(default_factory=list)


def parse_time(text: str) -> datetime:
    """A FHIR date or time, of any precision; the first moment that it may mean.

    >>> parse_time("2024-02").isoformat(), parse_time("2024-02-29T12:00:00Z").isoformat()
    ('2024-02-01T00:00:00+00:00', '2024-02-29T12:00:00+00:00')

    Raises
    ------
    UsageError
    """
    padded = text + {4: "-01-01", 7: "-01"}.get(len(text), "")
    try:
        found = datetime.fromisoformat(padded)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError("a date of an Observation is not a FHIR date") from None


def parse_json(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    UsageError
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UsageError("the body is not valid JSON") from None
    if not isinstance(document, dict):
        raise UsageError("the body must be a JSON object")
    return document


def entries(document: Any, place: str) -> Iterator[tuple[str, str | None, Mapping[str, Any]]]:
    """Place, full URL and content of every resource in a Bundle, in Parameters, or alone.

    Raises
    ------
    UsageError
    """
    kind = document.get("resourceType") if isinstance(document, Mapping) else None
    if kind == "Bundle":
        for where, each in _objects(document.get("entry", []), f"{place}.entry"):
            if isinstance(each.get("resource"), Mapping):
                url = each.get("fullUrl")
                yield f"{where}.resource", url if isinstance(url, str) else None, each["resource"]
    elif kind == "Parameters":
        for where, each in _objects(document.get("parameter", []), f"{place}.parameter"):
            resource = each.get("resource")
            if isinstance(resource, Mapping) and resource.get("resourceType") == "Bundle":
                yield from entries(resource, f"{where}.resource")
            elif isinstance(resource, Mapping):
                yield f"{where}.resource", None, resource
    elif isinstance(kind, str) and isinstance(document, Mapping):
        yield place, None, document
    else:
        raise UsageError(f"{place} must be a FHIR resource")


def _objects(value: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise UsageError(f"{place} must be a list of objects")
    for number, each in enumerate(value):
        yield f"{place}[{number}]", each


Kind = TypeVar("Kind", bound=_Element)


def _checked(kind: type[Kind], resource: Mapping[str, Any], place: str) -> Kind:
    try:
        return kind.model_validate(resource)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join([place, *map(str, found["loc"])])
        raise UsageError(f"{where}: {found['msg']}") from None


def one_case(found: Iterator[tuple[str, str | None, Mapping[str, Any]]]) -> Case:
    """The one patient among resources, and the observations of that patient.

    Raises
    ------
    UsageError
        When there is no patient or several, when an observation is of somebody else, or when a
        resource is not formed as R4 wants.
    """
    patients: list[tuple[Patient, str | None]] = []
    observations: list[tuple[str, str | None, Observation]] = []
    for place, url, resource in found:
        if resource.get("resourceType") == "Patient":
            patients.append((_checked(Patient, resource, place), url))
        elif resource.get("resourceType") == "Observation":
            observations.append((place, url, _checked(Observation, resource, place)))
    if len(patients) != 1:
        raise UsageError(f"one Patient is needed, there are {len(patients)}")
    patient, url = patients[0]
    local = None if patient.id is None else f"Patient/{patient.id}"
    case = Case(patient, local or url)
    known = {name for name in (local, url) if name}
    for place, own, observation in observations:
        _check_subject(observation, known, place)
        name = own if observation.id is None else f"Observation/{observation.id}"
        case.observations.append((name, observation))
    return case


def _check_subject(observation: Observation, known: set[str], place: str) -> None:
    """Refuse what was observed of somebody else: a risk of two people is nobody's."""
    reference = None if observation.subject is None else observation.subject.reference
    if reference is None:
        return
    bare = reference.split("/_history/", 1)[0]
    if bare not in known and not any(
        name.startswith("Patient/") and bare.endswith(f"/{name}") for name in known
    ):
        raise UsageError(f"{place}.subject is not the Patient that was sent")
