"""Random requests to every operation that the OpenAPI document has: no fault, and no surprise.

What an operation may answer is what the document says, by status, content type, schema and headers.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import get_client, shutdown_lifespans
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from fedrisk.home import Home
from fedrisk.serving.app import create_app
from fedrisk.serving.champion import now
from fedrisk.serving.jobs import JobRoom, JobRules
from fedrisk.serving.lifecycle import Lifecycle

from .conftest import ROW, store
from .fhir.conftest import ALL, MAPPING, PATIENT, bundle
from .fhir.test_cds_hooks import REQUEST
from .test_inference_protocol import inputs

pytestmark = pytest.mark.slow

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
#: Random requests an operation and mode.
EXAMPLES = 80


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The document of an API that serves a fitted model, bound to it."""
    home = Home(tmp_path_factory.mktemp("fuzzed") / "home").prepare()
    store(home)
    home.fhir.write_text(MAPPING)
    for kind in ("text/csv", "application/x-ndjson"):
        schemathesis.openapi.media_type(kind, st.text().map(str.encode))
    # Never late: a loaded machine must not change what is answered.
    patient = Lifecycle(most_lag=float("inf"))
    rules = JobRules(waiting=3)
    jobs = JobRoom(home.jobs, f"sqlite:///{home.state}", now, "here", "here", rules)
    application = create_app(home, watch_seconds=3600, lifecycle=patient, jobs=jobs)
    yield schemathesis.openapi.from_asgi("/openapi.json", application)
    shutdown_lifespans()


def operations(schema: BaseSchema) -> list[APIOperation]:
    return [found.ok() for found in schema.get_all_operations()]


def check(case: Case, response: Any, statuses: Counter[int]) -> None:
    """Whatever the document does not say of the answer is an error."""
    statuses[response.status_code] += 1
    assert response.status_code != 503, "a model serves, and nothing is late"
    case.validate_response(response, checks=CHECKS)


def run(strategy: st.SearchStrategy[Any], send: Callable[[Any], None], examples: int) -> None:
    """Send so many random requests, the same ones in every run."""
    options = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    options(given(strategy)(lambda drawn: send(drawn)))()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_answers_what_the_document_says(
    schema: BaseSchema, mode: GenerationMode
) -> None:
    told: dict[str, Counter[int]] = {}
    for operation in operations(schema):
        takes = bool(operation.body) or any(operation.iter_parameters())
        if not takes and mode is GenerationMode.NEGATIVE:
            continue
        statuses = told[operation.label] = Counter()

        def send(case: Case, statuses: Counter[int] = statuses) -> None:
            check(case, case.call(), statuses)

        run(operation.as_strategy(mode), send, EXAMPLES)
    assert sum(map(Counter.total, told.values())) > 500
    if mode is GenerationMode.POSITIVE:
        assert set(told["POST /predict"]) == {200}, "what fits the schema of a row is scored"
    else:
        assert {400, 422} <= set(told["POST /predict"])


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text()
    | st.sampled_from(["", "NA", " a ", "1e5", "2024-13-01", "Bundle", -0.0, 10**400, 1e-310]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def damaged(draw: st.DrawFn, document: Any) -> Any:
    """A document in which up to two places were replaced, taken out, doubled or added to."""
    document = deepcopy(document)
    for _ in range(draw(st.integers(0, 2))):
        parent, key = None, None
        here: Any = document
        while isinstance(here, dict | list) and here and (parent is None or draw(st.booleans())):
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            parent, key = here, draw(st.sampled_from(keys))
            here = parent[key]
        what = draw(st.sampled_from(["replace", "delete", "double", "add"]))
        if parent is None or what == "delete":
            if parent is not None:
                del parent[key]
        elif what == "replace":
            parent[key] = draw(JUNK)
        elif isinstance(parent, list):
            parent.append(deepcopy(here) if what == "double" else draw(JUNK))
        else:
            parent[draw(st.text())] = deepcopy(here) if what == "double" else draw(JUNK)
    return document


def as_lines(rows: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def as_csv(rows: list[Any]) -> bytes:
    named = [row for row in rows if isinstance(row, dict)]
    header = list(named[0]) if named else []
    lines = [",".join(header), *(",".join(map(str, row.values())) for row in named)]
    return "\n".join(lines).encode(errors="replace")


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


TENSORS = {"id": "1", "inputs": inputs([ROW, ROW]), "outputs": [{"name": "risk_score"}]}
NAMED = {"name": "clinic", "version": "1"}
#: Operation, content type, a good document, its bytes, parameters of the path.
GOOD: list[tuple[str, str, Any, Callable[[Any], bytes], dict[str, str]]] = [
    ("/predict", "application/json", ROW, as_json, {}),
    ("/predict?explain=true", "application/json", ROW, as_json, {}),
    ("/predict/batch", "application/json", [ROW, ROW], as_json, {}),
    ("/predict/batch?explain=1", "application/json", {"rows": [ROW, ROW]}, as_json, {}),
    ("/predict/batch", "application/x-ndjson", [ROW, ROW], as_lines, {}),
    ("/predict/batch", "text/csv", [ROW, ROW], as_csv, {}),
    ("/v2/models/{name}/infer", "application/json", TENSORS, as_json, {"name": "clinic"}),
    ("/v2/models/{name}/versions/{version}/infer", "application/json", TENSORS, as_json, NAMED),
    ("/fhir/RiskAssessment", "application/fhir+json", bundle(ALL), as_json, {}),
    (
        "/fhir/RiskAssessment",
        "application/fhir+json",
        {"resourceType": "Parameters", "parameter": [{"name": "p", "resource": PATIENT}]},
        as_json,
        {},
    ),
    ("/cds-services/{service}", "application/json", REQUEST, as_json, {"service": "clinic"}),
]


@pytest.mark.parametrize(("place", "kind", "document", "written", "names"), GOOD)
def test_requests_that_are_almost_right_are_answered_as_the_document_says(
    schema: BaseSchema,
    place: str,
    kind: str,
    document: Any,
    written: Callable[[Any], bytes],
    names: dict[str, str],
) -> None:
    path, _, query = place.partition("?")
    operation = schema[path]["POST"]
    case = operation.Case(body=b"", media_type=kind, path_parameters=names)
    statuses: Counter[int] = Counter()
    with get_client(operation.app) as client:

        def send(body: bytes) -> None:
            url = f"http://testserver{path.format(**names)}?{query}"
            answer = client.post(url, data=body, headers={"content-type": kind})
            check(case, answer, statuses)

        run(damaged(document).map(written), send, 3 * EXAMPLES)
    assert 400 <= max(statuses) < 500
    if "Parameters" not in str(document):
        assert statuses[200] > 5


@pytest.mark.parametrize("kind", ["text/plain", "", "application/xml", "text/csv; charset=utf-16"])
def test_any_bytes_of_any_content_type_are_answered_as_the_document_says(
    schema: BaseSchema, kind: str
) -> None:
    for path in ("/predict", "/predict/batch", "/fhir/RiskAssessment"):
        operation = schema[path]["POST"]
        case = operation.Case(body=b"", media_type=next(iter(operation.body)).media_type)
        statuses: Counter[int] = Counter()
        with get_client(operation.app) as client:

            def send(body: bytes) -> None:
                sent = {"data": body, "headers": {"content-type": kind} if kind else {}}
                answer = client.post(f"http://testserver{path}", **sent)  # noqa: B023
                check(case, answer, statuses)  # noqa: B023

            run(st.binary(), send, EXAMPLES // 3)
        assert set(statuses) <= {400, 415, 422}
