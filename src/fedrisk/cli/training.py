"""One training run as commands need it: check, run on an engine, release by the registry."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedrisk.errors import DataError, FedriskError, UsageError, Violation
from fedrisk.home import Home
from fedrisk.settings import Settings
from fedrisk.study import Study
from fedrisk.study.training import TrainingRequest, TrainingResult

ENGINES = ("local", "simulation")


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes
    ----------
    result : TrainingResult
    version : str
        Version of the registered model.
    alias : str
        ``champion`` or ``challenger``.
    seconds : float
        From the command to the released model.
    """

    result: TrainingResult
    version: str
    alias: str
    seconds: float

    def document(self) -> dict[str, Any]:
        """What ``fedrisk train --json`` prints."""
        result = self.result
        return {
            "run_id": result.request.run_id,
            "model": result.request.study.name,
            "model_version": self.version,
            "alias": self.alias,
            "strategy": result.request.strategy,
            "rounds": len(result.rounds),
            "seconds": round(self.seconds, 2),
            "federation_seconds": round(result.seconds, 2),
            "sites": {site: count["train"] + count["test"] for site, count in result.rows.items()},
            "metrics": result.metrics,
            "per_site": result.per_site,
            "warnings": list(result.warnings),
        }


def new_request(
    study: Study,
    sites: Mapping[str, Path],
    now: datetime,
    *,
    model: str,
    strategy: str,
    rounds: int | None,
    options: Mapping[str, float],
) -> TrainingRequest:
    """A request with a run id of its own; rows are judged mature as of now.

    Raises
    ------
    UsageError
        When model or strategy is unknown, or no site is named.
    """
    from fedrisk.federation.training import check_names

    check_names(model, strategy)
    if not sites:
        raise UsageError("no site is named", hint="name each by --site NAME=FILE")
    return TrainingRequest(
        run_id=f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        study=study,
        model=model,
        strategy=strategy,
        sites=tuple(sorted(sites)),
        as_of=now.astimezone(UTC).isoformat(timespec="seconds"),
        rounds=rounds or (30 if strategy == "exact" else 10),
        options=dict(options),
    )


def check_rows(study: Study, sites: Mapping[str, Path], as_of: datetime) -> None:
    """Check every site's rows before anything starts; these files are one owner's.

    Raises
    ------
    DataError
        With the violations of all sites.
    """
    from fedrisk.sites.cohort import load_cohort

    violations: list[Violation] = []
    messages: list[str] = []
    total = 0
    for site, path in sites.items():
        try:
            load_cohort(study, site, path, as_of)
        except DataError as error:
            messages.append(f"site {site!r}: {error.message}")
            violations += error.violations
            total += error.total
    if messages:
        raise DataError(
            "; ".join(messages), violations, total, hint="`fedrisk study check` shows them all"
        )


def train_on(
    engine: str,
    request: TrainingRequest,
    sites: Mapping[str, Path],
    settings: Settings,
    *,
    promote: bool,
    started: datetime,
) -> Trained:
    """Run a request on an engine and release its model.

    Raises
    ------
    FedriskError
        Whatever ended the run; nothing is registered then.
    """
    home = Home(settings.home).prepare()
    check_rows(request.study, sites, datetime.fromisoformat(request.as_of))
    from fedrisk.cli.progress import Display

    with Display(request, list(sites)) as display:
        outcome = _run(engine, request, sites, settings, home, display)
        display.say("registering the model")
        from fedrisk.registry.promotion import register_outcome

        now = datetime.now(UTC)
        released = register_outcome(home, settings, request.run_id, promote=promote, now=now)
    if released.version != str(outcome["version"]):
        raise FedriskError(f"run {request.run_id} was recorded twice")
    text = (home.run(request.run_id) / "result.json").read_text(encoding="utf-8")
    result = TrainingResult.model_validate_json(text)
    seconds = (datetime.now(UTC) - started).total_seconds()
    return Trained(result, released.version, released.alias, seconds)


def _run(
    engine: str,
    request: TrainingRequest,
    sites: Mapping[str, Path],
    settings: Settings,
    home: Home,
    display: Any,
) -> dict[str, Any]:
    if engine == "simulation":
        from fedrisk.cli.server_app import execute
        from fedrisk.federation.engines.simulation import run_simulation

        display.say("starting Flower's simulation runtime")
        return run_simulation(
            request,
            sites,
            home.run(request.run_id),
            lambda grid, asked: execute(grid, asked, settings, display.watch),
        )
    from fedrisk.federation.engines.local import LocalEngine
    from fedrisk.settings import process_environment

    resident = settings.flower_start == "resident"
    local = LocalEngine(home, process_environment(), datetime.now(UTC), resident)
    return local.run(request, sites, display.watch, display.say)
