"""The application with everything that settings ask for, around one home."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from time import time

from starlette.types import ASGIApp

from fedrisk.errors import UsageError
from fedrisk.home import Home
from fedrisk.profiles import Window
from fedrisk.serving.access.configured import make_guard
from fedrisk.serving.app import RiskAPI, create_app
from fedrisk.serving.batch import BatchRules, ScoringProcesses
from fedrisk.serving.capture import Capture, CaptureRules
from fedrisk.serving.challenger import TrialRules
from fedrisk.serving.champion import now
from fedrisk.serving.jobs import JobRoom, JobRules
from fedrisk.serving.journal import Journal
from fedrisk.serving.journal_target import open_target
from fedrisk.serving.lifecycle import Lifecycle
from fedrisk.serving.recording import Recorder, RecordRules
from fedrisk.serving.recording.files import DayFile
from fedrisk.serving.server import Beside
from fedrisk.serving.time_limits import TimeLimits
from fedrisk.serving.webhook import MlflowWebhook, read_secret
from fedrisk.settings import Settings


def assemble(
    home: Home, settings: Settings, pinned: str | None = None
) -> tuple[RiskAPI, Lifecycle]:
    """The application over a home, and what tells it that its process is to end.

    ``pinned`` is a version to serve instead of the champion. Callers need keys as soon as the home
    has a file of them, or tokens as soon as an issuer is named.

    Raises
    ------
    HomeError
        When the file of keys is damaged: then nobody is admitted, and nothing starts.
    UsageError
        When the audit journal cannot be written, or the webhook's secret cannot be read.
    """
    lifecycle = Lifecycle(settings.most_lag)
    guard = make_guard(home, settings)
    capture = make_capture(home, settings) if settings.capture else None
    app = create_app(
        home,
        watch_seconds=settings.cache_seconds,
        capture=capture,
        guard=guard,
        lifecycle=lifecycle,
        shared_figures=settings.figures,
        pinned=pinned,
        trial_rules=None if pinned else trial_rules(settings),
        trial_file=None if pinned else home.trial,
        journal=make_journal(settings),
        webhook=make_webhook(home, settings),
        recorder=make_recorder(home, settings),
        batches=ScoringProcesses(home.serving / "batches", batch_rules(settings)),
        jobs=make_jobs(home, settings),
    )
    return app, lifecycle


def serve_grpc(app: RiskAPI, held: socket.socket, settings: Settings) -> Beside:
    """The gRPC server beside an application.

    Raises
    ------
    UsageError
        When the port or the certificate cannot be used, or the library is not installed.
    """
    try:
        from fedrisk.serving.grpc.server import Certificate, GrpcServer
    except ModuleNotFoundError as error:
        raise UsageError(
            f"gRPC needs {error.name}, which is not installed", hint="install fedrisk[grpc]"
        ) from None

    chain, key = settings.grpc_certificate, settings.grpc_key
    if (chain is None) != (key is None):
        raise UsageError("FEDRISK_GRPC_CERTIFICATE and FEDRISK_GRPC_KEY belong together")
    certificate = None if chain is None or key is None else Certificate(chain, key)
    return GrpcServer(app.door, held, certificate)


def trial_rules(settings: Settings) -> TrialRules | None:
    """How the challenger is tried; None where it is not."""
    if not settings.canary_share and not settings.shadow:
        return None
    return TrialRules(settings.canary_share, settings.shadow)


def time_limits(settings: Settings) -> TimeLimits:
    """How long callers may take."""
    return TimeLimits(
        settings.head_seconds,
        settings.body_seconds,
        settings.answer_seconds,
        settings.idle_seconds,
        settings.connections,
    )


def make_journal(settings: Settings) -> Journal | None:
    """The audit journal; None where none is kept."""
    if not settings.audit:
        return None
    return Journal(open_target(settings.audit), time, strict=settings.audit_strict)


def process_name(settings: Settings) -> str:
    """How windows, records and traces name this process."""
    return f"{settings.replica or socket.gethostname()}:{os.getpid()}"


def with_traces(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application with a span for each request, where a collector is named.

    Raises
    ------
    UsageError
        When the collector's address is none.
    """
    if not settings.otlp_endpoint:
        return app
    from fedrisk.serving.tracing import traced

    return traced(app, settings.otlp_endpoint, settings.trace_share, process_name(settings))


def make_webhook(home: Home, settings: Settings) -> MlflowWebhook | None:
    """What hears from MLflow; None where there is no secret to know it by."""
    if settings.webhook_secret_file is None:
        return None
    return MlflowWebhook(read_secret(settings.webhook_secret_file), home.follower_wake, now)


def make_recorder(home: Home, settings: Settings) -> Recorder | None:
    """The sealed record of a sample; None where nothing is kept.

    Raises
    ------
    UsageError
        When a share is to be recorded without a public key or a limit of days.
    """
    if not settings.record_share and settings.record_days is None:
        return None
    if settings.record_days is None or (settings.record_share and settings.record_key is None):
        raise UsageError(
            "FEDRISK_RECORD_SHARE needs FEDRISK_RECORD_KEY and FEDRISK_RECORD_DAYS",
            hint="`fedrisk record keygen` makes a key; nothing is recorded without a time limit",
        )
    from fedrisk.sealing import read_public

    key = None if settings.record_key is None else read_public(settings.record_key)
    file = DayFile(home.records, process_name(settings), key)
    return Recorder(file, RecordRules(settings.record_share, settings.record_days), now)


def batch_rules(settings: Settings) -> BatchRules:
    """What one batch may bring."""
    return BatchRules(settings.batch_bytes, settings.batch_rows, settings.batch_processes)


def make_jobs(home: Home, settings: Settings) -> JobRoom | None:
    """Batches that are scored later; None where none may wait."""
    if not settings.jobs_waiting:
        return None
    rules = JobRules(
        waiting=settings.jobs_waiting,
        most_bytes=settings.batch_bytes,
        most_rows=settings.batch_rows,
        hours=settings.job_hours,
        disk_bytes=settings.jobs_bytes,
    )
    url = settings.database(home.state)
    replica = settings.replica or socket.gethostname()
    return JobRoom(home.jobs, url, now, replica, process_name(settings), rules)


def make_capture(home: Home, settings: Settings) -> Capture:
    """Counting into the home's database of windows, or the one that is named."""
    rules = CaptureRules(timedelta(minutes=settings.capture_minutes), settings.capture_least)
    waiting = home.serving / f"capture-{settings.worker}.json"
    return Capture(process_name(settings), window_sink(home, settings), now, rules, waiting)


def window_sink(home: Home, settings: Settings) -> Callable[[list[Window]], object]:
    """Stores windows; the database's library is loaded with the first of them."""
    stores: list[Callable[[list[Window]], object]] = []

    def store(windows: list[Window]) -> object:
        if not stores:
            from fedrisk.profiles.store import WindowStore

            stores.append(WindowStore(settings.database(home.state)).add)
        return stores[0](windows)

    return store
