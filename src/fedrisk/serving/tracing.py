"""One OpenTelemetry span a request, sent to a collector by OTLP over HTTP.

A span tells route, status, request id, model, version and rows; never a feature, a score, a query
or an exception's text. It continues the caller's trace where the request has a W3C `traceparent`.
OpenTelemetry is imported only where a collector is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedrisk.errors import UsageError
from fedrisk.serving.journal import SCORED
from fedrisk.serving.metrics import counted_as

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span, Tracer

#: Where collectors take traces, below their address.
TRACES = "/v1/traces"
#: Headers that continue a trace.
_CARRIED = (b"traceparent", b"tracestate")
#: Seconds that one sending may take, and that the end of the process waits for the last.
SEND_SECONDS, STOP_SECONDS = 5.0, 3.0


def traces_url(endpoint: str) -> str:
    """Where traces go; an address without a path gets the protocol's.

    Raises
    ------
    UsageError
        When it is no HTTP address.

    >>> traces_url("http://collector:4318"), traces_url("https://host/own/path")
    ('http://collector:4318/v1/traces', 'https://host/own/path')
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"FEDRISK_OTLP_ENDPOINT {endpoint!r} is no address of a collector",
            hint="for example http://localhost:4318",
        )
    return endpoint.rstrip("/") + TRACES if parts.path in ("", "/") else endpoint


def traced(app: ASGIApp, endpoint: str, share: float, instance: str) -> Traced:
    """The application with a span for each request.

    Parameters
    ----------
    app : ASGI application
    endpoint : str
        The collector's address.
    share : float
        Part of the traces that begin here which are sent; a caller's trace goes as it says itself.
    instance : str
        This process's name.

    Raises
    ------
    UsageError
        When the address is none.
    """
    url = traces_url(endpoint)

    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return traced_by(
        app, BatchSpanProcessor(OTLPSpanExporter(url, timeout=SEND_SECONDS)), share, instance
    )


def traced_by(app: ASGIApp, processor: SpanProcessor, share: float, instance: str) -> Traced:
    """As `traced`, with spans handed to a processor."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    resource = Resource.create({"service.name": "fedrisk", "service.instance.id": instance})
    provider = TracerProvider(
        sampler=ParentBasedTraceIdRatio(share), resource=resource, shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    return Traced(app, provider.get_tracer("fedrisk"), provider.shutdown)


class Traced:
    """An ASGI application with a span for each request.

    Parameters
    ----------
    app : ASGI application
    tracer : Tracer
    stop : callable
        Sends what waits; called once the application has ended.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer, stop: Callable[[], None]) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._app = app
        self._tracer = tracer
        self._stop = stop
        self._server = SpanKind.SERVER
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or the server's start and end."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._stopping(send))
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = counted_as(scope["path"])
        carried = {k.decode(): v.decode("latin-1") for k, v in scope["headers"] if k in _CARRIED}
        parent = self._propagator.extract(carried) if carried else None
        span = self._tracer.start_span(f"{scope['method']} {route}", parent, self._server)
        status = 0

        async def noticing(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noticing)
        finally:
            if span.is_recording():
                describe(span, scope, route, status)
            span.end()

    def _stopping(self, send: Send) -> Send:
        """Sends what waits before the server hears that the application has ended."""

        async def sending(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                # A collector that does not answer must not hold up the end.
                thread = Thread(target=self._stop, name="last traces", daemon=True)
                thread.start()
                await asyncio.to_thread(thread.join, STOP_SECONDS)
            await send(message)

        return sending


def describe(span: Span, scope: Scope, route: str, status: int) -> None:
    """What a span tells of a request, in the words of OpenTelemetry where it has some."""
    from opentelemetry.trace import StatusCode

    span.set_attribute("http.request.method", scope["method"])
    span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if "request_id" in scope:
        span.set_attribute("fedrisk.request_id", scope["request_id"])
    if SCORED in scope:
        model, rows = scope[SCORED]
        span.set_attribute("fedrisk.model.name", model["name"])
        span.set_attribute("fedrisk.model.version", model["version"])
        span.set_attribute("fedrisk.rows", rows)
    if status >= 500 or not status:
        span.set_status(StatusCode.ERROR)
