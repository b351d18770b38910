"""What is exported is the published layout, comes back unchanged, and is the same bytes each time."""

import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.errors import DataError, RecipeChanged
from janus4o.images import save_png
from janus4o.ledger.blobs import Blobs
from janus4o.recipe import Recipe
from janus4o.records import Row
from janus4o.rows import Rows, open_rows, pictures_of
from janus4o.synth.export import export_sharegpt
from janus4o.synth.importer import import_sharegpt
from janus4o.synth.runner import run


@pytest.fixture
def made(tmp_path: Path, make_recipe: Callable[..., Recipe], teacher: type) -> Path:
    run(make_recipe(7, 5), tmp_path / "run", teacher(), teacher())
    return tmp_path / "run"


def content(rows: Rows) -> list[tuple[object, ...]]:
    return [
        (r.input_prompt, r.output_image_resolution, r.input_image_resolution,
         *(rows.read(name) for name in pictures_of(r)))
        for r in rows
    ]  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_export_then_import_gives_the_rows_back(made: Path, tmp_path: Path) -> None:
    done = export_sharegpt(made, tmp_path / "out", provenance=True)
    assert done.rows == {"text_to_image": 7, "text_and_image_to_image": 5}
    assert done.problems == ()
    found = import_sharegpt(tmp_path / "out", tmp_path / "other", decode=True)
    assert found.rows == done.rows
    assert found.problems == ()
    ours, theirs = open_rows(made), open_rows(tmp_path / "other")
    assert content(ours) == content(theirs)
    assert [r.provenance for r in ours] == [r.provenance for r in theirs]


def test_the_layout_is_the_published_one_to_the_key(made: Path, tmp_path: Path) -> None:
    export_sharegpt(made, tmp_path / "out")
    t2i = json.loads((tmp_path / "out" / "text_to_image.json").read_text())
    edits = json.loads((tmp_path / "out" / "text_and_image_to_image.json").read_text())
    assert t2i[0].keys() == {"input_prompt", "output_image", "output_image_resolution"}
    assert edits[0].keys() == t2i[0].keys() | {"input_image", "input_image_resolution"}
    assert isinstance(edits[0]["input_image"], list)
    with tarfile.open(tmp_path / "out" / "text_to_image_part_0.tar") as tar:
        members = tar.getmembers()
    assert t2i[0]["output_image"] == members[0].name == "image/0.png"
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_the_same_rows_are_the_same_bytes(made: Path, tmp_path: Path) -> None:
    export_sharegpt(made, tmp_path / "a", part_bytes=4000)
    shutil.copytree(made, tmp_path / "copy")
    export_sharegpt(tmp_path / "copy", tmp_path / "b", part_bytes=4000)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(list((tmp_path / "a").glob("text_to_image_part_*.tar"))) > 1
    # Exporting an import is exporting the original; a smaller export leaves no old part behind.
    export_sharegpt(tmp_path / "a", tmp_path / "b")
    export_sharegpt(made, tmp_path / "c")
    assert tree(tmp_path / "b") == tree(tmp_path / "c")


def test_rows_with_several_sources_survive_the_round_trip(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "run" / "blobs")
    rng = np.random.default_rng(0)
    names = [
        blobs.put(save_png(Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8))))
        for _ in range(5)
    ]
    rows = [
        Row(
            input_prompt="put “both” together ❤",
            input_image=(names[0], names[1], names[0]),
            input_image_resolution=(8, 8),
            output_image=names[2],
            output_image_resolution=(8, 8),
        ),
        Row(
            input_prompt="now three",
            input_image=(names[1], names[3], names[4]),
            output_image=names[0],
            output_image_resolution=(8, 8),
        ),
    ]
    (tmp_path / "run" / "dataset").mkdir()
    lines = "".join(json.dumps(row.to_json()) + "\n" for row in rows)
    (tmp_path / "run" / "dataset" / "rows.jsonl").write_text(lines)
    export_sharegpt(tmp_path / "run", tmp_path / "out")
    found = import_sharegpt(tmp_path / "out", decode=True)
    assert found.several_sources == 2
    assert found.pictures == 5
    assert content(open_rows(tmp_path / "run")) == content(open_rows(tmp_path / "out"))


def test_what_is_wrong_in_an_import_is_listed(made: Path, tmp_path: Path) -> None:
    export_sharegpt(made, tmp_path / "out")
    path = tmp_path / "out" / "text_to_image.json"
    rows = json.loads(path.read_text())
    rows.append({**rows[0], "output_image": "image/absent.png"})
    path.write_text(json.dumps(rows))
    (tmp_path / "out" / "image").mkdir()
    (tmp_path / "out" / "image" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows.append({**rows[0], "output_image": "image/torn.png"})
    path.write_text(json.dumps(rows))
    found = import_sharegpt(tmp_path / "out", decode=True)
    assert found.rows["text_to_image"] == 8
    assert len(found.problems) == 2
    assert "'image/absent.png' is missing" in found.problems[0]
    assert "'image/torn.png'" in found.problems[1]


def test_nothing_of_anybody_is_overwritten(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match=r"thesis\.txt"):
        export_sharegpt(made, tmp_path / "mine")
    with pytest.raises(DataError, match="no data set"):
        export_sharegpt(tmp_path / "mine", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export_sharegpt(made, tmp_path / "out")
    with pytest.raises(DataError, match="itself"):
        export_sharegpt(tmp_path / "out", tmp_path / "out")
    with pytest.raises(RecipeChanged, match="another data set"):
        import_sharegpt(tmp_path / "out", made)
