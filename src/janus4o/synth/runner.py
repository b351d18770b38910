"""Runs synthesis: many samples at once, kept in the order of their numbers.

Samples are made in any order but accepted strictly by index, because whether one is a duplicate
depends on those before it. The data set is therefore the first accepted samples by index,
whatever the concurrency was and however often the run was killed.

With planned shares every row is a slot with numbers for several attempts. A sample that comes to
nothing is followed by the next of its slot, and the slots after it wait to be decided.

Several workers may do this at once on a store they share (`synth.shared`): each goes through the same
numbers, makes the samples nobody has, looks how those of others ended, and decides for itself.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from janus4o import files
from janus4o.errors import BudgetStop, Interrupted, Janus4oError, Refused
from janus4o.exchange import Painter, Writer
from janus4o.ledger.batches import Batching
from janus4o.ledger.calling import AGAIN, GONE_SECONDS, MAX_FAILED
from janus4o.ledger.journal import Spend
from janus4o.ledger.prices import Priced
from janus4o.recipe import Recipe, Server, keep
from janus4o.rows import ROWS_FILE
from janus4o.synth.batches import Desk
from janus4o.synth.calls import Calls, Teachers
from janus4o.synth.checks import Anything, Inspector
from janus4o.synth.dataset import accepted, write_dataset
from janus4o.synth.pipelines import document, editing, image_first, prompt_first
from janus4o.synth.sample import (
    TURNS,
    CallFailed,
    Pipeline,
    Rejected,
    Sample,
    Standing,
    State,
    TeacherRefused,
    attempts,
    content_of,
    in_turns,
    name_samples,
)
from janus4o.synth.setting import Made, Setting, setting_of
from janus4o.synth.shared import is_shared, open_store
from janus4o.synth.store import Store, Taken

MAKERS = {
    Pipeline.PROMPT_FIRST: prompt_first.make,
    Pipeline.IMAGE_FIRST: image_first.make,
    Pipeline.DOCUMENT: document.make,
    **dict.fromkeys(TURNS, editing.make),
}
MAX_BARREN = 1000
"""Samples in a row that may come to nothing before the run is stopped; with planned shares, what a
slot asked for is given up long before."""
REPORT_SECONDS = 0.1
LOOK_SECONDS = 0.5
"""How often a worker looks how the samples of others ended."""
TICK_SECONDS = 5.0
"""How often a run looks up although nothing ended: with batches, hours may pass."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How a run stands.

    Attributes:
        accepted: rows so far, by pipeline (name → count).
        wanted: rows asked for.
        made: rows accepted by this call of `run`.
        calls: made to teachers by this call of `run`.
        ends: how the samples that came to nothing ended: "rejected: shows_prompt" → count.
        in_batches: calls that wait for a batch.
    """

    accepted: dict[str, int]
    wanted: dict[str, int]
    made: int
    calls: int
    ends: dict[str, int]
    spent_usd: float
    in_batches: int = 0

    @property
    def done(self) -> int:
        return sum(self.accepted.values())

    @property
    def total(self) -> int:
        return sum(self.wanted.values())


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a finished run has."""

    folder: Path
    tally: Tally
    spend: Spend
    seconds: float


Progress = Callable[[Tally], None]


def wanted_rows(recipe: Recipe) -> dict[Pipeline, int]:
    """Rows a recipe wants, by pipeline, in the order they are made: edits last, turn by turn."""
    edits = in_turns(recipe.synthesis.editing)
    return {
        Pipeline.PROMPT_FIRST: recipe.synthesis.text_to_image.count,
        **{
            pipeline: count
            for pipeline, count in (
                (Pipeline.IMAGE_FIRST, recipe.synthesis.image_first.count),
                (Pipeline.DOCUMENT, recipe.synthesis.document.count),
            )
            if count
        },
        Pipeline.EDITING: edits[0],
        **{turn: n for turn, n in zip(TURNS[1:], edits[1:], strict=False) if n},
    }


