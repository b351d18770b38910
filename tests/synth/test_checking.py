"""Checks give every row a figure and a verdict, go on after a kill, and take nothing away."""

import io
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.cli import app
from janus4o.errors import DataError, UsageError
from janus4o.images import save_png
from janus4o.ledger.blobs import Blobs
from janus4o.records import Provenance, Row
from janus4o.rows import open_rows
from janus4o.synth.checking import ahead, nearest
from janus4o.synth.checking.measures import BLIND
from janus4o.synth.checking.nearest import FAR, Prompts, nearest_pictures, words_of
from janus4o.synth.checking.registry import CHECKS, chosen
from janus4o.synth.checking.run import check_rows, read_checks
from janus4o.synth.export import export
from janus4o.synth.inspection import SketchInspector


def scene(seed: int, side: int = 64) -> Image.Image:
    """Soft clouds of random colours: no two are alike."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Ten rows, of which 3 to 8 have a defect each, 9 two; 1 and 2 are sound edits."""
    blobs = Blobs(tmp_path / "run" / "blobs")
    names = [blobs.put(save_png(scene(n))) for n in range(12)]
    cut = blobs.put(save_png(scene(20))[:3000])
    flat = blobs.put(save_png(Image.new("RGB", (64, 64), (90, 200, 3))))
    again = blobs.put(jpeg(scene(0).resize((50, 50)).resize((64, 64))))
    same = blobs.put(jpeg(scene(1)))

    def row(number: int, prompt: str, output: str, *sources: str, height: int = 64) -> Row:
        return Row(
            input_prompt=prompt,
            output_image=output,
            output_image_resolution=(64, height),
            input_image=sources,
            input_image_resolution=(64, 64) if sources else None,
            provenance=Provenance(
                id=f"id{number}", pipeline="p", task="t", attributes={}, write_prompt="w",
                writer="w", painter="p", seed=0, checks={"decodes": True},
            ),
        )  # fmt: skip

    rows = [
        row(0, "a tall red house beside a small pond", names[0]),
        row(1, "make it blue", names[2], names[1]),
        row(2, "make it blue", names[4], names[3]),
        row(3, "cut off", cut),
        row(4, "of another size", names[5], height=65),
        row(5, "flat as a board", flat),
        row(6, "do nothing", same, names[1]),
        row(7, "drawn again, and nobody said so", again),
        row(8, "A tall red HOUSE, beside a small pond!", names[7]),
        row(9, "two dogs on a beach in the evening sun", names[8], height=1),
    ]
    (tmp_path / "run" / "dataset").mkdir()
    text = "".join(one.to_json_line() + "\n" for one in rows)
    (tmp_path / "run" / "dataset" / "rows.jsonl").write_text(text)
    return tmp_path / "run"


EXPECTED = {
    "decodes": [3], "resolution": [4, 9], "not_flat": [5], "changed": [6], "new_picture": [7],
    "new_prompt": [8], "not_in_benchmark": [9],
}  # fmt: skip


def test_each_check_finds_its_defect_and_nothing_else(made: Path) -> None:
    before = (made / "dataset" / "rows.jsonl").read_bytes()
    found = check_rows(open_rows(made), made, benchmark=["Two dogs on a beach in the evening SUN."])
    assert found.failed == EXPECTED
    assert found.passed == 3
    assert found.findings[9]["resolution"].why == "64×64 instead of 64×1"
    assert found.findings[7]["new_picture"].why == "like row 0"
    assert found.findings[8]["new_prompt"].figure == 1.0
    assert found.findings[3].keys() == {"decodes", "new_prompt", "not_in_benchmark"}
    assert found.findings[0]["not_flat"].passed
    assert read_checks(made, open_rows(made).digest) == found
    assert read_checks(made, "of another data set") is None
    assert (made / "dataset" / "rows.jsonl").read_bytes() == before


