"""Shares are met by plan: within a percentage point, or one sample below a hundred, whoever says no."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from janus4o.errors import BudgetStop, Refused
from janus4o.exchange import Refusal, Usage, WriteReply, WriteRequest
from janus4o.ledger import calling
from janus4o.recipe import Recipe, parse
from janus4o.rows import open_rows
from janus4o.sketch.teacher import SketchPainter
from janus4o.synth import runner
from janus4o.synth.checks import Anything
from janus4o.synth.inspection import SketchInspector
from janus4o.synth.runner import Tally, run
from janus4o.synth.sample import ATTEMPTS, Pipeline, name_samples
from janus4o.synth.schedule import Deck, Quota
from janus4o.synth.setting import Setting, setting_of
from janus4o.synth.status import status
from janus4o.synth.targets import LEFT_OPEN, targets

Make = Callable[..., Recipe]
PROMPTS = [
    ("learnable", {}),
    ("learnable", {"category_decay": 0.3, "colour": 0.6, "composition": 0.65, "repeated": 0.6}),
    ("rich", {"category_decay": 0.4, "colour": 0.3}),
    ("open", {"category_decay": 0.7, "colour": 0.3, "background": 0.6, "repeated": 0.2}),
    ("open", {"category_decay": 0.7, "colour": 0.0, "background": 1.0, "repeated": 0.0}),
]


def test_a_quota_never_strays_by_a_whole_term() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 3, 7, 14):
        shares = rng.dirichlet(np.ones(size)) + 0.003
        law, counts, quota = (
            shares / shares.sum(),
            np.zeros(size),
            Quota(dict(enumerate(shares)), rng),
        )
        for n in range(1, 500):
            counts[quota.take()] += 1
            assert np.abs(counts - n * law).max() < 1


def test_what_has_no_share_never_comes() -> None:
    quota = Quota({"a": 1.0, "b": 0.0, "c": 2.0}, np.random.default_rng(1))
    assert Counter(quota.take() for _ in range(30)) == {"a": 10, "c": 20}


def test_a_deck_gives_all_before_any_comes_again() -> None:
    deck = Deck(range(10), np.random.default_rng(2))
    taken = [deck.take() for _ in range(30)]
    assert Counter(taken) == dict.fromkeys(range(10), 3)
    assert taken[:10] != taken[10:20]
    assert deck.take(lambda card: card == 7) == 7
    assert deck.take(lambda card: card == 11) is None
    assert sorted({deck.take() for _ in range(9)}) == [0, 1, 2, 3, 4, 5, 6, 8, 9]


def open_world(name: str, synthesis: dict[str, object], **teachers: object) -> Recipe:
    served = {"api": "openai", "model": "any"}
    given = {"writer": served, "painter": served} if synthesis.get("world") == "open" else {}
    return parse({"name": name, "teachers": {**given, **teachers}, "synthesis": synthesis})


def setting(world: str, prompts: dict[str, float]) -> tuple[Recipe, Setting]:
    synthesis = {"world": world, "shares": "planned", "text_to_image": prompts}
    recipe = open_world("t", synthesis, max_categories=3)
    painter = SketchPainter("rich")
    judge = Anything() if world == "open" else SketchInspector(hold_out=True)
    return recipe, setting_of(recipe, painter, judge)


@pytest.mark.parametrize(("world", "prompts"), PROMPTS)
def test_prompts_keep_to_every_share_from_the_first_to_the_thousandth(
    world: str, prompts: dict[str, float]
) -> None:
    recipe, made = setting(world, prompts)
    assert made.schedule is not None
    names, laws = name_samples(recipe), targets(made)
    for name in ("task", "pipeline", "turn", "document"):
        laws.pop(name, None)
    seen: dict[str, Counter[str]] = {name: Counter() for name in laws}
    for n in range(1, 1001):
        asked = made.schedule.prompt(names.sample(Pipeline.PROMPT_FIRST, (n - 1) * ATTEMPTS))
        made.inspector.allow(asked)  # nothing that is kept for the exam is planned
        things = asked.objects
        values = {
            "kind": [asked.kind],
            "categories": [str(len(things))],
            "objects": [str(sum(thing.count for thing in things))],
            "category": [thing.category for thing in things],
            "colour": [thing.colour or LEFT_OPEN for thing in things],
        }
        for name, law in laws.items():
            seen[name].update(values.get(name) or [getattr(asked, name) or LEFT_OPEN])
            if n > 60 and n % 20:
                continue
            total = seen[name].total()
            # What is counted in several ways at once may be off by a little more than one.
            most = max(1.2 if total < 100 else 1.0, total / 100)
            for value, share in law.items():
                assert abs(seen[name][value] - total * share) <= most, (n, name, value)


def test_a_replacement_asks_for_the_same_and_in_the_end_for_other_objects() -> None:
    recipe, made = setting("open", {"colour": 0.5, "background": 0.8, "repeated": 0.3})
    assert made.schedule is not None
    names = name_samples(recipe)
    for slot in range(12):
        plans = [
            made.schedule.prompt(names.sample(Pipeline.PROMPT_FIRST, slot * ATTEMPTS + attempt))
            for attempt in range(ATTEMPTS)
        ]
        assert plans[1] == plans[0]
        assert len({plan.objects for plan in plans}) > 30
        for plan in plans:
            assert plan.kind == plans[0].kind
            assert [(t.count, t.colour is None) for t in plan.objects] == [
                (t.count, t.colour is None) for t in plans[0].objects
            ]
            assert (plan.style is None) == (plans[0].style is None)


@dataclass
class Picky:
    """Wraps a writer; refuses a share of what is asked in these words."""

    writer: object
    words: str
    share: float
    max_categories: int = 4
    name: str = "sketch-fake"
    refused: int = 0
    asked: list[str] = field(default_factory=list)

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        self.asked.append(request.prompt)
        if self.words in request.prompt:
            rng = np.random.default_rng([request.seed, 9])
            if rng.random() < self.share:
                self.refused += 1
                return Refusal("policy", "no", "fake-writer-1", Usage(cost_usd=0.0))
        reply: WriteReply = await self.writer.write(request)  # type: ignore[attr-defined]
        return reply


TASKS = {
    "inpainting_replacement": 1.0,
    "element_manipulation": 2.0,
    "background_modification": 1.0,
    "attribute_manipulation": 1.5,
}
NO_REPLACEMENTS = "Task: inpainting_replacement"


def planned(make: Make, t2i: int, edits: int, **synthesis: object) -> Recipe:
    recipe = make(
        text_to_image={"count": t2i, "repeated": 0.4},
        editing={"count": edits, "tasks": TASKS},
        shares="planned",
        **synthesis,
    )
    assert recipe.synthesis.planned
    return recipe


def made(folder: Path) -> bytes:
    return (folder / "dataset" / "rows.jsonl").read_bytes()


def shares_are_met(folder: Path, recipe: Recipe) -> None:
    laws = targets(setting_of(recipe, SketchPainter("learnable"), Anything()))
    rows = [json.loads(line)["provenance"] for line in made(folder).splitlines()]
    for pipeline, law in (("prompt_first", laws["kind"]), ("editing", laws["task"])):
        tasks = Counter(row["task"] for row in rows if row["pipeline"] == pipeline)
        most = max(1.2 if tasks.total() < 100 else 1.0, tasks.total() / 100)
        for value, share in law.items():
            assert abs(tasks[value] - tasks.total() * share) <= most, (value, tasks)


@pytest.mark.parametrize("words", [NO_REPLACEMENTS, '"count": 3'])
def test_shares_are_met_although_a_third_of_one_task_is_rejected(
    words: str, tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    recipe = planned(make_recipe, 150, 120, concurrency=7)
    painter, writer = teacher(jitter=5, few=40), Picky(teacher(jitter=3, few=40), words, 0.3)
    run(recipe, tmp_path, writer, painter)
    assert writer.refused > 3
    assert status(tmp_path).reasons["refused: moderation"] > 0
    assert len(made(tmp_path).splitlines()) == 270
    shares_are_met(tmp_path, recipe)


def test_planned_rows_do_not_depend_on_concurrency_stops_or_failures(
    tmp_path: Path, make_recipe: Make, teacher: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.0)
    words = NO_REPLACEMENTS

    def finish(folder: Path, recipe: Recipe, limit: int | None = None, breaks: int = 0) -> bytes:
        painter = teacher(jitter=5, few=40, breaks=breaks)
        run(recipe, folder, Picky(teacher(jitter=3, few=40), words, 0.4), painter, limit=limit)
        return made(folder)

    whole = finish(tmp_path / "a", planned(make_recipe, 40, 30, concurrency=1))
    recipe = planned(make_recipe, 40, 30, concurrency=9)
    assert finish(tmp_path / "b", recipe) == whole
    # Stopped every few rows, and once with a painter that does not answer.
    with pytest.raises(Refused, match="got no answer"):
        finish(tmp_path / "c", recipe, breaks=1)
    for _ in range(70):
        try:
            assert finish(tmp_path / "c", recipe, limit=7) == whole
            break
        except BudgetStop:
            pass
    else:
        pytest.fail("never done")
    # Fewer rows first, and a share of others beside what is there already.
    finish(tmp_path / "d", planned(make_recipe, 11, 7))
    assert finish(tmp_path / "d", recipe) == whole
    assert open_rows(tmp_path / "d").problems == ()


def test_a_task_that_is_always_refused_is_one_clear_line_and_loses_nothing(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    recipe = planned(make_recipe, 20, 60, concurrency=4)
    wanted = {task: share * 60 / sum(TASKS.values()) for task, share in TASKS.items()}
    writer = Picky(teacher(few=40), NO_REPLACEMENTS, 1.0)
    with pytest.raises(Refused) as stopped:
        run(recipe, tmp_path / "a", writer, teacher(refuses=0, few=40))
    said = "inpainting_replacement (refused: policy 64×)"
    assert (
        f"11 of 60 editing rows cannot be had: 64 samples in a row came to nothing for {said}"
        in (stopped.value.message)
    )
    assert "\n" not in str(stopped.value)
    assert writer.refused < 6 * ATTEMPTS  # not for each row of that task
    # Everything else is there.
    kept = made(tmp_path / "a")
    rows = [json.loads(line)["provenance"] for line in kept.splitlines()]
    tasks = Counter(row["task"] for row in rows if row["pipeline"] == "editing")
    assert len(rows) == 69
    assert all(abs(tasks[task] - wanted[task]) < 1 for task in TASKS if task in tasks)
    # Again, it says the same and asks nobody; how many were asked at once makes no difference.
    again = Picky(teacher(few=40), NO_REPLACEMENTS, 1.0)
    with pytest.raises(Refused, match="11 of 60 editing rows cannot be had"):
        run(recipe, tmp_path / "a", again, teacher(refuses=0, few=40))
    assert again.asked == []
    assert made(tmp_path / "a") == kept
    one_by_one = planned(make_recipe, 20, 60, concurrency=1)
    with pytest.raises(Refused, match="11 of 60 editing rows cannot be had"):
        run(one_by_one, tmp_path / "b", writer, teacher(refuses=0, few=40))
    assert made(tmp_path / "b") == kept
    # Other rows can still be had.
    with pytest.raises(Refused, match="cannot be had"):
        run(planned(make_recipe, 25, 60), tmp_path / "a", again, teacher(refuses=0, few=40))
    assert len(made(tmp_path / "a").splitlines()) == 74


def test_a_run_ends_where_nothing_is_left_to_ask_for(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    edits = {"count": 3, "tasks": {"inpainting_replacement": 1.0}}
    recipe = make_recipe(2, editing=edits, shares="planned", concurrency=2)
    writer = Picky(teacher(few=40), NO_REPLACEMENTS, 1.0)
    with pytest.raises(Refused, match="3 of 3 editing rows cannot be had"):
        run(recipe, tmp_path, writer, teacher(refuses=0, few=40))
    assert len(made(tmp_path).splitlines()) == 2


@dataclass
class Scripted:
    """Wraps a writer; what it does with a sample is said by the seed it is asked with.

    Attributes:
        refused, failed: seeds that bring a refusal, or no answer.
        waits: seed → what must have happened before it is answered.
    """

    writer: object
    refused: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    waits: dict[int, asyncio.Event] = field(default_factory=dict)
    max_categories: int = 4
    name: str = "sketch-fake"
    answered: list[int] = field(default_factory=list)

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        seed = request.seed
        if seed in self.waits:
            await self.waits[seed].wait()
        self.answered.append(seed)
        if seed in self.failed:
            raise ConnectionError("reset by peer")
        if seed in self.refused:
            return Refusal("policy", "no", "fake-writer-1", Usage(cost_usd=0.0))
        reply: WriteReply = await self.writer.write(request)  # type: ignore[attr-defined]
        return reply


@pytest.mark.parametrize("late", [False, True])
def test_what_was_made_of_a_task_that_is_given_up_keeps_no_other_row_from_being_made(
    late: bool,
    tmp_path: Path,
    make_recipe: Make,
    teacher: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The task of the first slot is given up when samples of it have ended further behind, or when
    one has yet to end; then the last slot of the other task needs a second sample.
    """
    monkeypatch.setattr(runner, "REPORT_SECONDS", 0.0)
    tasks = {"element_manipulation": 1.0, "attribute_manipulation": 1.0}
    recipe = make_recipe(0, editing={"count": 6, "tasks": tasks}, shares="planned", concurrency=6)
    names, schedule = name_samples(recipe), setting_of(recipe, teacher(), Anything()).schedule
    assert schedule is not None

    def seed(slot: int, attempt: int = 0) -> int:
        return names.sample(Pipeline.EDITING, slot * ATTEMPTS + attempt).stage_seed("write")

    slots = [schedule.edit(names.sample(Pipeline.EDITING, n * ATTEMPTS)).name for n in range(6)]
    behind = slots.index(slots[0], 1)
    last = max(n for n in range(6) if slots[n] != slots[0])
    assert behind < last
    given_up, ended = asyncio.Event(), asyncio.Event()
    writer = Scripted(
        teacher(few=40),
        refused={seed(last), *(seed(0, attempt) for attempt in range(ATTEMPTS))},
        waits={seed(last): ended} | ({seed(behind): given_up} if late else {}),
    )

    def progress(tally: Tally) -> None:
        if tally.ends.get("refused: policy", 0) >= ATTEMPTS:
            given_up.set()
            if seed(behind) in writer.answered:
                ended.set()

    def finish() -> list[str]:
        with pytest.raises(Refused, match="3 of 6 editing rows cannot be had"):
            run(recipe, tmp_path, writer, teacher(refuses=0, few=40), progress)
        return [json.loads(line)["provenance"]["task"] for line in made(tmp_path).splitlines()]

    assert finish() == [slots[last]] * 3
    writer.answered.clear()
    assert finish() == [slots[last]] * 3
    assert writer.answered == []


