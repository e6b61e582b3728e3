"""Whatever bytes come, in whatever format: rows that fit the study, or a refusal that says why."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedrisk.home import Home
from fedrisk.serving.app import create_app
from fedrisk.serving.lifecycle import Lifecycle

from .conftest import ROW, STUDY, TestClient, store

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
PATIENT = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = list(ROW)
LARGEST = 1e100

numbers = st.one_of(
    st.floats(-LARGEST, LARGEST),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, LARGEST, -LARGEST]),
    st.integers(-(10**20), 10**20),
)
rows = st.fixed_dictionaries(
    {
        "age": st.floats(0, 120) | st.sampled_from([-0.0, 5e-324, 120]) | st.integers(0, 120),
        "pm2.5": st.none() | st.floats(0, 1e6),
        "marker": numbers,
        "sex": st.sampled_from([None, "female", "male"]),
        "ward": st.sampled_from(["a", "b", "c d"]),
    }
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = Home(tmp_path_factory.mktemp("formats") / "home").prepare()
    store(home)
    # Never late: a loaded machine must not change what is answered.
    made = create_app(home, watch_seconds=3600, lifecycle=Lifecycle(most_lag=float("inf")))
    with TestClient(made) as client:
        yield client


def batch(client: Any, kind: str, body: bytes) -> Any:
    return client.post("/predict/batch", content=body, headers={"content-type": kind})


def refused(answer: Any) -> bool:
    """Whether an answer is a refusal, whole and well formed; any other error fails the test."""
    if answer.status_code == 200:
        return False
    assert answer.status_code in (400, 422)
    told = answer.json()
    assert told["error"]
    if answer.status_code == 422:
        assert 0 < len(told["detail"]) <= told["total"]
        assert all(each["rule"] for each in told["detail"])
    return True


def as_json(batch: list[Any]) -> bytes:
    return json.dumps(batch).encode()


def as_lines(batch: list[Any]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in batch)


def as_csv(batch: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, NAMES)
    writer.writeheader()
    writer.writerows(batch)
    return text.getvalue().encode()


def scores(kind: str, answer: Any) -> list[float]:
    assert answer.status_code == 200, answer.text
    if kind == JSON:
        return [each["risk_score"] for each in answer.json()["predictions"]]
    if kind == NDJSON:
        return [json.loads(line)["risk_score"] for line in answer.text.splitlines()]
    return [float(each["risk_score"]) for each in csv.DictReader(io.StringIO(answer.text))]


@PATIENT
@given(st.lists(rows, min_size=1, max_size=4))
def test_the_same_rows_have_the_same_scores_in_every_format_and_one_by_one(
    client: Any, given_rows: list[dict[str, Any]]
) -> None:
    written = {JSON: as_json, NDJSON: as_lines, CSV: as_csv}
    found = [scores(kind, batch(client, kind, of(given_rows))) for kind, of in written.items()]
    assert found[0] == found[1] == found[2]
    single = [client.post("/predict", json=row).json()["risk_score"] for row in given_rows]
    assert found[0] == pytest.approx(single, abs=1e-12)


@PATIENT
@given(st.sampled_from([JSON, NDJSON, CSV]), st.binary())
def test_any_bytes_are_refused(client: Any, kind: str, body: bytes) -> None:
    assert refused(batch(client, kind, body))
    assert refused(client.post("/predict", content=body, headers={"content-type": JSON}))


@st.composite
def spoiled(draw: st.DrawFn, body: bytes) -> bytes:
    """A good body with up to four places of bytes taken out, put in or changed."""
    made = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        length = draw(st.integers(0, 3))
        made[at : at + length] = draw(
            st.binary(max_size=4)
            | st.sampled_from(
                [b'"', b",", b"\n", b"\r", b"\\u", b"NaN", b"1e999", b"{", b"]", b"NA"]
            )
        )
    return bytes(made)


@pytest.mark.parametrize(
    ("kind", "body"),
    [(JSON, as_json([ROW])), (NDJSON, as_lines([ROW, ROW])), (CSV, as_csv([ROW, ROW]))],
)
def test_spoiled_bytes_are_scored_or_refused(client: Any, kind: str, body: bytes) -> None:
    @PATIENT
    @given(spoiled(body))
    def ask(wrong: bytes) -> None:
        answer = batch(client, kind, wrong)
        if not refused(answer):
            assert all(0 <= score <= 1 for score in scores(kind, answer))

    ask()


def row_with(text: str, value: str = "71.5") -> bytes:
    """The row's JSON with another text in the place of the age, or of another value."""
    written = json.dumps(ROW)
    assert value in written
    return written.replace(value, text).encode()