def test_every_stage_says_how_far_it_is(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 2)
    told: dict[str, list[int]] = {}

    def progress(stage: str, done: int, rows: int) -> None:
        assert rows == 10
        told.setdefault(stage, []).append(done)

    check_rows(open_rows(made), made, progress=progress)
    assert list(told) == ["measure", "compare pictures", "compare prompts"]
    for stage, done in told.items():
        assert done == sorted(done), stage
        assert done[-1] == 10, stage
    assert len(told["compare pictures"]) > 3
    assert app.main(["check", str(made)]) == 0
    said = capsys.readouterr().err
    for stage in told:
        assert said.count(f"{stage}: 10/10 rows") == 1


def test_a_killed_check_goes_on(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = check_rows(open_rows(made), made)
    expected = (made / "checks.jsonl").read_bytes()
    (made / "checks.jsonl").unlink()
    measured: list[str] = []

    def killed(rows, row, *seers):  # type: ignore[no-untyped-def]
        if len(measured) == 6:
            raise KeyboardInterrupt
        measured.append(row.input_prompt)
        return measure(rows, row, *seers)

    measure = ahead.measure
    monkeypatch.setattr(ahead, "measure", killed)
    monkeypatch.setattr(ahead, "AHEAD", 1)
    with pytest.raises(KeyboardInterrupt):
        check_rows(open_rows(made), made)
    assert not (made / "checks.jsonl").exists()
    with (made / "measures.jsonl").open("ab") as file:
        file.write(b'{"figures": {"deco')  # torn by the kill
    monkeypatch.setattr(ahead, "measure", lambda *args: measured.append("again") or measure(*args))
    assert check_rows(open_rows(made), made) == whole
    assert measured.count("again") == 10 - 6
    assert (made / "checks.jsonl").read_bytes() == expected
    assert not (made / "measures.jsonl").exists()


def test_an_export_leaves_out_what_failed_and_tells_what_was_checked(
    made: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="was not checked"):
        export(made, tmp_path / "out", passed=True)
    check_rows(open_rows(made), made, checks=chosen({}, ["not_in_benchmark"]))
    done = export(made, tmp_path / "out", passed=True, provenance=True)
    assert done.rows == {"text_to_image": 1, "text_and_image_to_image": 2}
    rows = open_rows(tmp_path / "out")
    assert [row.provenance.id for row in rows if row.provenance] == ["id0", "id1", "id2"]
    assert rows[1].provenance is not None
    told = rows[1].provenance.checks
    assert told["decodes"] == {"figure": 0, "passed": True}
    assert told["changed"]["passed"]
    assert told["changed"]["figure"] > 10
    assert "| `changed` | 2 | 2 |" in (tmp_path / "out" / "README.md").read_text()
    check_rows(open_rows(made), made, checks=chosen({"not_flat": 300.0}))
    with pytest.raises(DataError, match="not one row"):
        export(made, tmp_path / "out", passed=True)
    assert len(open_rows(tmp_path / "out")) == 3, "the earlier export is gone"


def test_the_commands(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bench.jsonl").write_text(
        'plain words\n{"prompt": "two dogs on a beach in the evening sun"}\n'
    )
    against = ["--against", str(tmp_path / "bench.jsonl")]
    assert app.main(["check", str(made), "--json", *against]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"rows": 10, "passed": 3, "failed": {k: len(v) for k, v in EXPECTED.items()}}
    assert app.main(["status", str(made)]) == 0
    told = capsys.readouterr().out
    assert "3 of 10 rows pass every check" in told
    assert "id7: " in told
    assert "(like row 0)" in told
    assert app.main(["check", str(made), "--limit", "not_flat=300"]) == 0
    told = capsys.readouterr()
    assert "not one row passes" in told.err
    assert "--against" in told.err
    assert app.main(["check", str(made), "--limit", "beauty=3"]) == 2
    assert app.main(["check", str(made), "--limit", "not_flat=x"]) == 2
    assert app.main(["check", str(made), "--against", str(tmp_path / "none")]) == 3
    export(made, tmp_path / "out")
    assert app.main(["check", str(tmp_path / "out")]) == 3
    assert app.main(["check", str(tmp_path / "out"), "--out", str(tmp_path / "said")]) == 0
    assert (tmp_path / "said" / "checks.jsonl").is_file()
    there = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert app.main(["check", str(tmp_path / "out"), "--out", str(tmp_path / "out")]) == 3
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == there
    with pytest.raises(UsageError, match="no check 'beauty'"):
        chosen({}, ["beauty"])
    assert set(chosen({}, ["changed"])) == set(CHECKS) - {"changed"}


def test_the_nearest_is_what_comparing_all_with_all_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("janus4o.synth.checking.nearest.BLOCK", 7)
    rng = random.Random(0)
    seeds = [rng.randbytes(48) for _ in range(5)]

    def near(seed: bytes) -> str:
        bits = int.from_bytes(seed) ^ sum(1 << rng.randrange(384) for _ in range(rng.randrange(9)))
        return (bits % (1 << 384)).to_bytes(48).hex() + bytes([rng.choice((0, 9, 40))] * 3).hex()

    hashes = [
        tuple(near(rng.choice(seeds)) for _ in range(length))
        for length in (rng.choice((0, 1, 1, 2)) for _ in range(60))
    ]

    def distance(a: str, b: str) -> int:
        one, other = bytes.fromhex(a), bytes.fromhex(b)
        if any(abs(x - y) > 12 for x, y in zip(one[48:], other[48:], strict=True)):
            return FAR
        return min(FAR, (int.from_bytes(one[:48]) ^ int.from_bytes(other[:48])).bit_count())

    for number, found in enumerate(nearest_pictures(hashes)):
        mine = hashes[number]
        others = [n for n in range(number) if len(hashes[n]) == len(mine)]
        if not mine or not others:
            assert found is None
            continue
        far = {n: max(map(distance, mine, hashes[n])) for n in others}
        assert found is not None
        assert found[0] == min(far.values())
        assert found[0] == FAR or far[found[1]] == found[0]


def test_prompts_are_alike_by_their_word_pairs() -> None:
    texts = [f"{a} {b} left of a {c}" for a in ("one", "a") for b in ("red", "blue") for c in "xyz"]
    words = [words_of(text) for text in texts]
    known = Prompts(words)
    assert known.nearest(words_of("A RED, left of a  x")) == (1.0, texts.index("a red left of a x"))
    assert known.nearest(words[7], before=7) != (1.0, 7)
    assert not np.array_equal(words_of("a red x and a blue y"), words_of("a blue x and a red y"))
    assert np.array_equal(words_of("café"), words_of("cafe\u0301"))
    near = Prompts(words, 0.5).nearest(words_of("a red left of an x"))
    assert near is not None
    assert near[0] < 0.8
    assert known.nearest(words_of("a red left of an x")) is None
    assert known.nearest(words_of("nothing like it")) is None
    assert Prompts([]).nearest(words_of("a red x")) is None


@pytest.mark.parametrize("least", [0.3, 0.5, 0.8, 1.0])
def test_no_prompt_that_is_near_enough_is_missed(least: float) -> None:
    rng = random.Random(0)
    texts = [" ".join(rng.choices("abcdefg", [9, 8, 4, 2, 1, 1, 1], k=rng.randrange(1, 12)))
             for _ in range(200)]  # fmt: skip
    words = [words_of(text) for text in texts]
    known = Prompts(words[:150], least)
    for number, mine in enumerate(words):
        before = number if number < 150 else None
        shares = [
            len(np.intersect1d(mine, other)) / len(np.union1d(mine, other))
            for other in words[: min(number, 150)]
        ]
        found = known.nearest(mine, before)
        if not shares or max(shares) < least:
            assert found is None
        else:
            assert found == (pytest.approx(max(shares)), shares.index(max(shares)))


def test_processes_measure_what_threads_do(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, inspector = open_rows(made), SketchInspector(hold_out=False)
    Path(
        made / "blobs" / rows[4].output_image[:2] / rows[4].output_image
    ).unlink()  # gone meanwhile
    by_threads = list(ahead.measures_ahead(rows, 2, (inspector, BLIND)))
    assert by_threads[2].figures == {"decodes": 1}
    monkeypatch.setattr(ahead, "MANY", 1)
    monkeypatch.setattr(ahead, "BATCH_ROWS", 3)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr(ahead, "_by_threads", None)
    assert list(ahead.measures_ahead(rows, 2, (inspector, BLIND))) == by_threads
