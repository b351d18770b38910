"""Asks a teacher by the batch: gathers calls, sends them together, and waits for hours, kills included.

    gathered ─► written down with a token ─► uploaded, made ─► its id written down ─► looked at
             ─► its files fetched into `batches/` ─► each call takes its own line

Whatever is killed in between, the next run finds the calls among those that wait and takes up where this
one stopped; a call is only put into another batch after the one it was in has ended without an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from janus4o import files
from janus4o.errors import Refused
from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Refusal,
    Unanswered,
    Usage,
    WriteReply,
    WriteRequest,
)
from janus4o.ledger.batches import Batch, Batching, BatchState
from janus4o.ledger.journal import Sent
from janus4o.synth.store import Store

QUIET_SECONDS = 2.0
"""How long nobody must ask for anything more before what is gathered is sent."""
MAX_CALLS, MAX_BYTES = 50_000, 190_000_000
"""Of one batch; OpenAI allows 50,000 and 200 MB."""
FIRST_LOOK, LONGEST_LOOK = 2.0, 60.0
"""Seconds between two looks at a batch; they grow by half each time."""
FINDS = 3
"""How often a batch whose making was not answered is searched for before it counts as not made."""

T = TypeVar("T")
Asked = WriteRequest | PaintRequest
Reply = WriteReply | PaintReply | Refusal


@dataclass(frozen=True, slots=True)
class _Line:
    call: Sent
    endpoint: str
    data: bytes
    token: asyncio.Future[str]


@dataclass(frozen=True, slots=True)
class _Results:
    """What came of a batch: where each request's line lies in the files that were fetched."""

    state: BatchState
    lines: dict[str, tuple[Path, int, int]]

    def line(self, request: str) -> dict[str, Any] | None:
        if request not in self.lines:
            return None
        path, start, length = self.lines[request]
        with path.open("rb") as file:
            file.seek(start)
            found = json.loads(file.read(length))
        return found if isinstance(found, dict) else None


