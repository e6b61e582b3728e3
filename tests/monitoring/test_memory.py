"""The memory of a verdict survives storage."""

from __future__ import annotations

import json

import pytest

from fedrisk.errors import StudyError
from fedrisk.monitoring.memory import Memory


def test_a_memory_is_the_same_after_json():
    memory = Memory(
        discoveries={"wealth": 0.04},
        history={"a/psi/pm25": (("2025-01-08T00:00:00+00:00", True),)},
        evidence={"calibration": {"wealth": 1.5}},
        judged={"a": "2025-01-08T00:00:00+00:00"},
    )
    assert Memory.from_document(json.loads(json.dumps(memory.document()))) == memory


@pytest.mark.parametrize("document", [{}, {"format": 2}, {"format": 1, "history": 3}, []])
def test_another_document_is_refused(document):
    with pytest.raises(StudyError, match="not the memory"):
        Memory.from_document(document)
