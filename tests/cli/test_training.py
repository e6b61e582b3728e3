"""What a command says before and after a run, and what an interrupt does to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fedrisk.cli.training import check_rows, release_warnings, train_deployed
from fedrisk.errors import DataError
from fedrisk.federation.engines.deployed import DeployedEngine
from fedrisk.federation.provisioning.coordinator import Federation, FederationSettings
from fedrisk.home import Home
from fedrisk.registry.promotion import Released
from fedrisk.registry.record import record_training
from fedrisk.settings import Settings
from fedrisk.study import find_study, parse_study
from fedrisk.study.training import TrainingRequest
from tests.registry.conftest import STUDY, fit

HOME = Home(Path("some home"))


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


def test_each_site_is_named_once(tmp_path: Path) -> None:
    wrong, other = tmp_path / "wrong.csv", tmp_path / "rows.txt"
    wrong.write_text("heart_rate\n70\n")
    other.write_text("heart_rate\n70\n")
    with pytest.raises(DataError) as caught:
        check_rows(find_study("air-wearables"), {"a": wrong, "b": other}, datetime.now(UTC))
    assert caught.value.message.count("site 'a'") == 1
    assert f"site 'b': {other}" in caught.value.message


def test_a_champion_that_was_judged_needs_no_word() -> None:
    assert release_warnings(Released("1", "champion", "mine"), HOME, evaluated=True) == ()


def test_a_model_that_does_not_serve_is_told_with_the_line_that_changes_it() -> None:
    released = Released("1", "challenger", "mine", ("air-wearables", "4"))
    (told,) = release_warnings(released, HOME, evaluated=True)
    assert "goes on serving air-wearables version 4" in told
    assert "mine version 1 is challenger of its own name" in told
    assert told.endswith("fedrisk promote 1 --name mine --home 'some home'")


def test_a_model_that_nobody_judged_is_told_and_how_to_promote_it_all_the_same() -> None:
    said = release_warnings(Released("1", "challenger", "mine"), HOME, evaluated=False)
    assert said[0].startswith("nothing was evaluated")
    assert said[1].endswith("fedrisk promote 1 --name mine --home 'some home'")
    promoted = release_warnings(Released("1", "champion", "mine"), HOME, evaluated=False)
    assert promoted == said[:1]


@dataclass(frozen=True)
class Finished(DeployedEngine):
    """A run that has finished and was recorded, as a coordinator's app leaves it."""

    judged: bool = True

    def run(self, request: TrainingRequest, *_: Any) -> dict[str, Any]:
        result = fit(request.study, 1, request.run_id)
        if not self.judged:
            result = result.model_copy(update={"metrics": dict.fromkeys(result.metrics)})
        settings = Settings(tracking_uri=None, registry_name="")
        version = record_training(result, self.home, settings)
        folder = self.home.run(request.run_id)
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(result.model_dump_json())
        return {"version": version}


def test_what_became_of_a_model_is_said_on_standard_error_and_in_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = Federation(tmp_path, FederationSettings(id="0", hosts=("localhost",)))

    def train(name: str, *, judged: bool = True) -> tuple[str, str, list[str]]:
        study = parse_study({**STUDY, "name": name})
        request = TrainingRequest(run_id=f"of-{name}", study=study, as_of="2026-01-01")
        trained = train_deployed(
            Finished(federation, {}, judged=judged),
            request,
            Settings(tracking_uri=None, registry_name=""),
            promote=False,
            started=datetime.now(UTC),
            stop=False,
        )
        own = trained.document()["warnings"][1:]  # the first is the run's
        return trained.alias, " ".join(capsys.readouterr().err.split()), own

    alias, told, warnings = train("unjudged", judged=False)
    assert (alias, len(warnings)) == ("challenger", 2)
    assert "warning: nothing was evaluated" in told
    assert train("heart")[::2] == ("champion", [])
    alias, told, (warning,) = train("other")
    assert alias == "challenger"
    assert "goes on serving heart version 1" in warning
    command = f"fedrisk promote 1 --name other --home {federation.home}"
    assert warning.endswith(command)
    assert command in told
