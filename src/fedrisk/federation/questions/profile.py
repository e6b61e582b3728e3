"""Bin counts of the sites' rows by windows of time, asked in one message."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from fedrisk.federation.broadcast import Broadcast
from fedrisk.federation.checkpoint import Checkpoints
from fedrisk.federation.query import Query
from fedrisk.federation.questions.comparison import model_of
from fedrisk.federation.run import Run
from fedrisk.models.contender import Contender
from fedrisk.profiles.window_counts import WindowCounts, site_windows
from fedrisk.study.questions import ProfileRequest, ProfileResult


def profile(
    broadcast: Broadcast[ProfileRequest], now: datetime, checkpoints: Checkpoints | None = None
) -> ProfileResult:
    """Run the request.

    Parameters
    ----------
    broadcast : Broadcast
        The way to the sites; holds the request.
    now : datetime
        Recorded as the time of creation.
    checkpoints : Checkpoints, optional
        Where the run is kept after its round, and taken up from.

    Raises
    ------
    UsageError
        When the model is of another study, or the checkpoint of another request.
    ModelFileError
        When the model's document is damaged.
    FederationError
        When the run cannot be finished.
    HomeError
        When a checkpoint cannot be written.
    """
    run = Run.begin(broadcast, now, checkpoints)
    windows = _windows(run, _query(broadcast.request))
    return ProfileResult(
        request=broadcast.request,
        windows=windows,
        refused=run.refused,
        seconds=run.seconds,
        rounds=tuple(broadcast.rounds),
        warnings=_withheld(windows),
    )


def _query(request: ProfileRequest) -> Query:
    query = Query("profile", request.study, request.run_id, request.as_of, windows=request.windows)
    if request.model is None:
        return query
    model = model_of(request.model, request.study.hash, str(request.model.get("name", "model")))
    scored = Contender.of("model", model)
    return replace(query, design=scored.design, parameters=scored.parameters[None])


def _windows(run: Run[ProfileRequest], query: Query) -> list[dict[str, Any]]:
    """The message, or what a checkpoint has of it: documents of windows by site, then time."""
    answers = run.state.answers
    if query.kind not in answers:
        found = [
            window
            for reply in run.broadcast.ask(query)
            for window in site_windows(
                query.study, reply.site, reply.record(WindowCounts, query.dimensions)
            )
        ]
        rows: dict[str, float] = {}
        for window in found:
            rows[window.site] = rows.get(window.site, 0.0) + window.profile.rows
        told = {site: {"rows": held} for site, held in rows.items()}
        run.broadcast.annotate({"rows": sum(rows.values())}, told)
        answers[query.kind] = [window.document() for window in found]
        run.keep()
    windows: list[dict[str, Any]] = answers[query.kind]
    return windows


def _withheld(windows: list[dict[str, Any]]) -> tuple[str, ...]:
    kept_back: dict[str, int] = {}
    for window in windows:
        if window["withheld"]:
            kept_back[window["site"]] = kept_back.get(window["site"], 0) + 1
    return tuple(
        f"site {site!r} keeps {number} window(s) back: too few people"
        for site, number in kept_back.items()
    )