@pytest.mark.parametrize("state", ["painted", "failed"])
def test_answers_to_a_sample_behind_one_that_failed_are_used_again(
    state: str,
    tmp_path: Path,
    make_recipe: Make,
    teacher: type,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first sample of a slot got no answer, and the run was killed over the second one."""
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.0)
    recipe = make_recipe(3, 0, shares="planned")
    first = name_samples(recipe).sample(Pipeline.PROMPT_FIRST, 0).stage_seed("write")

    def finish(folder: Path, writer: Scripted) -> tuple[bytes, dict[str, int], list[str]]:
        painter = teacher(refuses=0, few=40)
        ends = run(recipe, folder, writer, painter).tally.ends
        return made(folder), ends, painter.asked

    whole, _, _ = finish(tmp_path / "whole", Scripted(teacher(few=40), refused={first}))
    finish(tmp_path / "cut", Scripted(teacher(few=40), failed={first}))
    with sqlite3.connect(tmp_path / "cut" / "store.sqlite") as store:
        store.execute('UPDATE samples SET state = ?, "row" = NULL WHERE number = 1', (state,))
        store.execute("DELETE FROM facts WHERE name = 'finished'")
    writer = Scripted(teacher(few=40), refused={first})
    rows, ends, painted = finish(tmp_path / "cut", writer)
    assert rows == whole
    assert ends == {"refused: policy": 1}
    assert writer.answered == [first]
    assert painted == []


def test_only_the_learnable_world_draws_unless_it_is_told(make_recipe: Make) -> None:
    drawn = make_recipe()
    assert not drawn.synthesis.planned
    assert "shares" not in drawn.content()["synthesis"]
    for recipe in (make_recipe(world="rich"), make_recipe(shares="planned")):
        assert recipe.synthesis.planned
        assert recipe.content()["synthesis"]["shares"] == "planned"
    assert make_recipe(world="rich", shares="drawn").content() == {
        **make_recipe(world="rich").content(),
        "synthesis": {
            key: value
            for key, value in make_recipe(world="rich").content()["synthesis"].items()
            if key != "shares"
        },
    }


def test_documents_and_edits_keep_to_their_shares() -> None:
    synthesis = {
        "world": "open",
        "document": {"count": 10, "types": {"slide": 3, "poster": 1, "paper": 0}},
        "editing": {
            "count": 10,
            "two_sources": 0.25,
            "tasks": {"element_manipulation": 3, "from_line_art": 1},
            "conditions": {"sketch": 1, "edges": 2},
        },
    }
    recipe = open_world("t", synthesis)
    made = setting_of(recipe, SketchPainter("rich"), Anything())
    assert made.schedule is not None
    names, n = name_samples(recipe), 240
    pages = [
        made.schedule.page(names.sample(Pipeline.DOCUMENT, slot * ATTEMPTS)) for slot in range(n)
    ]
    edits = [
        made.schedule.edit(names.sample(Pipeline.EDITING, slot * ATTEMPTS)) for slot in range(n)
    ]
    assert Counter(page.type for page in pages) == {"slide": 180, "poster": 60}
    themes = Counter(page.theme for page in pages)
    assert max(themes.values()) - min(themes.values()) <= 1
    assert Counter((edit.name, edit.two_sources, edit.condition) for edit in edits) == {
        ("element_manipulation", True, ""): 45,
        ("element_manipulation", False, ""): 135,
        ("from_line_art", False, "sketch"): 20,
        ("from_line_art", False, "edges"): 40,
    }
