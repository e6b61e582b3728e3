"""``/jobs``: take a job, tell of it, hand out its result, end it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fedrisk.errors import AccessError
from fedrisk.serving.access import ANY, Guard, Guarded
from fedrisk.serving.batch.endpoint import Body, check_announced, is_gzipped
from fedrisk.serving.champion import Champion
from fedrisk.serving.formats import batch_format
from fedrisk.serving.jobs.figures import JobFigures
from fedrisk.serving.jobs.folder import no_room, told_of_room
from fedrisk.serving.jobs.room import JobRoom
from fedrisk.serving.jobs.worker import JobRunner
from fedrisk.serving.predict import wants_explanation
from fedrisk.serving.time_limits import PROGRESS
from fedrisk.serving.transport import media_type, respond

if TYPE_CHECKING:
    from fedrisk.serving.jobs.store import Job

JOBS, JOB, RESULT = "/jobs", "/jobs/{id}", "/jobs/{id}/result"
#: Bytes of a body that are written at a time.
PIECE = 1 << 20
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]


class Jobs:
    """The operations on jobs.

    Parameters
    ----------
    room : JobRoom
    champion : Champion
        Must serve for jobs to be taken.
    figures : JobFigures
    """

    def __init__(self, room: JobRoom, champion: Champion, figures: JobFigures) -> None:
        self.room = room
        self.figures = figures
        self.champion = champion

    async def take(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``POST /jobs``: the body goes to the disk, and the job waits."""
        kind, rules = media_type(scope), self.room.rules
        if batch_format(kind) is None:
            raise HTTPException(415, "send application/json, application/x-ndjson or text/csv")
        packed, explain = is_gzipped(scope), wants_explanation(scope)
        check_announced(scope, rules.most_bytes)
        self.champion.require()
        await self._check_waiting(scope)
        scope[PROGRESS] = 0
        body = Body(scope, receive, rules.silence)
        job = await self._taken(scope, body, kind.decode("latin-1"), packed, explain)
        self.room.wake.set()
        headers = ((b"location", f"{JOBS}/{job.id}".encode()),)
        await respond(send, self._json(job), 202, headers=headers)

    async def _check_waiting(self, scope: Scope) -> None:
        """Refuse before the body comes what would be refused after it."""
        if (
            await self.room.ask_for_caller(lambda store: store.waiting(owner_of(scope)))
            >= self.room.rules.waiting
        ):
            from fedrisk.serving.jobs.store import too_many

            raise too_many(self.room.rules.waiting)

    async def _taken(self, scope: Scope, body: Body, kind: str, packed: bool, explain: bool) -> Job:
        from fedrisk.serving.jobs.store import Job

        room, files, identifier = self.room, self.room.files, uuid.uuid4().hex
        try:
            place = await asyncio.to_thread(files.place)
            with closing(await asyncio.to_thread(files.begin, identifier)) as draft:
                size = await self._write(body, draft)
                await asyncio.to_thread(files.keep, identifier, draft)
                job = Job(
                    id=identifier,
                    owner=owner_of(scope),
                    place=place,
                    replica=room.replica,
                    media_type=kind,
                    gzip=packed,
                    explain=explain,
                    request_id=scope["request_id"],
                    bytes=size,
                    created=room.now(),
                )
                await room.ask_for_caller(lambda store: store.add(job, room.rules.waiting))
            return job
        except OSError as error:
            await asyncio.to_thread(files.remove, identifier)
            raise told_of_room(error) from None
        except BaseException:
            await asyncio.shield(asyncio.to_thread(files.remove, identifier))
            raise

    async def _write(self, body: Body, draft: IO[bytes]) -> int:
        """Write a body as it comes; memory holds one piece of it. Its length."""
        rules, size, parts = self.room.rules, 0, bytearray()
        room = rules.disk_bytes - await asyncio.to_thread(self.room.files.used)
        async for part in body.parts():
            parts += part
            size += len(part)
            if size > rules.most_bytes:
                raise HTTPException(
                    413, f"the body is too large: at most {rules.most_bytes} bytes are taken"
                )
            if size > room:
                raise no_room("jobs take all the room that they may")
            if len(parts) >= PIECE:
                await asyncio.to_thread(_write_all, draft, bytes(parts))
                parts.clear()
        await asyncio.to_thread(_write_all, draft, bytes(parts))
        return size

    async def listed(self, scope: Scope, _: Receive, send: Send) -> None:
        """``GET /jobs``: the caller's, newest first."""
        owner = None if sees_all(scope) else owner_of(scope)
        found = await self.room.ask_for_caller(lambda store: store.listed(owner))
        await respond(send, orjson.dumps({"jobs": [self._document(job) for job in found]}))

    async def told(self, scope: Scope, _: Receive, send: Send) -> None:
        """``GET /jobs/{id}``."""
        await respond(send, self._json(await self._found(scope)))

    async def result(self, scope: Scope, receive: Receive, send: Send) -> None:
        """``GET /jobs/{id}/result``: the file, or a range of it."""
        job = await self._found(scope)
        if job.state != "done":
            raise HTTPException(409, f"the job is {job.state}, there is no result")
        files = self.room.files
        if job.place != await asyncio.to_thread(files.place):
            raise HTTPException(421, f"the result is on the disk of replica {job.replica}: ask it")
        path = files.result(job)
        try:
            status = await asyncio.to_thread(path.stat)
        except FileNotFoundError:
            raise HTTPException(404, "the job's result is no longer here") from None
        headers = {"x-model-version": job.model["version"]}
        answer = FileResponse(path, headers=headers, media_type=job.media_type, stat_result=status)
        await answer(scope, receive, progressing(scope, send, self.room.rules.silence))

    async def delete(self, scope: Scope, _: Receive, send: Send) -> None:
        """``DELETE /jobs/{id}``: end a job that has not ended, forget one that has."""
        job, room = await self._found(scope), self.room
        if await room.ask_for_caller(lambda store: store.cancel(job.id, room.now())):
            await asyncio.to_thread(room.files.clear, job.id)
            self.figures.ended(job, "cancelled", room.now())
        else:
            await room.ask_for_caller(lambda store: store.delete(job.id))
            await asyncio.to_thread(room.files.remove, job.id)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def _found(self, scope: Scope) -> Job:
        """The job of a path, if it is the caller's; to others it does not exist."""
        everything = sees_all(scope)
        identifier = scope["path_params"]["id"]
        sane = identifier.isascii() and identifier.isalnum() and len(identifier) <= 64
        job = await self.room.ask_for_caller(lambda store: store.find(identifier)) if sane else None
        if job is None or (job.owner != owner_of(scope) and not everything):
            raise HTTPException(404, "there is no such job")
        return job

    def _json(self, job: Job) -> bytes:
        return orjson.dumps(self._document(job))

    def _document(self, job: Job) -> dict[str, Any]:
        kept = None if job.ended is None else job.ended + 3600 * self.room.rules.hours
        return {
            "id": job.id,
            "state": job.state,
            "rows": job.rows,
            "bytes": {"read": job.read, "total": job.bytes},
            "model": job.model or None,
            "created": _text(job.created),
            "started": _text(job.started),
            "ended": _text(job.ended),
            "kept_until": _text(kept),
            "attempts": job.attempts,
            "request_id": job.request_id,
            "replica": job.replica,
            "result": f"{JOBS}/{job.id}/result" if job.state == "done" else None,
            "error": job.error,
        }


