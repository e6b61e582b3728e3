"""The memory of a verdict survives storage."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fedrisk.errors import StudyError
from fedrisk.monitoring.finding import Finding, WindowRecord
from fedrisk.monitoring.memory import Memory
from fedrisk.monitoring.quality import Fault

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 8, tzinfo=UTC)
FINDING = Finding("pm25", "psi", 0.3, 3.0, 1e-5, 1e-3, found=True, sentence="It moved.")
RECORD = WindowRecord(
    START, END, 900.0, (Fault("missing", "o3", 0.4, "o3 lacks values"),), (FINDING,), ("o3",), True
)


def test_a_memory_is_the_same_after_json():
    memory = Memory(
        discoveries={"rate": 0.05},
        history={"a": (RECORD,)},
        broken={"a": (END,)},
        evidence={"calibration": {"kind": "calibration"}},
        matured={"a": END},
    )
    assert Memory.from_document(json.loads(json.dumps(memory.document()))) == memory


def test_a_memory_knows_up_to_when_it_was_judged():
    assert Memory(history={"a": (RECORD,)}).judged("a") == END
    assert Memory().judged("a") is None


@pytest.mark.parametrize("document", [{}, {"format": 2}, {"format": 1, "history": 3}, []])
def test_another_document_is_refused(document):
    with pytest.raises(StudyError, match="not the memory"):
        Memory.from_document(document)
