"""What is exported is the published layout, comes back unchanged, and is the same bytes each time."""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
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
from janus4o.synth.export import FORMS, Form, export
from janus4o.synth.importer import import_dataset
from janus4o.synth.runner import run

LAYOUTS: list[Form] = [form for form in FORMS if form != "pairs"]
"""Those that hold every row; pairs are tested with the painting that makes them."""


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
    """Every file but the card, which holds dates and the folder's name, and the list that names it."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name not in ("README.md", "croissant.json")
    }


@pytest.mark.parametrize("form", LAYOUTS)
def test_export_then_import_gives_the_rows_back(made: Path, tmp_path: Path, form: Form) -> None:
    done = export(made, tmp_path / "out", form, provenance=True, part_bytes=4000)
    assert min(done.parts.values()) > 1
    assert done.rows == {"text_to_image": 7, "text_and_image_to_image": 5}
    assert done.problems == ()
    found = import_dataset(tmp_path / "out", tmp_path / "other", decode=True)
    assert found.rows == done.rows
    assert found.problems == ()
    ours, theirs = open_rows(made), open_rows(tmp_path / "other")
    assert content(ours) == content(theirs)
    assert [r.provenance for r in ours] == [r.provenance for r in theirs]
    # What was stored is what is handed on: a provider's record inside a picture stays valid.
    stored = {p.read_bytes() for p in (made / "blobs").rglob("*") if p.is_file()}
    assert {theirs.read(name) for row in theirs for name in pictures_of(row)} <= stored


def test_the_layout_is_the_published_one_to_the_key(made: Path, tmp_path: Path) -> None:
    export(made, tmp_path / "out")
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


@pytest.mark.parametrize("form", LAYOUTS)
def test_the_same_rows_are_the_same_bytes(made: Path, tmp_path: Path, form: Form) -> None:
    export(made, tmp_path / "a", form, part_bytes=4000)
    shutil.copytree(made, tmp_path / "copy")
    export(tmp_path / "copy", tmp_path / "b", form, part_bytes=4000)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")
    assert len(list((tmp_path / "a").glob("text_to_image*0.*"))) >= 1
    # Exporting an import is exporting the original; a smaller export leaves no old part behind.
    export(tmp_path / "a", tmp_path / "b")
    export(made, tmp_path / "c")
    shutil.rmtree(tmp_path / "c" / "figures")  # without provenance there is nothing to draw
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
    export(tmp_path / "run", tmp_path / "out")
    found = import_dataset(tmp_path / "out", decode=True)
    assert found.several_sources == 2
    assert found.pictures == 5
    assert content(open_rows(tmp_path / "run")) == content(open_rows(tmp_path / "out"))


def test_what_is_wrong_in_an_import_is_listed(made: Path, tmp_path: Path) -> None:
    export(made, tmp_path / "out")
    path = tmp_path / "out" / "text_to_image.json"
    rows = json.loads(path.read_text())
    rows.append({**rows[0], "output_image": "image/absent.png"})
    path.write_text(json.dumps(rows))
    (tmp_path / "out" / "image").mkdir()
    (tmp_path / "out" / "image" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    rows.append({**rows[0], "output_image": "image/torn.png"})
    path.write_text(json.dumps(rows))
    found = import_dataset(tmp_path / "out", decode=True)
    assert found.rows["text_to_image"] == 8
    assert len(found.problems) == 3
    assert "text_to_image.json has" in found.problems[0]  # as croissant.json tells
    assert "'image/absent.png' is missing" in found.problems[1]
    assert "'image/torn.png'" in found.problems[2]


def test_nothing_of_anybody_is_overwritten(made: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(DataError, match=r"thesis\.txt"):
        export(made, tmp_path / "mine")
    with pytest.raises(DataError, match="no data set"):
        export(tmp_path / "mine", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    export(made, tmp_path / "out")
    with pytest.raises(DataError, match="itself"):
        export(tmp_path / "out", tmp_path / "out")
    with pytest.raises(RecipeChanged, match="another data set"):
        import_dataset(tmp_path / "out", made)


def test_an_export_takes_the_place_of_its_own_kind_only(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for form in LAYOUTS:
        export(made, out, form, part_bytes=4000)  # one after the other, none leaves anything behind
        assert len(open_rows(out)) == 12
    assert sorted({p.suffix for p in out.iterdir() if p.is_file()}) == ["", ".json", ".md", ".tar"]
    card = out / "README.md"
    text = card.read_text()
    card.write_text(text.replace("Audits are welcome", "Audited by me"))
    before = tree(out)
    with pytest.raises(DataError, match="changed by hand"):
        export(made, out)
    assert tree(out) == before
    card.write_text(text)
    (out / ".lock").unlink()  # a data set that came from elsewhere
    with pytest.raises(DataError, match="not exported here"):
        export(made, out)
    assert tree(out).keys() == before.keys() - {".lock"}


@pytest.mark.parametrize("form", LAYOUTS)
def test_half_an_export_is_not_taken_for_a_whole_one(
    made: Path, tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "out", iter(range(100))
    whole = Rows.read

    def full(rows: Rows, name: str) -> bytes:
        if next(calls) == 9:  # of the edits: text_to_image.json is there
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(rows, name)

    monkeypatch.setattr(Rows, "read", full)
    with pytest.raises(OSError, match="No space"):
        export(made, out, form, part_bytes=4000)
    monkeypatch.undo()
    assert [p.name for p in out.iterdir() if p.name.endswith(".part")] == []
    with pytest.raises(DataError, match="not finished"):
        open_rows(out)
    assert export(made, out, form).problems == ()
    assert len(open_rows(out)) == 12


@pytest.mark.parametrize("form", LAYOUTS)
def test_half_taken_away_is_not_taken_for_a_whole_one(
    made: Path, tmp_path: Path, form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, left = tmp_path / "out", iter(range(2))
    export(made, out, form, part_bytes=4000)
    whole = Path.unlink

    def full(path: Path, missing_ok: bool = False) -> None:
        if path.parent == out and path.is_file():
            next(left)
        whole(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", full)
    with pytest.raises(StopIteration):  # killed after two files
        export(made, out, form)
    monkeypatch.undo()
    with pytest.raises(DataError, match="not finished"):
        open_rows(out)


def test_what_lists_no_files_opens_all_the_same(made: Path, tmp_path: Path) -> None:
    """The published set, one family of it, and exports from before croissant.json."""
    out = tmp_path / "out"
    export(made, out)
    (out / "croissant.json").unlink()
    assert len(open_rows(out)) == 12
    (out / ".lock").unlink()
    assert len(open_rows(out)) == 12
    (out / "text_and_image_to_image.json").unlink()
    assert len(open_rows(out)) == 7


@pytest.mark.parametrize("form", LAYOUTS)
def test_the_list_of_files_has_the_name_of_the_run(made: Path, tmp_path: Path, form: Form) -> None:
    export(made, tmp_path / "out", form)
    assert json.loads((tmp_path / "out" / "croissant.json").read_bytes())["name"] == "run"


@pytest.mark.parametrize("form", ["parquet", "webdataset"])
def test_one_part_will_do(made: Path, tmp_path: Path, form: Form) -> None:
    export(made, tmp_path / "out", form, part_bytes=4000)
    part = sorted((tmp_path / "out").glob("text_to_image-*"))[1]
    alone = open_rows(part)
    assert 0 < len(alone) < 7
    assert {a[0] for a in content(alone)} <= {a[0] for a in content(open_rows(made))}
    part.unlink()
    rows = open_rows(tmp_path / "out")
    assert rows.problems == (f"{part.name} is listed in croissant.json and missing",)
    assert len(rows) + len(alone) == 12


def test_rows_of_the_same_id_are_named_and_the_first_is_kept(made: Path, tmp_path: Path) -> None:
    path = made / "dataset" / "rows.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[2].replace('"input_prompt": "', '"input_prompt": "x')]))
    done = export(made, tmp_path / "out", "parquet")
    assert done.rows == {"text_to_image": 7, "text_and_image_to_image": 5}
    (problem,) = done.problems
    assert problem.startswith("rows 2 and 12 have the same id")
    assert len(path.read_text().splitlines()) == 13, "the run itself was changed"


def test_the_card_says_how_the_rows_came_to_be(made: Path, tmp_path: Path) -> None:
    evil = "```\n</details><script>alert(1)</script> | ![x](http://x)"
    path = made / "dataset" / "rows.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["provenance"]["write_prompt"] = evil
    lines[0]["provenance"]["templates"] = {"<b>evil": "1/0"}
    lines[0]["provenance"]["writer"] = "`w|riter`"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    spend = {"calls": 31, "input_tokens": 1, "output_tokens": 2, "images": 3, "cost_usd": 4.5,
             "unpriced": 0, "uncertain": 0}  # fmt: skip
    (made / "synthesis.json").write_text(
        json.dumps(
            {
                "states": {"editing": {"accepted": 5, "refused": 2}},
                "reasons": {"refused: moderation": 2},
                "spend": spend,
            }
        )
    )
    export(made, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| text_to_image | 7 | text_to_image_part_0.tar, text_to_image.json |" in card
    assert "| `refused: moderation` | 2 |" in card
    assert "$4.50" in card
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert f"| `fake-painter-1` | painter | 12 | {day} | {day} |" in card
    for words in ("does not disclose", "of gender, race, age,\noccupation", "descriptors", "C2PA",
                  "research", "Not to be used", "terms of their provider", "Audits",
                  "No picture was removed", "may look real and are not"):  # fmt: skip
        assert words in card, words
    # What a teacher wrote ends neither the fence it stands in nor the table.
    assert f"````text\n{evil}\n````" in card
    assert "<summary>&lt;b&gt;evil</summary>" in card
    assert "`` `w¦riter` ``" in card
    figures = {p.name for p in (tmp_path / "out" / "figures").iterdir()}
    assert figures == {"dimensions.png", "tasks.png", "categories.png"}
    assert all(f"](figures/{name})" in card for name in figures)


SPEND = dict.fromkeys(
    ("calls", "input_tokens", "output_tokens", "images", "cost_usd", "unpriced", "uncertain"), 1
)
MALFORMED: list[tuple[dict[str, object], str]] = [
    ({"spend": {"calls": 3}}, "spend has no 'input_tokens'"),
    ({"spend": SPEND | {"images": "many"}}, "spend.images"),
    ({"spend": SPEND | {"cost_usd": float("nan")}}, "spend.cost_usd"),
    ({"spend": SPEND | {"calls": 10**400}}, "spend.calls"),
    ({"spend": [1]}, "spend"),
    ({"states": {"editing": {"accepted": "5"}}}, "states.editing.accepted"),
    ({"states": ["editing"]}, "states"),
    ({"reasons": {"refused": None}}, "reasons.refused"),
    ({"targets": {"task": {"add": "half"}}}, "targets.task.add"),
]


@pytest.mark.parametrize(("said", "where"), MALFORMED)
def test_a_malformed_synthesis_json_is_left_out_with_a_line(
    made: Path, tmp_path: Path, said: dict[str, object], where: str
) -> None:
    (key,) = said
    good = {"states": {"editing": {"accepted": 5}}, "reasons": {"refused": 2}, "spend": SPEND}
    (made / "synthesis.json").write_text(json.dumps(good | said))
    (problem,) = export(made, tmp_path / "out").problems
    assert problem.startswith(f"synthesis.json: {where}")
    assert problem.endswith(f"{key!r} is left out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("| `editing` | 5 |" in card) == (key != "states")
    assert ("| `refused` | 2 |" in card) == (key not in ("reasons", "states"))
    assert ("$1.00" in card) == (key != "spend")


def test_names_in_synthesis_json_neither_format_nor_end_a_table(made: Path, tmp_path: Path) -> None:
    evil = "a | <img src=x>\n![x](http://x)"
    (made / "synthesis.json").write_text(json.dumps({"states": {evil: {f"s{evil}": 5}}}))
    export(made, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| samples | `sa ¦ <img src=x> ![x](http://x)` |\n" in card
    assert "| `a ¦ <img src=x> ![x](http://x)` | 5 |\n" in card


@pytest.mark.parametrize("form", LAYOUTS)
def test_croissant_is_accepted_by_its_validator(made: Path, tmp_path: Path, form: Form) -> None:
    if importlib.util.find_spec("mlcroissant") is None:
        pytest.skip("mlcroissant is not installed")
    export(made, tmp_path / "out", form, provenance=True)
    probe = "import sys, mlcroissant as m; d = m.Dataset('croissant.json'); n = [r.uuid for r in "
    probe += "d.metadata.record_sets]\nfor u in n: print(u, sum(1 for _ in d.records(u)))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe],
        cwd=tmp_path / "out", capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    expected = ["text_to_image 7", "text_and_image_to_image 5"] if form != "webdataset" else []
    assert done.stdout.splitlines() == expected


def test_datasets_gives_pictures(made: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("datasets is not installed")
    export(made, tmp_path / "out", "parquet")
    probe = "import datasets\nd = datasets.load_dataset('out', 'text_and_image_to_image', split='train')"
    probe += "\nprint(len(d), d[0]['input_image'][0].size, d[0]['output_image'].format)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", probe],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[-2] == "5 (16, 16) PNG"
