from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedrisk.errors import OverloadedError
from fedrisk.home import Home
from fedrisk.registry.cache import StoredModel
from fedrisk.serving.app import create_app
from fedrisk.serving.capture import Capture
from fedrisk.serving.lifecycle import Lifecycle

from .conftest import ROW, TestClient, until


def test_a_late_process_turns_requests_away_and_counts_them() -> None:
    lifecycle = Lifecycle(most_lag=0.1)
    lifecycle.admit()
    lifecycle.lag = 0.5
    with pytest.raises(OverloadedError, match="behind"):
        lifecycle.admit()
    assert lifecycle.shed == 1


def test_lag_is_what_the_event_loop_was_late() -> None:
    lifecycle = Lifecycle()

    async def scenario() -> None:
        watching = asyncio.create_task(lifecycle.watch(time.monotonic))
        await asyncio.sleep(0)
        time.sleep(0.3)
        await asyncio.sleep(0.001)
        late = lifecycle.lag
        while lifecycle.lag >= late:
            await asyncio.sleep(0.01)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        assert late > 0.2

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_an_overloaded_api_says_when_to_come_again_and_its_probes_answer(
    home: Home, stored: StoredModel
) -> None:
    lifecycle = Lifecycle(most_lag=-1.0)
    with TestClient(create_app(home, lifecycle=lifecycle)) as client:
        answer = client.post("/predict", json=ROW)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200


def test_a_draining_process_is_not_ready_and_still_answers(home: Home, stored: StoredModel) -> None:
    lifecycle = Lifecycle()
    with TestClient(create_app(home, lifecycle=lifecycle)) as client:
        assert client.get("/ready").status_code == 200
        lifecycle.draining = True
        assert client.get("/ready").json()["status"] == "draining"
        assert client.post("/predict", json=ROW).status_code == 200


class Faulty(Capture):
    def close_due(self) -> None:
        raise ValueError("a fault, with somebody's value")


def test_work_that_a_fault_ended_is_told_and_what_is_kept_is_stored(
    home: Home,
    stored: StoredModel,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fedrisk.serving.app.AGAIN_SECONDS", 0.01)
    waiting = tmp_path / "capture.json"
    capture = Faulty("here", lambda _: None, lambda: datetime.now(UTC), waiting_file=waiting)
    app = create_app(home, capture=capture, watch_seconds=0.01)
    with TestClient(app) as client:
        # It is begun again, and ends again.
        until(lambda: caplog.text.count("work beside requests has ended: ValueError") > 2)
        assert client.post("/predict", json=ROW).status_code == 200
    assert waiting.exists()
    assert "somebody" not in caplog.text
