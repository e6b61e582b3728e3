"""From a patient and observations to one row of the study; all that is wrong is told at once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from fedrisk.errors import DataError, Violation
from fedrisk.serving.fhir.mapping import Mapping, Source, canonical
from fedrisk.serving.fhir.resources import USABLE, Case, Measured, Patient, Quantity
from fedrisk.serving.request import RequestValidator, Row, refusal, shown
from fedrisk.study import CategoryFeature, Feature, NumberFeature
from fedrisk.study.rules import NOT_MISSING

#: Bytes of a request: thousands of observations, which are read in the event loop.
LARGEST = 2 << 20
GENDERS = ("male", "female", "other", "unknown")


@dataclass(frozen=True, slots=True)
class Reading:
    """A row that fits the study, and the observations that it was read from."""

    row: Row
    basis: list[str]


@dataclass(frozen=True, slots=True)
class _Candidate:
    time: datetime
    reference: str | None
    measured: Measured


class _UnusableError(Exception):
    """A value that is there and cannot be used; the text is the rule that it breaks."""


def read_case(case: Case, mapping: Mapping, validator: RequestValidator, today: date) -> Reading:
    """Read every feature; of several observations the latest counts.

    Raises
    ------
    DataError
        With every feature that is missing though it must not be, has a wrong unit, or is out of
        bounds.
    """
    candidates = _by_code(case)
    row: dict[str, Any] = {}
    basis: list[str] = []
    wrong: list[Violation] = []
    for feature in validator.study.features:
        source = mapping.source(feature)
        found = _latest(source, candidates)
        try:
            row[feature.name] = _value(feature, source, case.patient, found, today)
        except _UnusableError as error:
            wrong.append(_violation(feature, str(error)))
            continue
        if row[feature.name] is None and feature.missing == "reject":
            wrong.append(_violation(feature, f"{NOT_MISSING}: {source.place} is needed"))
        elif found is not None and found.reference is not None:
            basis.append(found.reference)
    checked = _check(row, wrong, validator)
    return Reading(checked, list(dict.fromkeys(basis)))


def _check(row: Row, wrong: list[Violation], validator: RequestValidator) -> Row:
    """The row by the rules of `/predict`; what was found wrong before is told once."""
    told = {violation.column for violation in wrong}
    try:
        checked = validator.records([row])[0]
    except DataError as error:
        wrong += [
            Violation(v.file, None, v.column, v.value, v.rule)
            for v in error.violations
            if v.column not in told
        ]
        raise refusal(wrong, len(wrong)) from None
    if wrong:
        raise refusal(wrong, len(wrong))
    return checked


def _violation(feature: Feature, rule: str) -> Violation:
    return Violation("request", None, feature.name, None, rule)


def _by_code(case: Case) -> dict[tuple[str | None, str | None], list[_Candidate]]:
    found: dict[tuple[str | None, str | None], list[_Candidate]] = {}
    for reference, observation in case.observations:
        if observation.status not in USABLE:
            continue
        time = observation.time
        for measured in (observation, *observation.component):
            for coding in measured.code.coding:
                key = (coding.system, coding.code)
                found.setdefault(key, []).append(_Candidate(time, reference, measured))
    return found


def _latest(
    source: Source, candidates: dict[tuple[str | None, str | None], list[_Candidate]]
) -> _Candidate | None:
    among = [c for code in source.code for c in candidates.get((source.system, code), ())]
    valued = [c for c in among if _has_value(c.measured)]
    return max(valued, key=lambda candidate: candidate.time, default=None)


def _has_value(measured: Measured) -> bool:
    quantity = measured.value_quantity
    others = (measured.value_codeable_concept, measured.value_integer, measured.value_string)
    return any(v is not None for v in others) or (
        quantity is not None and quantity.value is not None
    )


def _value(
    feature: Feature, source: Source, patient: Patient, found: _Candidate | None, today: date
) -> Any:
    if source.patient == "birthDate":
        return None if patient.birth_date is None else _age(patient.birth_date, today)
    if source.patient == "gender":
        return _gender(feature, source, patient.gender)
    if found is None:
        return None
    if isinstance(feature, NumberFeature):
        return _number(source, found.measured)
    return _level(feature, source, found.measured)


def _age(text: str, today: date) -> float:
    """Completed years; of a year alone, or a year and month, the middle is taken."""
    padded = text + {4: "-07-01", 7: "-15"}.get(len(text), "")
    try:
        born = date.fromisoformat(padded)
    except ValueError:
        raise _UnusableError("must come from a birthDate that is a FHIR date") from None
    return float(today.year - born.year - ((today.month, today.day) < (born.month, born.day)))


def _gender(feature: Feature, source: Source, gender: str | None) -> str | None:
    """The level that means a gender; other and unknown are missing unless the study has them."""
    if gender is None:
        return None
    if gender not in GENDERS:
        raise _UnusableError(f"must come from a gender that is one of {', '.join(GENDERS)}")
    levels = feature.levels if isinstance(feature, CategoryFeature) else ()
    return next((level for level in levels if gender in _means(source, level)), None)


def _means(source: Source, level: str) -> tuple[str, ...]:
    return (level, *source.levels.get(level, ()))


def _number(source: Source, measured: Measured) -> float:
    quantity = measured.value_quantity
    if quantity is None and measured.value_integer is not None:
        quantity = Quantity(value=measured.value_integer)
    if quantity is None or quantity.value is None:
        raise _UnusableError(f"must be a valueQuantity in {source.place}")
    if quantity.comparator is not None:
        raise _UnusableError("must be a value, not a bound with a comparator")
    unit = quantity.unit if quantity.code is None else quantity.code
    conversion = source.factors().get(canonical(unit or ""))
    if conversion is None:
        units = ", ".join([source.unit or "1", *source.conversions])
        given = f"not {shown(unit)}" if unit else "and has none"
        raise _UnusableError(f"must have the unit {units} in {source.place}, {given}")
    return quantity.value * conversion.factor + conversion.offset


def _level(feature: Feature, source: Source, measured: Measured) -> str:
    concept = measured.value_codeable_concept
    given = {measured.value_string}
    for coding in () if concept is None else concept.coding:
        given |= {coding.code, f"{coding.system}|{coding.code}"}
    levels = feature.levels if isinstance(feature, CategoryFeature) else ()
    found = [level for level in levels if given & set(_means(source, level))]
    if len(found) != 1:
        raise _UnusableError(f"{feature.bounds_text} in {source.place}")
    return found[0]