def add_jobs(app: Starlette, runner: JobRunner | None, guard: Guard | None) -> bool:
    """Add the paths of jobs to an application; whether there are any.

    Parameters
    ----------
    app : Starlette
    runner : JobRunner or None
        None where no jobs are taken.
    guard : Guard or None
        Everybody is admitted without.
    """
    if runner is None:
        return False
    jobs = Jobs(runner.room, runner.champion, runner.figures)
    posting: Mapping[str, tuple[Endpoint, str]] = {"POST": (jobs.take, "batch")}
    for path, methods in (
        (JOBS, {"GET": (jobs.listed, ANY), **posting}),
        (JOB, {"GET": (jobs.told, ANY), "DELETE": (jobs.delete, ANY)}),
        (RESULT, {"GET": (jobs.result, ANY)}),
    ):
        for method, (endpoint, scope) in methods.items():
            application: ASGIApp = _Application(endpoint)
            if guard is not None:
                application = Guarded(application, guard, scope)
            app.router.routes.append(Route(path, application, methods=[method]))
    return True


class _Application:
    """An endpoint in the form that routes take for an ASGI application."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._endpoint(scope, receive, send)


def owner_of(scope: Scope) -> str:
    """Who asks; everybody is one where there are no keys."""
    return str(scope.get("key_id") or "")


def sees_all(scope: Scope) -> bool:
    """Whether the caller sees the jobs of others.

    Raises
    ------
    AccessError
        When the caller may not even see their own.
    """
    scopes = scope.get("key_scopes")
    if scopes is not None and not {"batch", "admin"} & set(scopes):
        raise AccessError(
            f"API key {scope['key_id']} is not for 'batch'",
            f"it is for {', '.join(scopes) or 'nothing here'}",
            'error="insufficient_scope", scope="batch"',
        )
    return scopes is not None and "admin" in scopes


def progressing(scope: Scope, send: Send, silence: float) -> Send:
    """Send in parts, each of which must be taken in so many seconds."""
    scope[PROGRESS] = 0

    async def sending(message: Message) -> None:
        await asyncio.wait_for(send(message), silence)
        scope[PROGRESS] += 1

    return sending


def _text(time: float | None) -> str | None:
    return None if time is None else datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")


def _write_all(file: IO[bytes], content: bytes) -> None:
    """Write all of it: an unbuffered file takes less than it is given on a disk that is full."""
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]
