"""One training run as commands need it: check, run on an engine, release by the registry."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedrisk.errors import DataError, FedriskError, UsageError, Violation
from fedrisk.home import Home
from fedrisk.settings import Settings
from fedrisk.study import Study
from fedrisk.study.request import LONGEST_DEADLINE, check_order, check_timed, instant
from fedrisk.study.training import TrainingRequest, TrainingResult

if TYPE_CHECKING:
    from fedrisk.cli.progress import Display
    from fedrisk.federation.engines.deployed import DeployedEngine
    from fedrisk.registry.promotion import Released


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
    warnings : tuple of str
        Of the release; the run's own are in ``result``.
    """

    result: TrainingResult
    version: str
    alias: str
    seconds: float
    warnings: tuple[str, ...] = ()

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
            "dropped": [dropout.model_dump(mode="json") for dropout in result.dropouts],
            "metrics": result.metrics,
            "per_site": result.per_site,
            "warnings": [*result.warnings, *self.warnings],
        }


def new_request(
    study: Study,
    sites: Mapping[str, Path] | tuple[str, ...],
    now: datetime,
    *,
    model: str,
    strategy: str,
    rounds: int | None,
    options: Mapping[str, float],
    quorum: int | None = None,
    deadline: float | None = None,
    base: dict[str, Any] | None = None,
    since: str | None = None,
    until: str | None = None,
    run_id: str | None = None,
) -> TrainingRequest:
    """A request with a run id of its own, unless one is named; rows are judged mature as of now.

    Raises
    ------
    UsageError
        When model, strategy or an option is unknown, an option or the deadline is outside its
        range, no site is named, the quorum cannot be met, the base model does not fit, or there is
        no such window of time.
    """
    from fedrisk.federation.training import base_of, check_names

    check_names(model, strategy, options)
    if not sites:
        raise UsageError("no site is named", hint="name each by --site NAME=FILE")
    if quorum is not None and quorum > len(sites):
        raise UsageError(f"a quorum of {quorum} sites cannot be met by {len(sites)}")
    if deadline is not None and not 0.0 < deadline <= LONGEST_DEADLINE:  # nor nan
        raise UsageError(
            f"a deadline is above 0 and at most {LONGEST_DEADLINE:g} s, not {deadline:g}"
        )
    window = _window(study, since, until)
    limits = {} if deadline is None else {"deadline": deadline}
    request = TrainingRequest(
        run_id=run_id or f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}",
        study=study,
        model=model,
        strategy=strategy,
        sites=tuple(sorted(sites)),
        as_of=now.astimezone(UTC).isoformat(timespec="seconds"),
        rounds=rounds or (30 if strategy == "exact" else 10),
        options=dict(options),
        quorum=quorum,
        base=base,
        **window,
        **limits,
    )
    base_of(request)
    return request


def _window(study: Study, since: str | None, until: str | None) -> dict[str, str]:
    given = {"since": since, "until": until}
    window: dict[str, str] = {}
    try:
        for name, text in given.items():
            if text is not None:
                window[name] = instant(text)
        check_timed(study, *window)
        check_order(window.get("since"), window.get("until"))
    except ValueError as error:
        raise UsageError(f"--since, --until: {error}", hint="times as 2025-03-01") from None
    return window


