"""A fork takes over what still holds, asks nothing twice, and leaves the first run as it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from janus4o import files
from janus4o.cli import app
from janus4o.errors import DataError, FolderBusy, RecipeChanged, Refused
from janus4o.recipe import Recipe
from janus4o.synth.fork import fork
from janus4o.synth.runner import run
from janus4o.synth.status import status

Make = Callable[..., Recipe]


def content(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, whose content is nobody's."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != files.LOCK_NAME
    }


@pytest.fixture
def first(tmp_path: Path, make_recipe: Make, teacher: type) -> Recipe:
    """A finished run with codes and a checkpoint."""
    recipe: Recipe = make_recipe().model_copy(update={"output": str(tmp_path / "first")})
    run(recipe, recipe.folder, teacher(), teacher())
    for name in ("codes/x-crop/index.json", "checkpoints/4/config.json", "metrics.jsonl"):
        (recipe.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (recipe.folder / name).write_text("{}")
    return recipe


def test_a_fork_with_other_training_asks_nothing(
    first: Recipe, tmp_path: Path, teacher: type
) -> None:
    before = content(first.folder)
    train = first.train.model_copy(update={"rate": 0.5})
    forked, same = fork(first.model_copy(update={"train": train}), tmp_path / "second")
    assert same
    assert forked.folder == tmp_path / "second"
    outcome = run(forked, forked.folder, teacher(), teacher())
    assert (outcome.tally.calls, outcome.tally.made) == (0, 0)
    assert outcome.spend == status(first.folder).spend
    now = content(forked.folder)
    for name in ("dataset/rows.jsonl", "codes/x-crop/index.json"):
        assert now[name] == before[name]
    assert not any(name.startswith(("checkpoints", "metrics")) for name in now)
    assert content(first.folder) == before


def test_both_go_on_on_their_own(
    first: Recipe, tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    before = content(first.folder)
    forked, _ = fork(make_recipe(9, 6).model_copy(update={"output": first.output}), tmp_path / "b")
    outcome = run(forked, forked.folder, teacher(), teacher())
    assert outcome.tally.made == 5
    assert content(first.folder) == before
    again, same = fork(
        make_recipe(9, 6).model_copy(update={"output": first.output}), tmp_path / "b"
    )
    assert (again, same) == (forked, True)
    assert run(again, again.folder, teacher(), teacher()).tally.calls == 0


def test_a_fork_with_other_samples_begins_anew_and_is_never_mixed(
    first: Recipe, tmp_path: Path, make_recipe: Make, teacher: type
) -> None:
    other = make_recipe(world="rich").model_copy(update={"output": first.output})
    forked, same = fork(other, tmp_path / "second")
    assert not same
    assert run(forked, forked.folder, teacher(), teacher()).tally.made == 10
    # The first recipe has no business in the second folder.
    strayed, same = fork(first, tmp_path / "second")
    assert not same
    with pytest.raises(RecipeChanged, match="--fork"):
        run(strayed, strayed.folder, teacher(), teacher())


def test_what_cannot_be_forked_is_said(first: Recipe, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="into itself"):
        fork(first, first.folder)
    with pytest.raises(DataError, match="holds no run"):
        fork(first.model_copy(update={"output": str(tmp_path / "none")}), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_run_at_work_is_not_forked(first: Recipe, tmp_path: Path) -> None:
    ready, done = os.pipe(), os.pipe()
    if (pid := os.fork()) == 0:
        with files.lock(first.folder):
            os.write(ready[1], b"x")
            os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        with pytest.raises(FolderBusy, match=str(pid)):
            fork(first, tmp_path / "second")
    finally:
        os.write(done[1], b"x")
        os.waitpid(pid, 0)
    assert not (tmp_path / "second").exists()


def test_a_fork_that_fails_leaves_nothing(
    first: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync_filesystem", fail)
    with pytest.raises(OSError, match="No space"):
        fork(first, tmp_path / "second")
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize("links", [True, False])
def test_a_fork_does_without_links(
    links: bool, first: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(*_: object) -> None:
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(os, "link", refuse)
    forked, _ = fork(first, tmp_path / "second")
    picture = next((forked.folder / "blobs").rglob("*.png"))
    assert (picture.stat().st_nlink == 2) is links
    assert picture.read_bytes() == (first.folder / picture.relative_to(forked.folder)).read_bytes()


def test_the_command_says_what_was_taken_over(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["synthesis.text_to_image.count=3", "synthesis.editing.count=2"]
    words = ["synth", str(root / "recipes" / "sketch.yaml"), f"output={tmp_path / 'a'}", *few]
    assert app.main(words) == 0
    assert app.main([*words, "seed=5"]) == Refused.exit_code
    assert "--fork NEW_FOLDER" in capsys.readouterr().err
    assert app.main([*words, "train.rate=0.1", "--fork", str(tmp_path / "b")]) == 0
    told = capsys.readouterr()
    assert "taken over" in told.err
    assert "(0 new" in told.out
    assert app.main([*words, "seed=5", "--fork", str(tmp_path / "c")]) == 0
    told = capsys.readouterr()
    assert "asked for anew" in told.err
    assert "(5 new" in told.out
