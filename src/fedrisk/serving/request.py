"""From the bytes of a request to rows that fit the study, by a validator compiled once a study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic_core import CoreSchema, ErrorDetails, SchemaValidator, ValidationError, from_json
from pydantic_core import core_schema as schemas

from fedrisk.errors import DataError, UsageError, Violation
from fedrisk.study import CategoryFeature, Feature, NumberFeature, Study
from fedrisk.study.rules import A_NUMBER, FINITE, NOT_MISSING
from fedrisk.study.values import LevelReader, is_missing

#: A row that fits the study: every feature by name, floats or levels, None where missing.
Row = Mapping[str, Any]
#: Violations told in one answer; the rest are counted.
SHOWN = 100
#: Characters of an offending value that are told.
VALUE_LENGTH = 100

UNKNOWN_RULE = "is not a feature of the study"
OBJECT_RULE = "must be an object with one value for each feature"
SEVERAL = "send several batches, or use `fedrisk score` for files"
_OUTSIDE = ("greater_than_equal", "less_than_equal")


def refusal(violations: Sequence[Violation], total: int) -> DataError:
    """The answer to rows that break the study; ``violations`` may be the first of ``total``."""
    return DataError(
        f"{total} {'value breaks' if total == 1 else 'values break'} the study",
        violations,
        total,
        hint="GET /model lists the features with units and bounds",
    )


def violation_document(violation: Violation) -> dict[str, Any]:
    """What an answer says of a violation; rows are named in a batch."""
    place = {} if violation.row is None else {"row": violation.row}
    told = {"field": violation.column or None, "value": violation.value, "rule": violation.rule}
    return place | told


def level_schema(feature: CategoryFeature) -> CoreSchema:
    """One of the levels, in any form in which files may have it; what comes out is its text.

    The levels' own texts are found by the compiled validator; other forms, such as the number 0 or
    the text 0.0 for the level 0, are looked up as files' values are.
    """
    reader = LevelReader(feature.levels)

    def level(value: object) -> str | None:
        if not isinstance(value, str | int | float):
            raise ValueError(feature.bounds_text)
        code = reader.code(value)
        if code == LevelReader.MISSING and feature.missing == "allow":
            return None
        if code < 0:
            raise ValueError(feature.bounds_text)
        return feature.levels[code]

    return schemas.union_schema(
        [
            schemas.literal_schema(list(feature.levels)),
            schemas.no_info_plain_validator_function(level),
        ],
        mode="left_to_right",
        custom_error_type="level",
        custom_error_message="no level",
    )


def feature_schema(feature: Feature) -> CoreSchema:
    """What a feature's value must be: a finite JSON number within bounds, or one of the levels."""
    schema: CoreSchema
    if isinstance(feature, NumberFeature):
        low, high = feature.limits
        schema = schemas.float_schema(strict=True, allow_inf_nan=False, ge=low, le=high)
    else:
        schema = level_schema(feature)
    if feature.missing == "allow":
        return schemas.with_default_schema(schemas.nullable_schema(schema), default=None)
    return schema


def row_schema(study: Study) -> CoreSchema:
    """A row: every feature of the study that must be there, and nothing else."""
    fields = {
        feature.name: schemas.typed_dict_field(
            feature_schema(feature), required=feature.missing == "reject"
        )
        for feature in study.features
    }
    return schemas.typed_dict_schema(fields, extra_behavior="forbid")


