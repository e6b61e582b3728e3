"""Scoring processes of one server: started when a long body comes, one ready for the next."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from fedrisk.errors import FedriskError, OverloadedError
from fedrisk.serving.batch.frames import DATA, END, ERROR, HEAD, START, Task, part, raised

#: Seconds that an idle process is kept for the next body.
IDLE_SECONDS = 60.0
#: Bodies that one process scores, and bytes of an answer after which it ends: memory that a large
#: body needed is given back.
BODIES, LARGE = 100, 32 << 20
#: Bodies that wait for a process, for each that is being scored; more are turned away.
WAITING = 4


@dataclass(frozen=True, slots=True)
class BatchRules:
    """What one body may bring, and how many are scored at the same time.

    Attributes
    ----------
    most_bytes : int
        Unpacked.
    most_rows : int
    processes : int
        Scoring processes at the same time, of one server process.
    silence : float
        Seconds in which a caller must send or take something.
    """

    most_bytes: int = 4 << 30
    most_rows: int = 50_000_000
    processes: int = 2
    silence: float = 60.0


@dataclass
class ScoringProcess:
    """One process, which scores a body at a time.

    Attributes
    ----------
    process : asyncio.subprocess.Process
    spool : binary file
        Without a name: what is in it is gone with this process, in whatever way it ends.
    bodies : int
        That it has scored.
    ready : bool
        Whether it can be given a body.
    model : dict
        Name and version of the model that answers, once known.
    """

    process: Process
    spool: IO[bytes]
    bodies: int = 0
    ready: bool = True
    model: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def start(cls, folder: Path) -> ScoringProcess:
        """Start a process that waits for its task."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by `end`
        command = ["-m", "fedrisk.serving.batch.child", str(spool.fileno())]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=PIPE, stdout=PIPE, pass_fds=[spool.fileno()]
        )
        return cls(process, spool)

    async def take(self, task: Task, body: AsyncIterator[bytes]) -> None:
        """Hand over a task and its body; what the process does not want is left."""
        stdin = self.process.stdin
        if stdin is None:
            return
        self.ready = False
        with suppress(BrokenPipeError, ConnectionResetError):
            stdin.write(task.line())
            async for data in body:
                if data:
                    stdin.write(part(data))
                    await stdin.drain()
            stdin.write(part(b""))
            await stdin.drain()

    async def result(self, data: Callable[[bytes], Awaitable[None]]) -> dict[str, Any]:
        """What was scored, once all of it is.

        Parameters
        ----------
        data : callable
            Told each part of an answer that is live.

        Raises
        ------
        FedriskError, HTTPException
            What went wrong there.
        """
        while True:
            kind, payload = await self._frame()
            if kind == START:
                self.model = json.loads(payload)
            elif kind == DATA:
                await data(payload)
            elif kind == ERROR:
                raise raised(payload)
            elif kind == END:
                document: dict[str, Any] = json.loads(payload)
                self.bodies += 1
                self.ready = self.bodies < BODIES and spooled(self.spool) < LARGE
                return document

    async def _frame(self) -> tuple[bytes, bytes]:
        stdout = self.process.stdout
        try:
            if stdout is None:
                raise EOFError
            head = await stdout.readexactly(HEAD)
            return head[:1], await stdout.readexactly(int.from_bytes(head[1:], "big"))
        except EOFError:
            code = await self.process.wait()
            raise FedriskError(
                f"the process that scored the batch ended with code {code}",
                hint="send the batch again; if it ends again, send less at a time",
            ) from None

    def clear(self) -> None:
        """Empty the spool, whose place is the same here and in the process, for the next body."""
        self.spool.truncate(0)
        self.spool.seek(0)

    async def end(self) -> None:
        """End the process, whatever it does, and let go of its spool."""
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()
        await self._close_pipes()
        self.spool.close()

    async def _close_pipes(self) -> None:
        """Let go of both pipes now: what the loop would do later it may not live to do."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is not None:
            stdin.close()
            with suppress(OSError):
                await stdin.wait_closed()
        while stdout is not None and await stdout.read(HEAD << 12):
            pass


@dataclass
class ScoringProcesses:
    """The scoring processes of one server process.

    Parameters
    ----------
    folder : Path
        For what does not fit into memory.
    rules : BatchRules
    """

    folder: Path
    rules: BatchRules = BatchRules()
    _slots: asyncio.Semaphore | None = None
    _asked: int = 0
    _spare: asyncio.Task[ScoringProcess] | None = None
    _idle: list[ScoringProcess] = field(default_factory=list)
    _dismissal: asyncio.TimerHandle | None = None
    _leaving: set[asyncio.Task[None]] = field(default_factory=set)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[ScoringProcess]:
        """A process for one body; kept for the next where nothing went wrong, ended otherwise.

        Raises
        ------
        OverloadedError
            When too many wait already.
        """
        if self._slots is None:
            self._slots = asyncio.Semaphore(self.rules.processes)
        if self._asked >= self.rules.processes * (1 + WAITING):
            raise OverloadedError("too many batches wait already", hint="come again later")
        self._asked += 1
        try:
            async with self._slots:
                process = await self._next()
                try:
                    yield process
                finally:
                    await asyncio.shield(self._back(process))
        finally:
            self._asked -= 1

    async def _next(self) -> ScoringProcess:
        if self._idle:
            process = self._idle.pop()
        else:
            spare, self._spare = self._spare, None
            process = await (spare or asyncio.ensure_future(ScoringProcess.start(self.folder)))
        if process.process.returncode is not None:
            await process.end()
            process = await ScoringProcess.start(self.folder)
        self._prepare()
        return process

    async def _back(self, process: ScoringProcess) -> None:
        if process.ready and len(self._idle) < self.rules.processes:
            process.clear()
            self._idle.append(process)
        else:
            await process.end()

    def _prepare(self) -> None:
        """Start the next one already, and dismiss it when nothing comes for a while."""
        if self._dismissal is not None:
            self._dismissal.cancel()
        if self._spare is None and not self._idle:
            self._spare = asyncio.ensure_future(ScoringProcess.start(self.folder))
        self._dismissal = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.dismiss)

    def dismiss(self) -> None:
        """End the processes that wait for nothing."""
        spare, self._spare = self._spare, None
        idle, self._idle = self._idle, []
        ends = [process.end() for process in idle] + ([_end(spare)] if spare else [])
        for end in ends:
            leaving = asyncio.ensure_future(end)
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)

    async def stop(self) -> None:
        """End what waits, with the server."""
        if self._dismissal is not None:
            self._dismissal.cancel()
        self.dismiss()
        await asyncio.gather(*self._leaving)


async def _end(spare: asyncio.Task[ScoringProcess]) -> None:
    with suppress(OSError):
        await (await spare).end()


def spooled(spool: IO[bytes]) -> int:
    """Bytes of an answer in the spool."""
    return os.fstat(spool.fileno()).st_size
