"""Runs the jobs of one disk, one after another, each in a process of its own.

Of several serving processes, the one that holds a lock of the operating system runs them. Each run
is a claim with a lease besides: where the lock should not hold, as on some network disks, two may
run a job, and what the later claim writes is the result.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from fedrisk.durable import flush_folder
from fedrisk.errors import FedriskError, HomeError
from fedrisk.home import taken
from fedrisk.logs import origin
from fedrisk.serving.batch.endpoint import count_outcome
from fedrisk.serving.batch.frames import Task
from fedrisk.serving.batch.processes import ScoringProcess
from fedrisk.serving.jobs.figures import JobFigures
from fedrisk.serving.jobs.room import JobRoom
from fedrisk.serving.journal import SCORED, Journal
from fedrisk.serving.predict import PredictBatch
from fedrisk.serving.transport import error_document

if TYPE_CHECKING:
    from fedrisk.serving.jobs.store import Job

_log = logging.getLogger("fedrisk.serving")
#: Seconds between two looks for jobs that others took up, and for what has expired.
LOOK_SECONDS, SWEEP_SECONDS = 1.0, 60.0


class JobRunner:
    """Runs jobs for ever.

    Parameters
    ----------
    room : JobRoom
    small : PredictBatch
        Whose champion, figures and capture are those of jobs.
    journal : Journal, optional
        Gets a line for each job that is done.
    """

    def __init__(self, room: JobRoom, small: PredictBatch, journal: Journal | None) -> None:
        self.room = room
        self.champion = small.champion
        self.figures = JobFigures(small.metrics.registry)
        self._small = small
        self._journal = journal
        self._lock: IO[bytes] | None = None
        self._swept = float("-inf")
        self._fault = ""

    async def run(self) -> None:
        """Run what comes, until cancelled; what runs then waits for the next start."""
        try:
            while True:
                await self._look()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.room.wake.wait(), LOOK_SECONDS)
                self.room.wake.clear()
        finally:
            if self._lock is not None:
                self._lock.close()

    async def _look(self) -> None:
        try:
            while self.room.files.ids() and self._locked() and await self.turn():
                pass
            self._fault = ""
        except Exception as error:  # noqa: BLE001 whatever it is, the next look tries again
            reason = error.message if isinstance(error, FedriskError) else origin(error)
            if reason != self._fault:
                _log.error("jobs cannot be run: %s", reason)
            self._fault = reason

    def _locked(self) -> bool:
        """Whether this process is the one that runs jobs here."""
        if self._lock is None:
            lock = (self.room.root / ".runner").open("wb")
            if not taken(lock.fileno()):
                lock.close()
                return False
            self._lock = lock
        return True

    async def turn(self) -> bool:
        """Tidy up where that is due, and run the next job; whether there was one.

        Raises
        ------
        HomeError
            When the database is away.
        """
        room = self.room
        place = await asyncio.to_thread(room.files.place)
        if room.now() - self._swept > SWEEP_SECONDS:
            if self._swept == float("-inf"):  # the lock was free: whoever ran jobs is dead
                await room.ask(lambda store: store.free(place))
            await asyncio.to_thread(self.sweep, place)
            self._swept = room.now()
        claim = (place, room.holder, room.now(), room.rules.lease)
        job = await room.ask(lambda store: store.claim(*claim))
        if job is None:
            return False
        await self.work(job)
        return True

    def sweep(self, place: str) -> None:
        """Delete what has expired, and files that belong to no job."""
        room, files = self.room, self.room.files
        for identifier in room.store.ended_before(place, room.now() - 3600 * room.rules.hours):
            room.store.delete(identifier)
            files.remove(identifier)
        for identifier in files.ids():
            unknown = room.store.find(identifier) is None
            # Asked twice: it may have been taken up while the first answer was on its way.
            if (
                unknown
                and files.sweepable(identifier, room.now())
                and room.store.find(identifier) is None
            ):
                files.remove(identifier)

    async def work(self, job: Job) -> None:
        """Run a claimed job to its end, or let it wait again when this process ends first."""
        try:
            await self._score(job)
        except asyncio.CancelledError:
            again = {"state": "queued", "attempts": job.attempts - 1}
            with suppress(HomeError):
                await self.room.ask(lambda store: store.change(job, **again))
            raise
        except _CrashedError as error:
            if job.attempts >= self.room.rules.attempts:
                await self._fail(job, FedriskError(error.args[0], "send less at a time"))
            elif not await self._change(job, state="queued"):
                await self._tidy(job)
        except HomeError:
            raise  # the database is away: once the lease has run out, the job is run again
        except Exception as error:  # noqa: BLE001 told to whoever asks for the job
            await self._fail(job, error)

    async def _score(self, job: Job) -> None:
        room, files = self.room, self.room.files
        if job.attempts > room.rules.attempts:
            raise FedriskError(f"the job was started {room.rules.attempts} times and never ended")
        model = await asyncio.to_thread(files.pin, job.id, self.champion.folder)
        await asyncio.to_thread(files.drop_results, job)
        progress: dict[str, Any] = {}
        async with job_process(files.body(job.id), files.result(job)) as process:
            stdin = process.process.stdin
            if stdin is not None:
                stdin.write(self._task(job, model).line())
            beating = asyncio.create_task(self._beat(job, process, progress))
            try:

                async def note(payload: bytes) -> None:
                    progress.update(json.loads(payload))

                outcome = await process.result(note)
            except FedriskError as error:
                if progress.get("full"):
                    raise HTTPException(507, progress["full"]) from None
                if process.process.returncode not in (None, 0):
                    raise _CrashedError(error.message) from None
                raise
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
        await self._done(job, process.model, outcome)

    def _task(self, job: Job, model: Path) -> Task:
        return Task(
            model=str(model),
            media_type=job.media_type,
            gzip=job.gzip,
            explain=job.explain,
            live=False,
            request_id=job.request_id,
            most_bytes=self.room.rules.most_bytes,
            most_rows=self.room.rules.most_rows,
        )

    async def _beat(self, job: Job, process: ScoringProcess, progress: dict[str, Any]) -> None:
        """Say that the job is run, for as long as it is, and end its process once it is not ours.

        A database that is away does not end it: what counts is that it is there at the end.
        """
        while True:
            room = self.room
            await asyncio.sleep(room.rules.beat)
            values: dict[str, Any] = {
                name: progress[name] for name in ("rows", "read") if name in progress
            }
            values |= {"lease": room.now() + room.rules.lease, "model": process.model}
            with suppress(HomeError):
                if not await self._change(job, **values):
                    process.process.kill()
                if await asyncio.to_thread(room.files.used) > room.rules.disk_bytes:
                    progress["full"] = "the results of jobs take more room than they may"
                    process.process.kill()

    async def _change(self, job: Job, **values: Any) -> bool:
        return await self.room.ask(lambda store: store.change(job, **values))

    async def _done(self, job: Job, model: dict[str, str], outcome: dict[str, Any]) -> None:
        """Make a whole result, which is on the disk, the job's; a late holder's is thrown away."""
        room, files = self.room, self.room.files
        await asyncio.to_thread(flush_folder, files.result(job).parent)
        now = room.now()
        done = {"state": "done", "ended": now, "rows": outcome["rows"], "read": job.bytes}
        if not await self._change(job, **done, model=model):
            files.result(job).unlink(missing_ok=True)
            await self._tidy(job)
            return
        await asyncio.to_thread(files.drop_inputs, job.id)
        count_outcome(self._small, self.champion.served, model, outcome)
        self.figures.ended(job, "done", now, outcome["rows"])
        if self._journal is not None:
            scope = {"request_id": job.request_id, "key_id": job.owner or None, "path": "/jobs"}
            self._journal.add({**scope, SCORED: (model, outcome["rows"])}, 200)

    async def _fail(self, job: Job, error: Exception) -> None:
        if not isinstance(error, FedriskError | HTTPException):
            _log.error("job %s failed: %s", job.id, origin(error))
        status, document = error_document(error, job.request_id)
        now = self.room.now()
        told = {"status": status, **without_values(document)}
        if await self._change(job, state="failed", ended=now, error=told):
            await asyncio.to_thread(self.room.files.clear, job.id)
            self.figures.ended(job, "failed", now)
        else:
            await self._tidy(job)

    async def _tidy(self, job: Job) -> None:
        """Delete what this run made after the job had been ended by somebody else."""
        found = await self.room.ask(lambda store: store.find(job.id))
        if found is None:
            await asyncio.to_thread(self.room.files.remove, job.id)
        elif found.state in ("cancelled", "failed"):
            await asyncio.to_thread(self.room.files.clear, job.id)


class _CrashedError(Exception):
    """The process that scored ended without a word."""


@asynccontextmanager
async def job_process(body: Path, result: Path) -> AsyncIterator[ScoringProcess]:
    """A process that waits for a job's task, ended afterwards."""
    with body.open("rb") as source:
        spool = os.fdopen(os.open(result, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        handles = (source.fileno(), spool.fileno())
        command = ["-m", "fedrisk.serving.jobs.child", *map(str, handles)]
        try:
            started = await asyncio.create_subprocess_exec(
                sys.executable, *command, stdin=PIPE, stdout=PIPE, pass_fds=handles
            )
        except BaseException:
            spool.close()
            raise
    process = ScoringProcess(started, spool)
    try:
        yield process
    finally:
        ending = asyncio.ensure_future(process.end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending  # the server ends: not before the process and its pipes are gone
            raise


def without_values(document: dict[str, Any]) -> dict[str, Any]:
    """An error as the database keeps it: field, row and rule, but no person's value."""
    found = document.get("detail")
    if not isinstance(found, list):
        return document
    kept = [{name: each[name] for name in each if name != "value"} for each in found]
    return {**document, "detail": kept}