DEEP = 10 << 20
MALFORMED = {
    "a byte order mark": b"\xef\xbb\xbf" + row_with("71.5"),
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "UTF-32": json.dumps(ROW).encode("utf-32-le"),
    "Latin-1": json.dumps(ROW, ensure_ascii=False).replace("c d", "é").encode("latin-1"),
    "half a surrogate pair": row_with("\\ud800 ", "c d"),
    "a lone surrogate as key": row_with("\\udfff", "ward"),
    "a control character": row_with("\x00", "c d"),
    "nan in small letters": row_with("nan"),
    "a number with a plus": row_with("+71.5"),
    "a number with zeros before it": row_with("071.5"),
    "a hexadecimal number": row_with("0x47"),
    "a number of 5,000 digits": row_with("7" * 5000),
    "two objects": row_with("71.5") * 2,
    "nothing": b"",
    "a comment": row_with("71.5 /* years */"),
}
BROKEN = {
    "NaN": ("NaN", "must be finite"),
    "Infinity": ("Infinity", "must be finite"),
    "-Infinity": ("-Infinity", "must be finite"),
    "beyond a double": ("1e999", "must be finite"),
    "text": ('"71.5"', "must be a number"),
    "true": ("true", "must be a number"),
    "an empty list": ("[]", "must be a number"),
    "lists in lists": ("[" * 100 + "]" * 100, "must be a number"),
    "a little too much": ("120.00000000000001", "must be between 0 and 120 year"),
    "below zero by the least there is": ("-5e-324", "must be between 0 and 120 year"),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_json_is_refused_without_its_text(client: Any, body: bytes) -> None:
    for path, kind, sent in (
        ("/predict", JSON, body),
        ("/predict/batch", JSON, b"[%b]" % body),
        ("/predict/batch", NDJSON, body),
    ):
        answer = client.post(path, content=sent, headers={"content-type": kind})
        assert answer.status_code == 400
        assert refused(answer)
        assert "71.5" not in answer.text


@pytest.mark.parametrize(("text", "rule"), BROKEN.values(), ids=BROKEN.keys())
def test_a_value_that_breaks_the_study_is_told_by_field_and_rule(
    client: Any, text: str, rule: str
) -> None:
    for path, sent in (("/predict", row_with(text)), ("/predict/batch", b"[%b]" % row_with(text))):
        answer = client.post(path, content=sent, headers={"content-type": JSON})
        assert answer.status_code == 422
        assert [(each["field"], each["rule"]) for each in answer.json()["detail"]] == [
            ("age", rule)
        ]


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"age": [', '[{"rows": '])
def test_ten_megabytes_of_nesting_are_refused_by_their_size_or_their_depth(
    client: Any, opening: str
) -> None:
    body = (opening * (DEEP // len(opening))).encode()
    single = client.post("/predict", content=body, headers={"content-type": JSON})
    assert single.status_code == 413
    for kind in (JSON, NDJSON, CSV):
        assert refused(batch(client, kind, body))
    short = client.post("/predict", content=body[: 1 << 19], headers={"content-type": JSON})
    assert short.status_code == 400


def test_a_key_that_comes_twice_has_its_last_value(client: Any) -> None:
    twice = json.dumps(ROW)[:-1].encode() + b', "age": 33}'
    answer = client.post("/predict", content=twice, headers={"content-type": JSON})
    assert answer.json()["risk_score"] == score_of(client, {**ROW, "age": 33})


def score_of(client: Any, row: dict[str, Any]) -> float:
    found: float = client.post("/predict", json=row).json()["risk_score"]
    return found


@pytest.mark.parametrize("name", ["inf", "-Infinity", "nan", "NaN", "1e999"])
def test_numbers_of_a_csv_are_finite(client: Any, name: str) -> None:
    answer = batch(client, CSV, as_csv([{**ROW, "marker": name}]))
    assert answer.status_code == 422
    ((told),) = answer.json()["detail"]
    assert (told["row"], told["field"]) == (1, "marker")


def test_csv_may_begin_with_a_byte_order_mark_and_must_be_utf_8(client: Any) -> None:
    body = as_csv([ROW])
    assert not refused(batch(client, CSV, b"\xef\xbb\xbf" + body))
    for encoding in ("utf-16", "utf-32"):
        assert refused(batch(client, CSV, body.decode().encode(encoding)))
    assert refused(batch(client, CSV, body.replace(b"c d", b"\xe9")))


@PATIENT
@given(rows)
def test_signs_of_zero_and_the_smallest_numbers_arrive(client: Any, row: dict[str, Any]) -> None:
    explained = client.post("/predict?explain=true", json=row).json()
    logit = explained["intercept"] + math.fsum(explained["contributions"].values())
    assert set(explained["contributions"]) == set(STUDY.feature_names)
    assert all(math.isfinite(each) for each in explained["contributions"].values())
    expected = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    assert explained["risk_score"] == pytest.approx(expected, abs=1e-9)