class RequestValidator:
    """Checks requests against one study.

    Examples
    --------
    >>> from fedrisk.study import NumberFeature, Study
    >>> age = NumberFeature(name="age", unit="year", minimum=0, maximum=120)
    >>> validator = RequestValidator(Study(name="s", label="y", positive=(1,), features=(age,)))
    >>> validator.row(b'{"age": 61}')
    {'age': 61.0}
    """

    def __init__(self, study: Study, most_rows: int = 10_000) -> None:
        self.study = study
        self.most_rows = most_rows
        row = row_schema(study)
        self._features = {feature.name: feature for feature in study.features}
        self._row = SchemaValidator(row)
        # The first wrong row ends it: a wrong batch must not cost more than a right one. What else
        # is wrong is looked for row by row, and no more of it is kept than is told.
        listed = schemas.list_schema(row, max_length=most_rows, fail_fast=True)
        self._rows = SchemaValidator(listed)
        self._wrapped = SchemaValidator(_wrapped(listed))
        anything = schemas.list_schema(schemas.any_schema(), max_length=most_rows)
        self._any_rows = SchemaValidator(anything)
        self._any_wrapped = SchemaValidator(_wrapped(anything))

    def row(self, body: bytes) -> Row:
        """One row from a JSON object.

        Raises
        ------
        DataError
            With every value that breaks the study.
        UsageError
            When the body is not JSON.
        """
        try:
            row: Row = self._row.validate_json(body)
        except ValidationError as error:
            if error.error_count() <= SHOWN:
                raise self._explain(error) from None
            raise self._refusal([from_json(body)], None) from None
        return row

    def rows(self, body: bytes) -> Sequence[Row]:
        """Rows from a JSON list of objects, or from ``{"rows": [...]}``; errors as `row`."""
        listed = body.lstrip()[:1] == b"["
        try:
            found = self._rows.validate_json(body) if listed else self._wrapped.validate_json(body)
        except ValidationError:
            raise self._explain_batch(body, listed=listed) from None
        rows: Sequence[Row] = found if listed else found["rows"]
        self.check_count(len(rows))
        return rows

    def lines(self, lines: Sequence[bytes], first: int = 1) -> Sequence[Row]:
        """Rows from one JSON object a line, the first of which has a number; errors as `row`."""
        self.check_count(len(lines))
        rows: list[Row] = []
        violations: list[Violation] = []
        total = 0
        for number, line in enumerate(lines, start=first):
            try:
                rows.append(self._row.validate_json(line))
            except ValidationError as error:
                if error.error_count() > SHOWN:
                    found: DataError | UsageError = self._refusal([from_json(line)], number)
                else:
                    found = self._explain(error, number)
                if not isinstance(found, DataError):
                    raise found from None
                total += found.total
                violations += found.violations[: SHOWN - len(violations)]
        if violations:
            raise refusal(violations[:SHOWN], total)
        return rows

    def records(self, records: Sequence[Mapping[str, Any]], first: int = 1) -> Sequence[Row]:
        """Rows from mappings that were read from another format; errors as `row`."""
        self.check_count(len(records))
        try:
            rows: Sequence[Row] = self._rows.validate_python(records)
        except ValidationError:
            raise self._refusal(records, first) from None
        return rows

    def check_count(self, rows: int) -> None:
        """Refuse an empty batch and one that is too long.

        Raises
        ------
        UsageError
        """
        if rows == 0:
            raise UsageError("the batch has no rows")
        if rows > self.most_rows:
            raise UsageError(
                f"the batch has {rows} rows, at most {self.most_rows} are taken",
                hint=SEVERAL,
            )

    def _explain_batch(self, body: bytes, *, listed: bool) -> DataError | UsageError:
        """What is wrong with a JSON document of rows."""
        try:
            if listed:
                return self._refusal(self._any_rows.validate_json(body), 1)
            return self._refusal(self._any_wrapped.validate_json(body)["rows"], 1)
        except ValidationError as error:
            found = _found(error)[0] if error.error_count() == 1 else None
        if found and found["type"] == "json_invalid":
            return UsageError(f"the body is not valid JSON: {_reason(found)}")
        if found and found["type"] == "too_long":
            return UsageError(f"the batch has more than {self.most_rows} rows", hint=SEVERAL)
        return UsageError(
            "a batch is a JSON list of objects, or an object whose only key is `rows`"
        )

    def _refusal(self, rows: Iterable[Any], first: int | None) -> DataError:
        """What is wrong in rows, the first of which has a number; no more is kept than is told."""
        told: list[Violation] = []
        total = 0
        for place, row in enumerate(rows):
            short, more = self._shortened(row)
            try:
                self._row.validate_python(short)
            except ValidationError as error:
                total += error.error_count() + more
                if len(told) < SHOWN:
                    number = None if first is None else first + place
                    told += [self._violation(each, number) for each in _found(error)]
        return refusal(told[:SHOWN], total)

    def _shortened(self, row: Any) -> tuple[Any, int]:
        """A row with so many strange keys as are told at most, and the number of the others."""
        if not isinstance(row, dict) or len(row) <= len(self._features) + SHOWN:
            return row, 0
        strange = (name for name in row if name not in self._features)
        kept = dict.fromkeys(islice(strange, SHOWN))
        known = {name: row[name] for name in self._features if name in row}
        return known | {name: row[name] for name in kept}, len(row) - len(known) - len(kept)

    def _explain(self, error: ValidationError, row: int | None = None) -> DataError | UsageError:
        """Pydantic's error about one row in words of the study."""
        found = _found(error)
        if found[0]["type"] == "json_invalid":
            place = "" if row is None else f"row {row}: "
            return UsageError(f"{place}the body is not valid JSON: {_reason(found[0])}")
        return refusal([self._violation(each, row) for each in found], len(found))

    def _violation(self, detail: ErrorDetails, row: int | None) -> Violation:
        name = str(detail["loc"][0]) if detail["loc"] else None
        value = None if detail["type"] == "missing" else shown(detail["input"])
        rule = self._rule(detail["type"], name, detail["input"])
        return Violation("request", row, name or "", value, rule)

    def _rule(self, kind: str, name: str | None, value: Any) -> str:
        if name is None:
            return OBJECT_RULE
        if kind == "extra_forbidden":
            return UNKNOWN_RULE
        feature = self._features[name]
        if kind == "missing" or value is None:
            return NOT_MISSING
        if not isinstance(feature, NumberFeature):
            return NOT_MISSING if is_missing(value) else feature.bounds_text
        if kind in _OUTSIDE:
            return feature.outside_text(value)
        return FINITE if kind == "finite_number" else A_NUMBER


def _wrapped(rows: CoreSchema) -> CoreSchema:
    fields = {"rows": schemas.typed_dict_field(rows)}
    return schemas.typed_dict_schema(fields, extra_behavior="forbid")


def _found(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False)


def _reason(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Invalid JSON: ")


def shown(value: Any) -> str | float | bool | None:
    """A value as an answer may repeat it: JSON, short, and without NaN.

    >>> shown(130), shown(float("nan")), shown([1, 2]), len(shown("x" * 1000))
    (130, 'nan', '[1, 2]', 100)
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int) and abs(value) < 2**53:
        return value
    text = value if isinstance(value, str) else _text(value)
    return text if len(text) <= VALUE_LENGTH else text[: VALUE_LENGTH - 3] + "..."


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list) and len(value) > VALUE_LENGTH:
        return f"a list of {len(value)}"
    return str(value)
