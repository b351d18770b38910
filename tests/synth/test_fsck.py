"""Every damage to a run's pictures is found by name, and mended by asking for those samples alone."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from janus4o.cli import app
from janus4o.errors import DataError
from janus4o.recipe import Recipe
from janus4o.rows import open_rows, pictures_of
from janus4o.synth.fsck import fsck
from janus4o.synth.runner import run
from janus4o.synth.store import Store

Make = Callable[..., Recipe]


def tree(folder: Path) -> dict[str, bytes]:
    """Rows, and the pictures they name."""
    rows = open_rows(folder)
    assert rows.problems == ()
    pictures = {name: rows.read(name) for row in rows for name in pictures_of(row)}
    return {"rows": (folder / "dataset" / "rows.jsonl").read_bytes(), **pictures}


@pytest.fixture
def made(tmp_path: Path, make_recipe: Make, teacher: type) -> Path:
    run(make_recipe(7, 5), tmp_path / "run", teacher(), teacher())
    return tmp_path / "run"


def blobs(folder: Path) -> list[Path]:
    return sorted((folder / "blobs").glob("*/*"))


def kinds(folder: Path, **how: bool) -> dict[str, str]:
    return {one.file: one.kind for one in fsck(folder, **how).findings}


def test_a_sound_run_has_nothing_wrong(made: Path) -> None:
    found = fsck(made)
    assert found.findings == ()
    assert found.pictures == len(blobs(made))
    assert found.samples > 12


def test_each_damage_is_named_and_only_its_samples_are_made_again(
    made: Path, make_recipe: Make, teacher: type
) -> None:
    expected = tree(made)
    rows = open_rows(made)
    gone = made / "blobs" / rows[0].output_image[:2] / rows[0].output_image
    bent = made / "blobs" / rows[8].input_image[0][:2] / rows[8].input_image[0]
    store = Store(made)
    lost = sum(one.blob in (gone.name, bent.name) for one in store.attempts())
    store.close()
    gone.unlink()
    bent.write_bytes(bent.read_bytes()[:-1] + b"\0")
    stray = made / "blobs" / "00" / ("0" * 64 + ".png")
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    half = made / "dataset" / ".rows.jsonl.1-1.part"
    half.write_bytes(b"{")
    wanted = {
        str(path.relative_to(made)): kind
        for path, kind in (
            (gone, "missing"), (bent, "corrupt"), (stray, "orphan"), (half, "half-written"),
        )
    }  # fmt: skip
    assert kinds(made) == wanted
    assert half.exists(), "looking changes nothing"
    assert kinds(made, repair=True) == wanted
    assert not any(path.exists() for path in (gone, bent, stray, half))
    again = teacher()
    run(make_recipe(7, 5), made, again, again)
    assert 0 < len(again.asked) <= lost
    assert tree(made) == expected
    assert fsck(made).findings == ()


def test_a_hole_is_filled_also_where_fewer_rows_are_wanted(
    made: Path, make_recipe: Make, teacher: type
) -> None:
    """The first rows by index are wanted, not those that happen to be there."""
    expected = tree(made)["rows"].splitlines()
    first = open_rows(made)[0].output_image
    (made / "blobs" / first[:2] / first).unlink()
    fsck(made, repair=True)
    run(make_recipe(3, 2), made, teacher(), teacher())
    assert tree(made)["rows"].splitlines() == [*expected[:3], *expected[7:9]]


@pytest.mark.parametrize("flips", [25, pytest.param(1000, marks=pytest.mark.stress)])
def test_every_flipped_bit_is_found(made: Path, flips: int) -> None:
    rng = random.Random(0)
    for _ in range(flips):
        path = rng.choice(blobs(made))
        sound = path.read_bytes()
        bent = bytearray(sound)
        bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        path.write_bytes(bent)
        assert kinds(made) == {str(path.relative_to(made)): "corrupt"}
        path.write_bytes(sound)


@pytest.mark.parametrize("flips", [12, pytest.param(1000, marks=pytest.mark.stress)])
def test_flipped_bits_are_painted_again_and_nothing_else(
    tmp_path: Path, make_recipe: Make, teacher: type, flips: int
) -> None:
    """All at once: each in a picture of its own, in a run that has many more."""
    recipe, folder = make_recipe(flips, flips // 2), tmp_path / "run"
    run(recipe, folder, teacher(few=10**6), teacher(few=10**6))
    expected, rng = tree(folder), random.Random(1)
    hurt = rng.sample(blobs(folder), flips)
    for path in hurt:
        bent = bytearray(path.read_bytes())
        bent[rng.randrange(len(bent))] ^= 1 << rng.randrange(8)
        path.write_bytes(bent)
    store = Store(folder)
    painted = sum(one.blob in {path.name for path in hurt} for one in store.attempts())
    store.close()
    wanted = {str(path.relative_to(folder)): "corrupt" for path in hurt}
    assert kinds(folder, repair=True) == wanted
    again = teacher(few=10**6)
    run(recipe, folder, again, again)
    assert len(again.asked) == painted, "only what was lost is asked for again"
    assert tree(folder) == expected
    assert fsck(folder).findings == ()


def test_a_changed_data_set_is_found_and_written_again(
    made: Path, make_recipe: Make, teacher: type
) -> None:
    path = made / "dataset" / "rows.jsonl"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"edit", b"edyt", 1))
    assert list(kinds(made, repair=True).values()) == ["data set"]
    again = teacher()
    run(make_recipe(7, 5), made, again, again)
    assert path.read_bytes() == sound
    assert again.asked == []


def test_a_damaged_store_is_one_clear_error(made: Path) -> None:
    path = made / "store.sqlite"
    data = bytearray(path.read_bytes())
    data[4096 : len(data) - 4096] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(DataError, match="is damaged"):
        fsck(made)


def test_the_command(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["fsck", str(made)]) == 0
    assert "nothing wrong" in capsys.readouterr().out
    blobs(made)[0].unlink()
    assert app.main(["fsck", str(made)]) == DataError.exit_code
    said = capsys.readouterr()
    assert "missing" in said.out
    assert "--repair" in said.err
    assert app.main(["fsck", str(made), "--repair"]) == 0
    assert app.main(["fsck", str(tmp_path)]) == DataError.exit_code