def run(
    recipe: Recipe,
    folder: str | Path,
    writer: Writer,
    painter: Painter,
    progress: Progress | None = None,
    *,
    inspector: Inspector | None = None,
    judge: Writer | None = None,
    limit: int | None = None,
) -> Outcome:
    """Makes the rows a recipe wants, going on where an earlier run stopped.

    Args:
        progress: called now and then, and at the end.
        inspector: tells what pictures show; None accepts any sound picture.
        judge: scores them; needed where the recipe names one.
        limit: stop after so many further rows.

    Raises:
        FolderBusy: another run holds the folder; those that share its store may.
        RecipeError: the recipe asks for an editing task that does not exist or cannot be done.
        RecipeChanged: the folder was made by a recipe with other content.
        BudgetStop: money or `limit` reached.
        Interrupted: Ctrl-C or SIGTERM; what was in flight is finished first.
        Refused: the teachers give nothing more that can be accepted.
    """
    folder = Path(folder)
    # Before the folder is bound to the recipe: one that makes no sense must leave no trace.
    setting = setting_of(recipe, painter, inspector or Anything())
    with files.lock(folder, shared=is_shared(folder, recipe.store)):
        store = open_store(folder, recipe.store)
        try:
            with store.alone("recipe"):
                store.claim(content_of(recipe))
                keep(
                    recipe, folder,
                    "name", "output", "seed", "store", "teachers", "synthesis", "checks",
                )  # fmt: skip
            store.join()
            return _Run(recipe, setting, store, writer, painter, judge, progress, limit).run()
        finally:
            store.close()