def kept_request(home: Home, run_id: str) -> TrainingRequest:
    """What an earlier command asked for.

    Raises
    ------
    UsageError
        When the home knows no such run.
    """
    from fedrisk.federation.unfinished import read_request

    known = [path.parent.name for path in (home.root / "runs").glob("*/request.json")]
    if run_id not in known:
        shown = ", ".join(sorted(known)[-5:]) or "none"
        raise UsageError(f"no run {run_id!r} in {home.root}", hint=f"the latest runs: {shown}")
    request = read_request(home.run(run_id))
    if not isinstance(request, TrainingRequest):
        raise UsageError(f"run {run_id!r} is no training run, it asked for {request.described}")
    return request


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
            named = error.message.startswith(f"site {site!r}")
            messages.append(error.message if named else f"site {site!r}: {error.message}")
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
    policy: Path | None = None,
) -> Trained:
    """Run a request, or take it up, on an engine of this machine and release its model.

    Parameters
    ----------
    engine : str
        ``local`` or ``simulation``.
    request : TrainingRequest
    sites : mapping of name to path
    settings : Settings
    promote : bool
    started : datetime
        When the command began.
    policy : Path, optional
        What every site answers, on the local engine.

    Raises
    ------
    FedriskError
        Whatever ended the run; nothing is registered then.
    """
    from fedrisk.cli.engines import run_here
    from fedrisk.federation.progress import Progress

    home = Home(settings.home).prepare()
    check_rows(request.study, sites, datetime.fromisoformat(request.as_of))

    def run(display: Display) -> dict[str, Any]:
        done = Progress(home.run(request.run_id)).success()
        if done is not None:
            return done
        try:
            return run_here(engine, request, sites, settings, display, policy)
        except KeyboardInterrupt:
            display.say(f"take the run up with --resume {request.run_id}, and the same --site ...")
            raise

    return _release(run, request, settings, promote=promote, started=started)


def train_deployed(
    engine: DeployedEngine,
    request: TrainingRequest,
    settings: Settings,
    *,
    promote: bool,
    started: datetime,
    stop: bool,
) -> Trained:
    """Run a request, or take it up, on a running federation and release its model.

    Parameters
    ----------
    engine : DeployedEngine
    request : TrainingRequest
    settings : Settings
    promote : bool
    started : datetime
        When the command began.
    stop : bool
        Let an interrupt end the run; else it goes on without this command.

    Raises
    ------
    FedriskError
        Whatever ended the run; nothing is registered then.
    """

    def run(display: Display) -> dict[str, Any]:
        try:
            return engine.run(request, display.watch, display.say)
        except KeyboardInterrupt:
            if stop:
                display.say(f"stopping run {request.run_id}")
                engine.stop(request)
            else:
                folder = engine.federation.folder
                display.say(
                    "the run goes on; follow it again: fedrisk train --engine deployed "
                    f"--federation {folder} --resume {request.run_id}"
                )
            raise

    engine.home.prepare()
    settings = settings.model_copy(update={"home": engine.home.root})
    return _release(run, request, settings, promote=promote, started=started)


def _release(
    run: Callable[[Display], dict[str, Any]],
    request: TrainingRequest,
    settings: Settings,
    *,
    promote: bool,
    started: datetime,
) -> Trained:
    from fedrisk.cli.progress import Display

    home = Home(settings.home)
    with Display(request) as display:
        outcome = run(display)
        display.say("registering the model")
        from fedrisk.registry.promotion import register_outcome

        text = (home.run(request.run_id) / "result.json").read_text(encoding="utf-8")
        result = TrainingResult.model_validate_json(text)
        judged = result.metrics.get("brier") is not None
        now = datetime.now(UTC)
        released = register_outcome(
            home, settings, request.run_id, promote=promote, now=now, evaluated=judged
        )
        warnings = release_warnings(released, home, evaluated=judged)
        for warning in warnings:
            display.warn(warning)
    if released.version != str(outcome["version"]):
        raise FedriskError(f"run {request.run_id} was recorded twice")
    seconds = (datetime.now(UTC) - started).total_seconds()
    return Trained(result, released.version, released.alias, seconds, warnings)


def release_warnings(released: Released, home: Home, *, evaluated: bool) -> tuple[str, ...]:
    """Tell whoever goes on with the home if another model serves, or nobody judged this one."""
    from fedrisk.registry.promotion import promotion_command

    name, version = released.name, released.version
    found = [] if evaluated else ["nothing was evaluated: no test row judged this model"]
    command = promotion_command(home, name, version)
    if released.serving is not None:
        found.append(
            f"this home goes on serving {' version '.join(released.serving)}; {name} version "
            f"{version} is {released.alias} of its own name, and neither scores nor serves "
            f"here until: {command}"
        )
    elif not evaluated and released.alias == "challenger":
        found.append(f"{name} version {version} is no champion by itself; to make it: {command}")
    return tuple(found)
