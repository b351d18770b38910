"""The data set depends on the recipe alone: not on concurrency, kills, interruptions or budget."""

import asyncio
import contextlib
import io
import os
import random
import signal
import sqlite3
import time
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import event
from sqlalchemy.engine import Engine

from janus4o import files
from janus4o.errors import BudgetStop, FolderBusy, Interrupted, RecipeChanged, Refused
from janus4o.exchange import PaintReply, PaintRequest, Picture
from janus4o.ledger import calling
from janus4o.ledger.prices import Price
from janus4o.recipe import Recipe
from janus4o.rows import open_rows
from janus4o.synth import runner
from janus4o.synth.runner import Outcome, run
from janus4o.synth.status import status

from .conftest import result

Make = Callable[..., Recipe]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def finish(folder: Path, recipe: Recipe, teacher: object) -> tuple[bytes, dict[str, bytes]]:
    run(recipe, folder, teacher, teacher)
    return result(folder)


def in_child(work: Callable[[], object]) -> int:
    """Starts `work` in a forked process that ends with its exit code; returns the pid."""
    pid = os.fork()
    if pid == 0:
        code = 77
        try:
            work()
            code = 0
        except Interrupted:
            code = 6
        finally:
            os._exit(code)
    return pid


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_rows_do_not_depend_on_concurrency(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    first = finish(tmp_path / "a", make_recipe(40, 25, concurrency=1), teacher())
    second = finish(tmp_path / "b", make_recipe(40, 25, concurrency=9), teacher(jitter=7))
    assert first == second
    assert len(first[0].splitlines()) == 65
    ends = status(tmp_path / "a").reasons
    assert ends["rejected: duplicate"] > 0
    assert ends["refused: moderation"] > 0


def test_a_finished_run_asks_and_changes_nothing(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    finish(tmp_path, make_recipe(), teacher())
    before = (tmp_path / "dataset" / "rows.jsonl").stat().st_mtime_ns
    again = teacher()
    outcome = run(make_recipe(), tmp_path, again, again)
    assert again.asked == []
    assert outcome.tally.made == 0
    assert outcome.tally.done == 10
    assert (tmp_path / "dataset" / "rows.jsonl").stat().st_mtime_ns == before


def test_raising_a_count_keeps_the_rows_and_lowering_it_takes_the_first(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    small = finish(tmp_path / "a", make_recipe(6, 4), teacher())
    more = teacher()
    large = finish(tmp_path / "a", make_recipe(15, 9), more)
    assert large == finish(tmp_path / "b", make_recipe(15, 9), teacher())
    assert len(more.asked) < len(teacher().asked) + 200
    kept, grown = small[0].splitlines(), large[0].splitlines()
    assert grown[:6] == kept[:6]
    assert grown[15:19] == kept[6:]
    assert finish(tmp_path / "a", make_recipe(6, 4), teacher()) == small


def test_another_recipe_in_the_folder_is_refused_by_key(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    finish(tmp_path, make_recipe(), teacher())
    other = make_recipe(world="rich", text_to_image={"count": 6, "colour": 0.5})
    with pytest.raises(RecipeChanged) as refused:
        run(other, tmp_path, teacher(), teacher())
    assert 'synthesis.world: "learnable" → "rich"' in refused.value.message
    assert "synthesis.text_to_image.colour: 0.75 → 0.5" in refused.value.message
    assert "seed" not in refused.value.message
    run(make_recipe(concurrency=1, budget_usd=3.0), tmp_path, teacher(), teacher())


def test_a_busy_folder_is_refused(tmp_path: Path, make_recipe: Make, teacher: type) -> None:
    async def paint(request: PaintRequest) -> PaintReply:
        pid = in_child(lambda: run(make_recipe(), tmp_path, teacher(), teacher()))
        codes.append(wait(pid))
        raise FolderBusy("seen")

    codes: list[int] = []
    one = teacher()
    one.paint = paint
    with pytest.raises(FolderBusy, match="seen"):
        run(make_recipe(1, 0, concurrency=1), tmp_path, teacher(), one)
    assert codes == [77]
    with files.lock(tmp_path):
        pass


# kills


def crash_at(step: int) -> None:
    """Makes this process die at its `step`-th durable operation, before or after it."""
    left = step

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(9)

    def guarded(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            count()
            out = real(*args)
            count()
            return out

        return call

    os.replace = guarded(os.replace)  # type: ignore[assignment]
    os.fsync = guarded(os.fsync)  # type: ignore[assignment]
    os.mkdir = guarded(os.mkdir)  # type: ignore[assignment]
    event.listen(Engine, "commit", lambda _connection: count())


@pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.stress)])
@pytest.mark.parametrize("shares", ["drawn", pytest.param("planned", marks=pytest.mark.stress)])
def test_a_crash_at_any_point_pays_nothing_twice_but_what_was_in_flight(
    tmp_path: Path, make_recipe: Make, teacher: type, stride: int, shares: str
) -> None:
    """Free samples are killed at every system call in tests/survival."""
    cost = 0.01
    recipe = make_recipe(2, 2, concurrency=2, shares=shares)
    unkilled = teacher(cost_usd=cost)
    expected = finish(tmp_path / "whole", recipe, unkilled)
    step, code = 1, 9
    while code == 9:
        folder, log = tmp_path / f"at{step}", tmp_path / f"asked{step}"

        def work(folder: Path = folder, log: Path = log, step: int = step) -> None:
            crash_at(step)
            one = teacher(cost_usd=cost)
            one.asked = _Log(log)
            run(recipe, folder, one, one)

        code = wait(in_child(work))
        assert code in (9, 0)
        resumed = teacher(cost_usd=cost)
        assert finish(folder, recipe, resumed) == expected, f"crash at step {step}"
        assert not list((folder / "blobs").glob("*/.*.part"))
        before = log.read_text().split() if log.exists() else []
        repeated = set(before) & set(resumed.asked)
        assert len(repeated) <= 2, f"crash at step {step}: paid twice beyond what was in flight"
        assert set(before) | set(resumed.asked) == set(unkilled.asked)
        step += 1 if step < 12 else stride
    assert step > 20


class _Log(list[str]):
    """A list of what was asked that survives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: str) -> None:
        with self._path.open("a") as file:
            file.write(line + "\n")


@pytest.mark.parametrize("kills", [12, pytest.param(300, marks=pytest.mark.stress)])
@pytest.mark.parametrize(("shares", "few"), [("drawn", 2), ("planned", 50)])
def test_kills_at_random_instants_change_nothing(
    tmp_path: Path,
    make_recipe: Make,
    teacher: type,
    monkeypatch: pytest.MonkeyPatch,
    kills: int,
    shares: str,
    few: int,
) -> None:
    monkeypatch.setattr("janus4o.synth.store.GROUP_SECONDS", 0.02)
    recipe = make_recipe(60, 40, concurrency=6, shares=shares)
    expected = finish(tmp_path / "whole", recipe, teacher(few=few))
    rng = random.Random(4)
    folder = tmp_path / "killed"
    killed = 0
    for _ in range(kills):
        pid = in_child(lambda: run(recipe, folder, *(teacher(jitter=3, few=few) for _ in "wp")))
        time.sleep(rng.uniform(0.02, 0.25))
        os.kill(pid, signal.SIGKILL)
        killed += wait(pid) == -signal.SIGKILL
    assert killed >= 3
    assert finish(folder, recipe, teacher(few=few)) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_drains_and_the_next_run_goes_on(
    tmp_path: Path, make_recipe: Make, teacher: type, number: signal.Signals
) -> None:
    recipe = make_recipe(8, 8, concurrency=3)
    expected = finish(tmp_path / "whole", recipe, teacher())

    class Slow(teacher):  # type: ignore[misc]
        async def paint(self, request: PaintRequest) -> object:
            (tmp_path / "painting").touch()
            await asyncio.sleep(0.05)
            return await super().paint(request)

    pid = in_child(lambda: run(recipe, tmp_path / "stopped", Slow(), Slow()))
    while not (tmp_path / "painting").exists():
        time.sleep(0.005)
    os.kill(pid, number)
    assert wait(pid) == Interrupted.exit_code
    accepted = open_rows(tmp_path / "stopped")
    assert 0 < len(accepted) < 16
    assert [row.to_json() for row in accepted][:1] == [
        row.to_json() for row in open_rows(tmp_path / "whole")
    ][:1]
    assert finish(tmp_path / "stopped", recipe, teacher()) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once_and_what_was_finished_is_kept(
    tmp_path: Path, make_recipe: Make, teacher: type, number: signal.Signals
) -> None:
    recipe = make_recipe(8, 0, concurrency=2)
    expected = finish(tmp_path / "whole", recipe, teacher())

    class Hangs(teacher):  # type: ignore[misc]
        async def paint(self, request: PaintRequest) -> object:
            if len(self.asked) > 6:
                if not (tmp_path / "hanging").exists():
                    (tmp_path / "hanging").touch()
                    for _ in range(2):
                        os.kill(os.getpid(), number)
                        await asyncio.sleep(0.01)  # so that the loop hears it
                await asyncio.sleep(3600)
            return await super().paint(request)

    one = Hangs()
    assert wait(in_child(lambda: run(recipe, tmp_path / "stopped", one, one))) == 6
    assert open_rows(tmp_path / "stopped").problems == ()
    assert finish(tmp_path / "stopped", recipe, teacher()) == expected


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "refused: empty"),
        ("a \0 star", "refused: control_character"),
        ("a \udc80 star", "refused: lone_surrogate"),
        ("star " * 7000, "refused: too_long"),
    ],
)
def test_a_text_that_is_no_prompt_is_never_a_row(
    tmp_path: Path, make_recipe: Make, teacher: type, text: str, end: str
) -> None:
    class Odd(teacher):  # type: ignore[misc]
        async def write(self, request: object) -> object:
            reply = await super().write(request)
            return reply.__class__(text, reply.model) if request.seed % 2 else reply  # type: ignore[attr-defined]

    finish(tmp_path, make_recipe(10, 0), Odd())
    assert status(tmp_path).reasons[end] > 0


def test_twins_that_differ_only_in_how_accents_are_spelt_are_one_row(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    class Twins(teacher):  # type: ignore[misc]
        async def write(self, request: object) -> object:
            reply = await super().write(request)
            form = "NFC" if request.seed % 2 else "NFD"  # type: ignore[attr-defined]
            return reply.__class__(unicodedata.normalize(form, f"café {reply.text}"), "m")

        async def paint(self, request: PaintRequest) -> object:
            plain = unicodedata.normalize("NFC", request.prompt)
            return await super().paint(replace(request, prompt=plain))

    finish(tmp_path, make_recipe(30, 0), Twins(refuses=0))
    prompts = [unicodedata.normalize("NFC", row.input_prompt) for row in open_rows(tmp_path)]
    pictures = [row.output_image for row in open_rows(tmp_path)]
    assert len(set(zip(prompts, pictures, strict=True))) == 30


# money and faults


def test_a_budget_is_never_overspent_and_the_run_goes_on_later(
    tmp_path: Path, make_recipe: Make, teacher: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "price_of", lambda _name: Price(0.01))
    expected = finish(tmp_path / "whole", make_recipe(), teacher(cost_usd=0.01))
    spent = []
    for budget in (0.055, 0.055, 0.2):
        one = teacher(cost_usd=0.01)
        with pytest.raises(BudgetStop):
            run(make_recipe(budget_usd=budget), tmp_path / "poor", one, one)
        spent.append(status(tmp_path / "poor").spend.cost_usd)
        assert spent[-1] <= budget + 1e-9
    assert spent[0] == spent[1] == pytest.approx(0.05)
    assert (
        finish(tmp_path / "poor", make_recipe(budget_usd=9.0), teacher(cost_usd=0.01)) == expected
    )
    total = status(tmp_path / "poor").spend
    assert total.cost_usd == pytest.approx(status(tmp_path / "whole").spend.cost_usd)


def test_an_unknown_price_refuses_a_budget(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    one = teacher(name="mystery", cost_usd=0.01)
    with pytest.raises(Refused, match="price of 'mystery' is unknown"):
        run(make_recipe(budget_usd=1.0), tmp_path, one, one)
    assert one.asked == []


def test_a_limit_counts_further_rows(tmp_path: Path, make_recipe: Make, teacher: type) -> None:
    expected = finish(tmp_path / "whole", make_recipe(), teacher())
    for done in (4, 8):
        with pytest.raises(BudgetStop, match="limit of 4"):
            run(make_recipe(), tmp_path / "a", teacher(), teacher(), limit=4)
        assert len(open_rows(tmp_path / "a")) == done
    run(make_recipe(), tmp_path / "a", teacher(), teacher(), limit=4)
    assert result(tmp_path / "a") == expected


@pytest.mark.parametrize(("count", "limit"), [(3, None), (6, 3)])
def test_what_waits_behind_a_killed_sample_does_not_keep_it_from_being_made(
    count: int, limit: int | None, tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    """Killed while the first sample was under way and those behind it had ended."""
    whole = finish(tmp_path / "whole", make_recipe(6, 0), teacher())
    finish(tmp_path / "cut", make_recipe(6, 0), teacher())
    with sqlite3.connect(tmp_path / "cut" / "store.sqlite") as store:
        store.execute("UPDATE samples SET state = 'checked' WHERE state = 'accepted'")
        store.execute("UPDATE samples SET state = 'leased', \"row\" = NULL WHERE number = 0")
        store.execute("DELETE FROM facts WHERE name = 'finished'")
    with contextlib.suppress(BudgetStop):
        run(make_recipe(count, 0), tmp_path / "cut", teacher(), teacher(), limit=limit)
    made = (tmp_path / "cut" / "dataset" / "rows.jsonl").read_bytes()
    assert made.splitlines() == whole[0].splitlines()[: made.count(b"\n")]
    assert made.count(b"\n") >= 3
    assert finish(tmp_path / "cut", make_recipe(6, 0), teacher()) == whole


def test_lost_calls_are_tried_again(
    tmp_path: Path, make_recipe: Make, teacher: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.0)
    expected = finish(tmp_path / "whole", make_recipe(), teacher())

    class Flaky(teacher):  # type: ignore[misc]
        async def _hear(self, *request: object) -> bytes:
            hashed: bytes = await super()._hear(*request)
            if self.asked.count(hashed.hex()) == 1:
                raise ConnectionError("reset by peer")
            return hashed

    one = Flaky()
    assert finish(tmp_path / "flaky", make_recipe(), one) == expected
    assert status(tmp_path / "flaky").spend.errors == len(one.asked) / 2


def test_a_teacher_that_never_answers_stops_the_run(
    tmp_path: Path, make_recipe: Make, teacher: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.0)
    expected = finish(tmp_path / "whole", make_recipe(30, 0), teacher())
    with pytest.raises(Refused, match=r"got no answer.*reset by peer"):
        run(make_recipe(30, 0), tmp_path / "a", teacher(breaks=1), teacher(breaks=1))
    assert finish(tmp_path / "a", make_recipe(30, 0), teacher()) == expected


def test_a_world_without_variety_stops_the_run(
    tmp_path: Path, make_recipe: Make, teacher: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "MAX_BARREN", 50)

    class Dull(teacher):  # type: ignore[misc]
        async def write(self, request: object) -> object:
            return (await super().write(request)).__class__("always this", "dull")

    with pytest.raises(Refused, match="rejected: duplicate"):
        run(make_recipe(50, 0), tmp_path, Dull(refuses=0), Dull(refuses=0))


def painted(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("spoil", "end"),
    [
        (lambda png: png[: len(png) // 2], "rejected: decodes"),
        (lambda png: painted(Image.new("RGB", (16, 16), (9, 9, 9))), "rejected: not_flat"),
        (lambda png: painted(Image.open(io.BytesIO(png)).resize((8, 8))), "rejected: size"),
        (lambda png: painted(Image.open(io.BytesIO(png)), "GIF"), "refused: no_picture"),
        (lambda png: b"", "refused: no_picture"),
    ],
)
def test_bad_pictures_are_never_rows(
    tmp_path: Path, make_recipe: Make, teacher: type, spoil: Callable[[bytes], bytes], end: str
) -> None:
    class Bad(teacher):  # type: ignore[misc]
        async def paint(self, request: PaintRequest) -> object:
            reply = await super().paint(request)
            if isinstance(reply, PaintReply) and request.seed % 2:
                return PaintReply(Picture(spoil(reply.picture.data)), reply.model)
            return reply

    finish(tmp_path, make_recipe(10, 0), Bad())
    assert status(tmp_path).reasons[end] > 0


def test_an_edit_that_changes_nothing_is_no_row(
    tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    class Lazy(teacher):  # type: ignore[misc]
        async def paint(self, request: PaintRequest) -> object:
            if request.sources and request.seed % 2:
                return PaintReply(request.sources[0], "lazy")
            return await super().paint(request)

    finish(tmp_path, make_recipe(0, 10), Lazy())
    assert status(tmp_path).reasons["rejected: changed"] > 0
    assert all(row.output_image not in row.input_image for row in open_rows(tmp_path))


def test_every_call_is_in_the_journal(tmp_path: Path, make_recipe: Make, teacher: type) -> None:
    one = teacher()
    outcome: Outcome = run(make_recipe(), tmp_path, one, one)
    assert outcome.spend.calls == len(one.asked) == len(set(one.asked))
    assert outcome.spend.refused > 0
    assert outcome.spend.images == status(tmp_path).spend.images
    text = (tmp_path / "dataset" / "rows.jsonl").read_text()
    assert "started" not in text
    assert "cost" not in text