@dataclass(slots=True)
class _Queue:
    """The samples of one pipeline between being issued and being decided.

    Attributes:
        waiting: ended but undecided, because one before it has not ended.
        unfinished: known from earlier runs, to be taken up again.
        behind: begun by earlier runs behind one of these in its slot: taken up if that comes to
            nothing.
        undecided: index of the first sample not decided yet.
        issued: index of the next sample to start where none is to be taken up or replaced.
        in_flight: started and not ended.
        ends: how the samples since the last accepted one came to nothing.
        attempts: samples a slot has.
        given_up: what a slot asked for whose samples all came to nothing → why. Slots behind it that
            ask for that are left empty, whatever became of samples of theirs.
        missing: how many slots are empty.
        last: index of the last accepted sample.
        elsewhere: samples other workers have, as far as is known here.
        theirs: samples that others made.
    """

    pipeline: Pipeline
    wanted: int
    attempts: int
    waiting: dict[int, Standing] = field(default_factory=dict)
    unfinished: set[int] = field(default_factory=set)
    behind: set[int] = field(default_factory=set)
    seen: set[object] = field(default_factory=set)
    undecided: int = 0
    issued: int = 0
    in_flight: int = 0
    accepted: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    given_up: dict[str, str] = field(default_factory=dict)
    missing: int = 0
    last: int = -1
    elsewhere: set[int] = field(default_factory=set)
    theirs: set[int] = field(default_factory=set)

    @property
    def is_full(self) -> bool:
        """Everything that is wanted is decided."""
        return self.accepted + self.missing >= self.wanted

    def slot_after(self, index: int) -> int:
        """The first index of the slot behind that of a sample."""
        return (index // self.attempts + 1) * self.attempts

    def replace(self, index: int) -> None:
        """A sample came to nothing: the next one of its slot takes its place."""
        following = index + 1
        while following % self.attempts and following in self.waiting:
            following += 1
        if following % self.attempts:
            self.unfinished.add(following)

    def leave_empty(self) -> None:
        """Passes over the slot that is to be decided: what is there of it is no row."""
        following = self.slot_after(self.undecided)
        for index in range(self.undecided, following):
            self.waiting.pop(index, None)
        self.undecided = following

    def hopeful_before(self, index: int, own: bool = False) -> int:
        """Samples that may still be accepted before the one at `index` must be started; `own` are
        those of this worker.
        """
        return (
            (0 if own else len(self.elsewhere))
            + self.in_flight
            + sum(
                s.state is State.CHECKED and number < index and not (own and number in self.theirs)
                for number, s in self.waiting.items()
            )
        )

    def kept_before(self, index: int) -> int:
        """Accepted samples that wait behind one that is made again, as far as `index`."""
        return sum(
            s.state is State.ACCEPTED and number < index for number, s in self.waiting.items()
        )


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        setting: Setting,
        store: Store,
        writer: Writer,
        painter: Painter,
        judge: Writer | None,
        progress: Progress | None,
        limit: int | None,
    ) -> None:
        self._recipe, self._names = recipe, name_samples(recipe)
        self._wanted = wanted_rows(recipe)
        self._setting = setting
        self._concurrency = recipe.synthesis.concurrency
        self._store = store
        self._progress = progress
        self._limit = limit
        self._stop: Janus4oError | None = None
        self._ends: Counter[str] = Counter()
        self._accepted: dict[str, int] = {p.value: 0 for p in self._wanted}
        self._made = 0
        self._reported = 0.0
        self._looked = 0.0
        self._began = time.monotonic()
        self._teachers = Teachers(
            writer, painter, recipe.teachers.size, store,
            store.budget(recipe.synthesis.budget_usd), {},
            judge=judge,
        )  # fmt: skip
        self._teachers.paces = {
            role: store.pace(role, server.limits, self._concurrency, self._teachers.stopping.wait)
            for role in ("writer", "painter", "judge")
            if isinstance(server := getattr(recipe.teachers, role), Server)
        }

        self._teachers.desks = {
            role: Desk(role, teacher, store, self._teachers.stopping.wait)
            for role, teacher in self._teachers.roles.items()
            if isinstance(teacher, Batching)  # also where only batches of an earlier run are out
        }

    def run(self) -> Outcome:
        finished = {pipeline.value: count for pipeline, count in self._wanted.items()}
        is_finished = (
            self._store.fact("finished") == finished and (self._store.folder / ROWS_FILE).is_file()
        )
        queues = [self._load(pipeline) for pipeline in self._wanted]
        if not is_finished:
            self._store.state_fact("finished", None)
            begun = {
                self._names.sample(queue.pipeline, index).id
                for queue in queues
                for index in queue.unfinished | queue.behind
            }
            if not self._store.is_shared:  # there, whatever is taken up is recalled when it is
                self._teachers.recall(a for a in self._store.attempts() if a.sample in begun)
            is_finished = False
            try:
                asyncio.run(self._fill_all(queues))
                is_finished = True
            finally:
                # Also after a stop or a fault: what is accepted must be there to look at.
                with self._store.alone("data set"):
                    write_dataset(self._store, self._wanted)
                    self._report(last=True)
                    if is_finished:
                        self._store.state_fact("finished", finished)
        else:
            self._report(last=True)
        seconds = time.monotonic() - self._began
        return Outcome(self._store.folder, self._tally(), self._store.spend(), seconds)

    def _load(self, pipeline: Pipeline) -> _Queue:
        """Takes up what earlier runs left."""
        queue = _Queue(pipeline, self._wanted[pipeline], attempts(self._recipe, pipeline))
        slots: dict[int, list[Standing]] = {}
        for standing in self._store.standings(pipeline):
            index = standing.sample.index
            queue.issued = queue.slot_after(index)
            queue.waiting[index] = standing
            slots.setdefault(index // queue.attempts, []).append(standing)
            if standing.state is State.ACCEPTED:
                queue.seen.add(standing.fingerprint)
        for slot in range(queue.issued // queue.attempts):
            self._take_up(queue, slot, slots.get(slot, []))
        self._decide(queue)
        return queue

    def _take_up(self, queue: _Queue, slot: int, known: list[Standing]) -> None:
        """Says which sample of a slot must be made, if one must."""
        if not known:  # it was begun after one that left no trace
            queue.unfinished.add(slot * queue.attempts)
            return
        states = [standing.state for standing in known]
        if State.CHECKED in states or State.ACCEPTED in states:
            return
        ended = {State.REJECTED, State.REFUSED}
        if self._store.is_shared:  # what had failed before this run is planned again
            ended.add(State.FAILED)
        begun = [standing.sample.index for standing in known if standing.state not in ended]
        for index in begun:
            del queue.waiting[index]
        if begun:
            queue.unfinished.add(begun[0])
            queue.behind.update(begun[1:])
        else:
            queue.replace(known[-1].sample.index)

    async def _fill_all(self, queues: list[_Queue]) -> None:
        with self._signals():
            try:
                for queue in queues:
                    if queue.pipeline in TURNS:
                        rows = self._pictures_to_edit(queue.pipeline)
                        self._setting = replace(self._setting, rows=rows)
                    await self._fill(queue)
                for queue in queues:
                    self._stop = self._stop or self._shortage(queue)
            finally:
                for desk in self._teachers.desks.values():
                    await desk.close()
                for teacher in self._teachers.roles.values():
                    if isinstance(teacher, Priced):
                        await teacher.close()
        if self._stop is not None:
            raise self._stop

    def _pictures_to_edit(self, turn: Pipeline) -> tuple[Made, ...]:
        """The run's own pictures that are edited: of text-to-image rows, where the recipe says so,
        and in later turns of the edits before.
        """
        number = TURNS.index(turn)
        if number == 0 and self._setting.editing.sources != "rows":
            return ()
        sources = [TURNS[number - 1]] if number else [p for p in self._wanted if p not in TURNS]
        self._store.flush()
        return tuple(
            Made(one.sample.id, one.row.output_image)
            for pipeline in sources
            for one in accepted(self._store, pipeline, self._wanted[pipeline])
            if one.row is not None
        )

    async def _fill(self, queue: _Queue) -> None:
        """Keeps samples in flight until enough are accepted or something says stop."""
        tasks: set[asyncio.Task[Standing]] = set()
        try:
            while True:
                while len(tasks) < self._concurrency and (sample := self._next(queue)) is not None:
                    tasks.add(asyncio.create_task(self._make(sample)))
                    queue.in_flight += 1
                others = queue.elsewhere and not queue.is_full and self._stop is None
                if not tasks and not others:
                    return
                if self._stop is not None:
                    self._teachers.stopping.set()
                gone = self._teachers.gone
                if tasks:
                    tick = LOOK_SECONDS if others else TICK_SECONDS
                    ended, tasks = await asyncio.wait(
                        tasks,
                        timeout=GONE_SECONDS if gone else tick,
                        return_when=asyncio.ALL_COMPLETED if gone else asyncio.FIRST_COMPLETED,
                    )
                    self._end(queue, ended)
                else:
                    await asyncio.sleep(LOOK_SECONDS)
                self._look(queue)
                self._decide(queue)
                self._store.flush_if_due()
                self._report()
                if gone:  # what has not ended by now is cancelled, and listed as maybe billed
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._store.flush()

    def _next(self, queue: _Queue) -> Sample | None:
        """The sample to start, if one is needed and nobody else has it."""
        while (sample := self._first(queue)) is not None:
            match self._store.take(sample):
                case Taken.NEW:
                    break
                case Taken.AGAIN:
                    self._teachers.recall(self._store.attempts_of(sample))
                    for desk in self._teachers.desks.values():
                        desk.look_again(sample.id)
                    break
                case Taken.THEIRS:
                    queue.elsewhere.add(sample.index)
        return sample

    def _first(self, queue: _Queue) -> Sample | None:
        """The first sample that is needed; never more than could all be accepted."""
        index, end = min(queue.unfinished, default=queue.issued), queue.wanted * queue.attempts
        while index < end and self._is_given_up(queue, index):
            queue.unfinished.discard(index)
            queue.issued = max(queue.issued, queue.slot_after(index))
            index = min(queue.unfinished, default=queue.issued)
        if queue.attempts > 1 and index >= end:
            return None
        needed = queue.wanted - queue.accepted - queue.missing - queue.kept_before(index)
        if self._stop is not None or queue.hopeful_before(index) >= needed:
            return None
        own = queue.hopeful_before(index, own=True)
        if self._limit is not None and own >= self._limit - self._made:
            return None
        queue.unfinished.discard(index)
        queue.issued = max(queue.issued, queue.slot_after(index))
        return self._names.sample(queue.pipeline, index)

    async def _make(self, sample: Sample) -> Standing:
        """Takes one sample to its end."""
        calls = Calls(sample, self._teachers)
        calls.reach(State.LEASED)
        try:
            row = await MAKERS[sample.pipeline](sample, calls, self._setting)
        except Rejected as no:
            return Standing(sample, State.REJECTED, str(no))
        except TeacherRefused as no:
            return Standing(sample, State.REFUSED, str(no))
        except CallFailed as error:
            return Standing(sample, State.FAILED, str(error))
        return Standing(sample, State.CHECKED, row=row)

    def _end(self, queue: _Queue, tasks: set[asyncio.Task[Standing]]) -> None:
        standings = []
        for task in tasks:
            queue.in_flight -= 1
            error = task.exception()
            if error is None:
                standings.append(task.result())
            elif isinstance(error, Janus4oError):
                self._stop = self._stop or error
            else:
                raise error
        self._store.end(standings)
        for standing in standings:
            self._put(queue, standing)
            if standing.state is not State.FAILED:
                queue.failed = 0
                continue
            queue.failed += 1
            if queue.failed >= MAX_FAILED:
                self._stop = self._stop or Refused(
                    f"{MAX_FAILED} samples in a row got no answer; the last: {standing.reason}",
                    f"see to the teacher, then {AGAIN}",
                )

    def _put(self, queue: _Queue, standing: Standing) -> None:
        """A sample has ended, here or elsewhere."""
        index = standing.sample.index
        if index >= queue.undecided:  # or its slot was left empty meanwhile
            queue.waiting[index] = standing
            if standing.state not in (State.CHECKED, State.ACCEPTED):
                queue.replace(index)

    def _look(self, queue: _Queue) -> None:
        """Takes in how the samples of others ended."""
        if not queue.elsewhere or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        news = self._store.look(queue.pipeline, queue.elsewhere)
        for standing in news.ended:
            queue.elsewhere.discard(standing.sample.index)
            queue.theirs.add(standing.sample.index)
            self._put(queue, standing)
            if standing.state is State.ACCEPTED:
                queue.seen.add(standing.fingerprint)
        queue.elsewhere.difference_update(news.free)
        queue.unfinished.update(news.free)
        self._looked = time.monotonic()

    def _decide(self, queue: _Queue) -> None:
        """Accepts or rejects, in the order of the indices, as far as there is no gap."""
        while queue.accepted + queue.missing < queue.wanted:
            if self._is_given_up(queue, queue.undecided):
                queue.missing += 1
                queue.leave_empty()
                continue
            if queue.undecided not in queue.waiting:
                break
            standing = queue.waiting.pop(queue.undecided)
            queue.undecided += 1
            if standing.state is State.CHECKED:
                standing = self._resolve(queue, standing)
                self._store.update(standing)
                own = standing.sample.index not in queue.theirs
                self._made += own and standing.state is State.ACCEPTED
                if standing.state is State.REJECTED:
                    queue.replace(standing.sample.index)
            if standing.state is State.ACCEPTED:
                queue.accepted += 1
                queue.ends.clear()
                queue.last = standing.sample.index
                queue.undecided = queue.slot_after(standing.sample.index)
                continue
            end = f"{standing.state.value}: {standing.reason.partition(':')[0]}"
            queue.ends[end] += 1
            self._ends[end] += 1
            if queue.attempts > 1 and queue.undecided % queue.attempts == 0:
                queue.given_up[self._asked(queue, standing.sample.index)] = _most(queue.ends)
                queue.missing += 1
                queue.ends.clear()
        self._accepted[queue.pipeline.value] = queue.accepted
        barren = queue.ends.total()
        if barren >= MAX_BARREN and queue.accepted + queue.missing < queue.wanted:
            self._stop = self._stop or Refused(
                f"{barren} {queue.pipeline.value} samples in a row came to nothing "
                f"({_most(queue.ends)})",
                "ask for fewer rows or for more variety",
            )
        elif self._limit is not None and self._made >= self._limit:
            short = any(self._accepted[p.value] < count for p, count in self._wanted.items())
            if short:
                self._stop = self._stop or BudgetStop(
                    f"the limit of {self._limit} further rows is reached", AGAIN
                )

    def _resolve(self, queue: _Queue, standing: Standing) -> Standing:
        if standing.fingerprint in queue.seen:
            reason = "duplicate: the same text and pictures as an earlier row"
            return Standing(standing.sample, State.REJECTED, reason, standing.row)
        if self._pairs(queue) and standing.sample.index % 2 and queue.last % 2:
            reason = "pair: the same picture painted anew is no row"
            return Standing(standing.sample, State.REJECTED, reason, standing.row)
        queue.seen.add(standing.fingerprint)
        return Standing(standing.sample, State.ACCEPTED, "", standing.row)

    def _pairs(self, queue: _Queue) -> bool:
        """Whether each original follows the same picture painted anew, half of either."""
        both = self._setting.image_first.keep == "both"
        return self._recipe.synthesis.planned and both and queue.pipeline is Pipeline.IMAGE_FIRST

    def _asked(self, queue: _Queue, index: int) -> str:
        """What the slot of a sample is to be."""
        schedule = self._setting.schedule
        return schedule.asked(self._names.sample(queue.pipeline, index)) if schedule else ""

    def _is_given_up(self, queue: _Queue, index: int) -> bool:
        """Whether the slot of a sample is left empty."""
        return bool(queue.given_up) and self._asked(queue, index) in queue.given_up

    def _shortage(self, queue: _Queue) -> Refused | None:
        """Says which shares could not be met."""
        if not queue.missing:
            return None
        what = "; ".join(f"{asked} ({ends})" for asked, ends in queue.given_up.items())
        return Refused(
            f"{queue.missing} of {queue.wanted} {queue.pipeline.value} rows cannot be had: "
            f"{queue.attempts} samples in a row came to nothing for {what}",
            "all other rows are there; make another run without these, or ask another teacher",
        )

    def _tally(self) -> Tally:
        wanted = {pipeline.value: count for pipeline, count in self._wanted.items()}
        return Tally(
            dict(self._accepted), wanted, self._made, self._teachers.calls,
            dict(self._ends), self._teachers.budget.spent_usd,
            sum(desk.waiting for desk in self._teachers.desks.values()),
        )  # fmt: skip

    def _report(self, last: bool = False) -> None:
        now = time.monotonic()
        if self._progress is not None and (last or now - self._reported >= REPORT_SECONDS):
            self._reported = now
            self._progress(self._tally())

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM lets what is in flight end; the second stops at once."""
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()

        def heard() -> None:
            if self._stop is None:
                self._stop = Interrupted("stopped; everything finished is kept", AGAIN)
                self._teachers.stopping.set()
            elif main is not None:
                main.cancel()

        before = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.getsignal(number)
                loop.add_signal_handler(number, heard)
        except (ValueError, NotImplementedError, RuntimeError):
            before.clear()  # not the main thread: whoever runs it hears the signals
        try:
            yield
        except asyncio.CancelledError:
            raise self._stop or Interrupted("stopped", AGAIN) from None
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)


def _most(ends: Counter[str]) -> str:
    return ", ".join(f"{end} {n}×" for end, n in ends.most_common(3))
