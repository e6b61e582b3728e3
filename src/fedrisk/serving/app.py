"""The HTTP application: which path does what."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from fedrisk import __version__
from fedrisk.errors import FedriskError, ModelNotFoundError
from fedrisk.home import Home
from fedrisk.logs import origin
from fedrisk.registry.follower_status import read_status
from fedrisk.serving import describe, openapi
from fedrisk.serving.access import ANY, Guard, Guarded, guard_routes
from fedrisk.serving.batch import ManyRows, ScoringProcesses
from fedrisk.serving.capture import Capture
from fedrisk.serving.challenger import Challenger, Trial, TrialRules
from fedrisk.serving.champion import Champion, Clock, now
from fedrisk.serving.documentation import add_documentation
from fedrisk.serving.fhir import CDS, FHIR, add_fhir, read_mapping
from fedrisk.serving.following import FollowerFigures
from fedrisk.serving.inference import GRPC, Door, Inference
from fedrisk.serving.inference_protocol import INFER, add_inference_protocol
from fedrisk.serving.jobs import JobRoom, JobRunner, add_jobs
from fedrisk.serving.journal import Journal
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.metrics import ReadyFigures, ServingMetrics
from fedrisk.serving.page import front_page
from fedrisk.serving.predict import BATCH, PREDICT, Limits, Predict, PredictBatch
from fedrisk.serving.prompt import Prompt, prompt_answers
from fedrisk.serving.recording import Recorder
from fedrisk.serving.transport import Envelope, error_document
from fedrisk.serving.trial_metrics import TrialMetrics
from fedrisk.serving.webhook import PATH as WEBHOOK
from fedrisk.serving.webhook import MlflowWebhook

_log = logging.getLogger("fedrisk.serving")
#: Seconds from a fault of what goes on beside requests until it is begun again.
AGAIN_SECONDS = 5.0
#: Seconds between two looks at the cache.
WATCH_SECONDS = 0.25
#: Seconds for which a worker may keep a trial's figures to itself.
FLUSH_SECONDS = 0.1
#: Behind the guard beside predictions: the model, by which anybody could score without a key, and
#: figures, which tell the level of whoever was scored between two looks at them.
GUARDED = {"/model": ANY, "/metrics": "metrics", "/trial": "metrics"}
NO_LIMITS = Limits()
_READABLE = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


class RiskAPI(FastAPI):
    """An application whose OpenAPI document follows the model that serves.

    Attributes
    ----------
    champion : Champion
    door : Door
        What another transport needs to answer under the same rules.
    direct : dict of path to ASGI application
        What answers a POST to a path before FastAPI's middleware and routing: they cost several
        times the work of a prediction. The same paths are routes too, for every other method.
    prompt : Prompt
        What answers a POST before ASGI, too, where head and body arrive together.
    """

    door: Door

    def __init__(self, champion: Champion, **settings: Any) -> None:
        super().__init__(**settings)
        self.champion = champion
        self.direct: dict[str, ASGIApp] = {}
        self.prompt: Prompt = {}
        self.takes_jobs = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's start and end."""
        if scope["type"] == "http" and scope["method"] == "POST":
            application = self.direct.get(scope["path"])
            if application is not None:
                await application(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """The document, with the served study's features."""
        return openapi.complete(super().openapi(), self.champion.served, jobs=self.takes_jobs)


def create_app(
    home: Home,
    registry: CollectorRegistry | None = None,
    *,
    limits: Limits = NO_LIMITS,
    watch_seconds: float = WATCH_SECONDS,
    clock: Clock = now,
    capture: Capture | None = None,
    guard: Guard | None = None,
    lifecycle: Lifecycle | None = None,
    shared_figures: str = "",
    pinned: str | None = None,
    trial_rules: TrialRules | None = None,
    trial_file: Path | None = None,
    journal: Journal | None = None,
    webhook: MlflowWebhook | None = None,
    recorder: Recorder | None = None,
    batches: ScoringProcesses | None = None,
    jobs: JobRoom | None = None,
) -> RiskAPI:
    """Build the application over a home's model cache.

    Parameters
    ----------
    home : Home
        Its model caches are read and watched.
    registry : CollectorRegistry, optional
        Where Prometheus figures are collected; a new one by default.
    limits : Limits
        Longest bodies and batches.
    watch_seconds : float
        Seconds between two looks at the cache.
    clock : callable
        The time, with its zone.
    capture : Capture, optional
        Counts what is asked and answered; without it nothing is counted.
    guard : Guard, optional
        Admits callers by their keys; without it everybody who reaches the address is admitted.
    lifecycle : Lifecycle, optional
        Told by whoever runs the process when it is to end.
    shared_figures : str
        Folder in which several workers' figures are added up; empty for one process.
    pinned : str, optional
        Version to serve instead of the champion, from a cache of its own.
    trial_rules : TrialRules, optional
        How the challenger is tried, unless the registry says otherwise.
    trial_file : Path, optional
        Where the registry's say is found. Without both no challenger is even read.
    journal : Journal, optional
        Gets a line for every prediction request.
    webhook : MlflowWebhook, optional
        Hears from MLflow what changed; without it the path does not exist.
    recorder : Recorder, optional
        Seals a sample of the rows and their scores; without it no row is kept.
    batches : ScoringProcesses, optional
        Score long batches beside the server; without them they are limited and scored in it.
    jobs : JobRoom, optional
        Keeps batches that are scored later; without it the paths do not exist.
    """
    lifecycle = lifecycle or Lifecycle()
    metrics = ServingMetrics(registry or CollectorRegistry(), shared_figures)
    metrics.collect(FollowerFigures(home.follower_status))
    lifecycle.connection_ended = metrics.connection_ended
    folder = home.champion if pinned is None else home.pinned(pinned)
    champion = Champion(folder, limits.batch_rows, clock, metrics.model_changed)
    metrics.collect(ReadyFigures(lambda: readiness(champion, lifecycle)[0] == 200))
    trial = None
    if trial_rules is not None or trial_file is not None:
        figures = TrialMetrics(metrics.registry)
        contender = Challenger(home.challenger, limits.batch_rows, clock, figures.loaded)
        trial = Trial(contender, trial_rules or TrialRules(), figures, trial_file)
        metrics.flush = trial.flush
    if journal is not None:
        journal.count_in(metrics.registry)
    scorer = PredictBatch(champion, metrics, limits, capture, "/jobs")
    runner = None if jobs is None else JobRunner(jobs, scorer, journal)
    lifespan = _lifespan(
        champion,
        lifecycle,
        capture,
        guard,
        trial,
        journal,
        recorder,
        watch_seconds,
        batches,
        runner,
    )
    app = RiskAPI(
        champion,
        title="fedrisk",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Envelope, failed=metrics.failed, journal=journal)
    app.add_exception_handler(HTTPException, _http_error)
    if recorder is not None:
        recorder.count_in(metrics.registry)
    small = PredictBatch(champion, metrics, limits, capture, trial=trial, recorder=recorder)
    batch: ASGIApp = small if batches is None else ManyRows(small, batches)
    single = Predict(champion, metrics, limits, capture, trial, recorder)
    for path, scope, endpoint in (
        (PREDICT, "predict", single),
        (BATCH, "batch", batch),
    ):
        guarded = endpoint if guard is None else Guarded(endpoint, guard, scope)
        app.router.routes.append(Route(path, guarded, methods=["POST"]))
        envelope = app.direct[path] = Envelope(guarded, metrics.failed, lifecycle, journal)
        if endpoint is single:
            app.prompt = prompt_answers(path, (b"", b"explain=true"), envelope.at_once)
    if webhook is not None:
        app.router.routes.append(Route(WEBHOOK, webhook, methods=["POST"]))
    if capture is not None:
        capture.listener, capture.waits = metrics.capture_answered, metrics.capture_waits
    _add_operations(app, home, champion, trial, metrics, lifecycle, capture)
    _add_trial(app, champion, trial, metrics)

    def scoring(endpoint: str) -> PredictBatch:
        return PredictBatch(champion, metrics, limits, capture, endpoint, trial)

    add_inference_protocol(app, scoring(INFER), guard, lifecycle)
    add_fhir(app, scoring(FHIR), scoring(CDS), read_mapping(home.fhir), guard, lifecycle)
    app.takes_jobs = add_jobs(app, runner, guard)
    add_documentation(app)
    if guard is not None:
        guard_routes(app.routes, guard, GUARDED)
    app.door = Door(Inference(scoring(GRPC)), guard, lifecycle, metrics.failed, journal)
    return app


def _lifespan(
    champion: Champion,
    lifecycle: Lifecycle,
    capture: Capture | None,
    guard: Guard | None,
    trial: Trial | None,
    journal: Journal | None,
    recorder: Recorder | None,
    seconds: float,
    batches: ScoringProcesses | None,
    runner: JobRunner | None,
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """What goes on beside requests: models and keys are watched, windows closed, shadows scored."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if capture is not None:
            capture.resume()
        if journal is not None:
            journal.start()
        await asyncio.to_thread(champion.refresh)
        work: list[Callable[[], Awaitable[None]]] = [
            partial(champion.watch, seconds),
            partial(lifecycle.watch, monotonic),
        ]
        if guard is not None:
            work += [partial(watch_keys, guard, seconds), partial(guard.watch, seconds)]
        work += [partial(capture.run, seconds)] if capture is not None else []
        work += [partial(recorder.run, seconds)] if recorder is not None else []
        work += [runner.run] if runner is not None else []
        if trial is not None:
            await asyncio.to_thread(trial.refresh)
            work += [partial(trial.watch, seconds), trial.run]
            work += [partial(trial.keep, FLUSH_SECONDS)]
        tasks = [asyncio.create_task(_for_ever(each)) for each in work]
        yield
        for task in tasks:
            task.cancel()
        # What a fault has ended already keeps nobody from storing what is kept.
        await asyncio.gather(*tasks, return_exceptions=True)
        if batches is not None:
            await batches.stop()
        for keeper in (capture, recorder, journal):
            if keeper is not None:
                await asyncio.to_thread(keeper.stop)

    return lifespan


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """Do something beside requests, and do it again some seconds after a fault has ended it."""
    while True:
        try:
            await work()
        except Exception as fault:  # noqa: BLE001 whatever it is, requests go on being answered
            _log.error("work beside requests has ended: %s", origin(fault))
        await asyncio.sleep(AGAIN_SECONDS)


async def watch_keys(guard: Guard, seconds: float) -> None:
    """Take up changed keys for ever; a damaged file is told, and the keys stay as they were."""
    told = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            guard.refresh()
            told = ""
        except FedriskError as error:
            if error.message != told:
                _log.error("%s", error.message)
            told = error.message


async def _http_error(request: Request, error: Exception) -> Response:
    """404 and 405 in the shape of every other error."""
    status, document = error_document(error, request.scope["request_id"])
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    return Response(orjson.dumps(document), status, headers, "application/json")


def _add_operations(
    app: FastAPI,
    home: Home,
    champion: Champion,
    trial: Trial | None,
    metrics: ServingMetrics,
    lifecycle: Lifecycle,
    capture: Capture | None,
) -> None:
    """The paths that operators and readers ask."""

    @app.head("/health", include_in_schema=False)
    @app.get("/health", summary="Is the process up?")
    async def health() -> Response:
        return _json({"status": "live"})

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", summary="Has a model answered its self-test, and which?")
    async def ready() -> Response:
        status, document = readiness(champion, lifecycle)
        followed = read_status(home.follower_status)
        if followed is not None:
            document["registry"] = followed.document()
        if trial is not None and trial.on:
            document["challenger"] = trial.document()
        if capture is not None and capture.fault:
            document["capture"] = {"failing": capture.fault}
        return _json(document, status)

    @app.get("/metrics", summary="Figures for Prometheus")
    async def exposition() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/model", summary="The model that serves, its study and its metrics")
    async def model() -> Response:
        return _json(describe.describe_model(champion.require()))

    @app.get("/", include_in_schema=False)
    async def front(request: Request) -> Response:
        url = str(request.base_url).rstrip("/")
        page = front_page(champion.served, champion.reason, url)
        return Response(page, media_type="text/html")


def _add_trial(
    app: FastAPI, champion: Champion, trial: Trial | None, metrics: ServingMetrics
) -> None:
    """The path that whoever judges a challenger asks."""

    @app.get("/trial", summary="How the challenger does beside the champion")
    async def tried() -> Response:
        if trial is None or not trial.on:
            raise ModelNotFoundError(
                "no trial is on: this server tries no challenger",
                hint="FEDRISK_SHADOW and FEDRISK_CANARY_SHARE turn it on",
            )
        return _json(trial.report(champion.require(), metrics.collected()).document())


def readiness(champion: Champion, lifecycle: Lifecycle) -> tuple[int, dict[str, Any]]:
    """HTTP status and answer of ``/ready``."""
    if lifecycle.draining:
        return 503, {"status": "draining", "reason": "this process is about to end"}
    served = champion.served
    if served is None:
        reason = {"reason": champion.reason, "refused": champion.refused}
        return 503, {"status": "not ready", **reason}
    stored = served.stored
    return 200, {
        "status": "ready",
        "model": {**served.identity, "run_id": stored.run_id, "digest": stored.digest},
        "loaded_at": served.loaded_at.isoformat(timespec="seconds"),
        "refused": champion.refused,
    }


def _json(document: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(document, option=_READABLE), status, media_type="application/json")