class Desk:
    """The batches of one role.

    Args:
        wait: sleeps so many seconds, and raises Interrupted as soon as the run is to end.

    Attributes:
        waiting: calls that are asked here and not answered.
    """

    def __init__(
        self, role: str, teacher: Batching, store: Store, wait: Callable[[float], Awaitable[None]]
    ) -> None:
        self._role = role
        self._teacher = teacher
        self._store = store
        self._wait = wait
        self._folder = store.folder / "batches"
        self._batches = {batch.token: batch for batch in store.batches() if batch.role == role}
        self._out = {
            call.request: (token, call) for token, call in store.waiting() if token in self._batches
        }
        self.waiting = 0
        self._gathered: list[_Line] = []
        self._last = 0.0
        self._sender: asyncio.Task[None] | None = None
        self._results: dict[str, asyncio.Task[_Results | None]] = {}

    def look_again(self, sample: str) -> None:
        """Takes over what workers that are gone had sent with batches for this sample."""
        for batch in self._store.batches():
            if batch.role == self._role:
                self._batches.setdefault(batch.token, batch)
        for token, call in self._store.waiting(sample):
            if token in self._batches:
                self._out[call.request] = (token, call)

    def takes(self, request: str, asked: Asked) -> bool:
        """Is this request asked here: does it go into a batch, or is it out with one already?"""
        return request in self._out or self._teacher.takes(asked)

    def out(self, request: str) -> Sent | None:
        """The call of this request that went out with a batch of an earlier run and still waits."""
        return self._out[request][1] if request in self._out else None

    async def ask(self, call: Sent, asked: Asked) -> Reply:
        """The answer, hours later.

        Raises:
            Unanswered: none came; the call may then go into another batch.
        """
        self.waiting += 1
        try:
            return await self._answer(call, asked)
        finally:
            self.waiting -= 1

    async def _answer(self, call: Sent, asked: Asked) -> Reply:
        while True:
            known = self._out.pop(call.request, None)
            if known is not None and known[0] in self._batches:
                token = known[0]
            else:
                endpoint, data = self._teacher.line(call.request, asked)
                line = _Line(call, endpoint, data, asyncio.get_running_loop().create_future())
                self._gathered.append(line)
                self._last = time.monotonic()
                if self._sender is None or self._sender.done():
                    self._sender = asyncio.create_task(self._send_when_quiet())
                token = await line.token
            if token not in self._results:
                self._results[token] = asyncio.create_task(self._await(token))
            results = await asyncio.shield(self._results[token])
            if results is not None:
                return await self._teacher.read(results.line(call.request), results.state, asked)

    async def close(self) -> None:
        """Stops waiting, and removes the files of batches nobody waits for any more."""
        tasks = [*self._results.values(), *([self._sender] if self._sender else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._store.flush()
        wanted = {token for token, _ in self._store.waiting()}
        for path in self._folder.glob("*.jsonl"):
            token = path.name.partition("-")[0]
            if token in self._batches and token not in wanted:
                path.unlink(missing_ok=True)
        if not self._store.is_shared:  # else another may be about to write into it
            with contextlib.suppress(OSError):
                self._folder.rmdir()

    # sending

    async def _send_when_quiet(self) -> None:
        while self._gathered:
            full = len(self._gathered) >= MAX_CALLS
            left = self._last + QUIET_SECONDS - time.monotonic()
            if left > 0 and not full:
                try:
                    await self._wait(left)
                except BaseException as stop:
                    for line in self._gathered:
                        _fail(line, stop)
                    self._gathered.clear()
                    raise
                continue
            lines = self._take()
            try:
                token = await self._send(lines)
            except BaseException as failure:
                for line in lines:
                    _fail(line, failure)
                if not isinstance(failure, Unanswered):
                    raise
            else:
                for line in lines:
                    if not line.token.done():
                        line.token.set_result(token)

    def _take(self) -> list[_Line]:
        """The next lines that may go together: of one endpoint, not too many, not too long."""
        taken: list[_Line] = []
        room = MAX_BYTES
        for line in list(self._gathered):
            if line.token.done():  # its sample was given up
                self._gathered.remove(line)
            elif (
                len(taken) < MAX_CALLS
                and (not taken or line.endpoint == taken[0].endpoint)
                and (len(line.data) <= room or not taken)
            ):
                room -= len(line.data)
                taken.append(line)
        sent = {id(line) for line in taken}
        self._gathered = [line for line in self._gathered if id(line) not in sent]
        return taken

    async def _send(self, lines: list[_Line]) -> str:
        """Makes a batch and returns its token.

        Raises:
            Unanswered: it was certainly not made.
        """
        if not lines:
            return ""
        token, endpoint = uuid.uuid4().hex, lines[0].endpoint
        file = await self._teacher.upload(b"".join(line.data for line in lines))
        batch = Batch(token, self._role, endpoint, time.time())
        self._store.begin_batch(batch, [line.call for line in lines])
        self._batches[token] = batch
        try:
            state = await self._teacher.create(endpoint, file, token)
        except Unanswered as failure:
            refused = failure.stop is not None or failure.limited
            found = None if refused else await self._find(batch)
            if found is None:
                self._store.forget_batch(token)
                del self._batches[token]
                # Nothing of it was carried out, whatever became of the connection.
                raise Unanswered(
                    str(failure), Usage(), limited=failure.limited,
                    retry_after=failure.retry_after, stop=failure.stop,
                ) from None  # fmt: skip
            state = found
        self._note(token, state)
        return token

    async def _find(self, batch: Batch) -> BatchState | None:
        """Searches the server for a batch it may have made without our hearing of it."""
        for attempt in range(FINDS):
            await self._wait(min(LONGEST_LOOK, FIRST_LOOK * attempt))
            found = await self._patiently(partial(self._teacher.find, batch.token, batch.created))
            if found is not None:
                return found
        return None

    # waiting

    async def _await(self, token: str) -> _Results | None:
        """What came of a batch; None where it turns out that it was never made."""
        batch, state = self._batches[token], None
        if batch.id is None:
            state = await self._find(batch)
            if state is None:
                self._store.forget_batch(token)
                del self._batches[token], self._results[token]
                return None
            self._note(token, state)
            batch = self._batches[token]
        pause = FIRST_LOOK
        while state is None or not state.ended:
            if state is not None:
                await self._wait(pause)
                pause = min(LONGEST_LOOK, pause * 1.5)
            state = await self._patiently(partial(self._teacher.look, batch.id or ""))
        self._note(token, state)
        lines: dict[str, tuple[Path, int, int]] = {}
        for number, file in enumerate(state.files, 1):
            path = self._folder / f"{token}-{number}.jsonl"
            if not path.is_file():
                await self._patiently(partial(self._fetch, file, path))
            for request, where in _index(path):
                lines.setdefault(request, where)
        return _Results(state, lines)

    async def _fetch(self, file: str, path: Path) -> bool:
        """Writes a file of the server down; all of it or nothing."""
        self._folder.mkdir(exist_ok=True)
        with files.writing(path) as out:
            async for part in self._teacher.fetch(file):
                out.write(part)
        return True

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Asks what costs nothing until there is an answer; raises what no asking can mend."""
        pause = FIRST_LOOK
        while True:
            try:
                return await ask()
            except Unanswered as failure:
                if failure.stop is not None:
                    raise
                await self._wait(max(pause, failure.retry_after or 0.0))
                pause = min(LONGEST_LOOK, pause * 2)

    def _note(self, token: str, state: BatchState) -> None:
        old = self._batches[token]
        self._batches[token] = Batch(
            token, old.role, old.endpoint, old.created, state.id, state.status, state.detail
        )
        self._store.note_batch(token, state)


def _fail(line: _Line, error: BaseException) -> None:
    if line.token.done():
        return
    if isinstance(error, asyncio.CancelledError):
        line.token.cancel()
    elif isinstance(error, Exception):
        line.token.set_exception(error)
    else:
        line.token.set_exception(Refused("the run ended", "run the same command again to go on"))


def _index(path: Path) -> list[tuple[str, tuple[Path, int, int]]]:
    """Where the line of each request is; lines that are not whole are left out."""
    found = []
    with path.open("rb") as file:
        start = 0
        for line in file:
            with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
                found.append((str(json.loads(line)["custom_id"]), (path, start, len(line))))
            start += len(line)
    return found
