"""An interrupt leaves a federation's run alone, and says how to follow it; or stops it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedrisk.cli.training import train_deployed
from fedrisk.federation.engines.deployed import DeployedEngine
from fedrisk.federation.provisioning.coordinator import Federation, FederationSettings
from fedrisk.settings import Settings
from fedrisk.study import find_study
from fedrisk.study.training import TrainingRequest


@dataclass(frozen=True)
class Interrupted(DeployedEngine):
    """Ctrl-C comes while the run is followed."""

    stopped: list[str] = field(default_factory=list)

    def run(self, *_: Any) -> dict[str, Any]:
        raise KeyboardInterrupt

    def stop(self, request: TrainingRequest) -> None:
        self.stopped.append(request.run_id)


@pytest.mark.parametrize("stop", [False, True])
def test_interrupt(tmp_path: Path, capsys: pytest.CaptureFixture[str], stop: bool) -> None:
    federation = Federation(tmp_path, FederationSettings(id="0", hosts=("localhost",)))
    engine = Interrupted(federation, {})
    request = TrainingRequest(
        run_id="r1", study=find_study("air-wearables"), sites=("a",), as_of="2026-01-01"
    )
    started = datetime.now(UTC)
    with pytest.raises(KeyboardInterrupt):
        train_deployed(engine, request, Settings(), promote=False, started=started, stop=stop)
    told = capsys.readouterr().err
    assert engine.stopped == (["r1"] if stop else [])
    assert ("--resume r1" in told) is not stop
