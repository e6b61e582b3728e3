"""What may be asked of the watch, and what is refused before it is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fedrisk.errors import UsageError
from fedrisk.retraining.operation import LONGEST_STUDY, Asked, Operation, new_id, read_asked

NOW = datetime(2026, 1, 5, 7, tzinfo=UTC)


def asked(**document: object) -> Asked:
    return read_asked(json.dumps(document).encode(), NOW)


def test_what_the_watch_does_can_be_asked_for() -> None:
    assert asked(command="drift", id="a").arguments == {}
    assert asked(command="retrain", trigger="manual").arguments == {"trigger": "manual"}
    train = asked(command="train", study="name = 's'", model="gam", promote=True)
    assert (train.command, train.arguments["promote"]) == ("train", True)
    assert asked(command="drift").id != asked(command="drift").id
    assert new_id(NOW).startswith("20260105T070000-")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"command": "up"}',
        b'{"command": ["drift"]}',
        b'{"command": "drift", "site": "a=b"}',
        b'{"command": "drift", "id": "../x"}',
        b'{"command": "drift", "id": 7}',
        b'{"command": "retrain"}',
        b'{"command": "retrain", "trigger": "whim"}',
        b'{"command": "train"}',
        b'{"command": "train", "study": 1}',
        b'{"command": "train", "study": "x", "promote": "yes"}',
        b'{"command": "train", "study": "x", "model": "--policy"}',
        json.dumps({"command": "train", "study": "x" * (LONGEST_STUDY + 1)}).encode(),
    ],
)
def test_anything_else_is_refused(body: bytes) -> None:
    with pytest.raises(UsageError):
        read_asked(body, NOW)


def test_a_document_repeats_no_study() -> None:
    found = Operation(asked(command="train", study="secret"), "queued", NOW).document()
    assert "secret" not in json.dumps(found)
    assert found["state"] == "queued"
