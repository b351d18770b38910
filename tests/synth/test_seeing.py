"""Text asked for is looked for in the picture, and so are objects, by whoever is there to look."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from janus4o.cli import app
from janus4o.cli.check import DetectorCounter, eyes_of
from janus4o.errors import Refused, UsageError
from janus4o.evaluate.geneval.networks import Found
from janus4o.evaluate.geneval.rules import Options
from janus4o.images import save_png
from janus4o.ledger.blobs import Blobs
from janus4o.records import Provenance, Row
from janus4o.rows import open_rows
from janus4o.sketch.scene import Background, Colour, Item, Scene, Shape, Slot
from janus4o.sketch.view import View, show
from janus4o.synth.checking.run import check_rows
from janus4o.synth.checking.seeing import (
    Eyes,
    asked,
    compare_counts,
    compare_text,
    quoted,
)


def test_what_stands_in_quotation_marks_is_text() -> None:
    prompt = (
        "A sign “Open late”, a book «Vent» by „Ada“, 「夜」 and \"5 o'clock\"; it's Bob's 'own'"
    )
    assert quoted(prompt) == ["Open late", "Vent", "Ada", "夜", "5 o'clock"]
    assert quoted("no text “ here") == []


@pytest.mark.parametrize(
    ("read", "share", "missing"),
    [
        (["GRAND OPENING", "at 9:30!"], 1.0, ""),
        (["Grandopening", "at 930"], 1.0, ""),
        (["Grand Opening", "cat 930"], 0.75, "at"),
        (["Grand Openng", "at 9.30"], 0.75, "opening"),
        (["at", "Grand"], 0.5, "opening, 930"),
        ([], 0.0, "grand, opening, at, 930"),
    ],
)
def test_words_are_read_letter_by_letter(read: list[str], share: float, missing: str) -> None:
    figure, why = compare_text(["Grand Opening", "at 9:30"], read)
    assert figure == share
    assert why.partition(";")[0] == (f"not read: {missing}" if missing else "")


def test_one_is_at_least_one_and_more_are_just_as_many() -> None:
    wanted = {"dog": 1, "cat": 2, "car": 3}
    assert compare_counts(wanted, {"dog": (4, 0), "cat": (5, 2), "car": (3, 3)}) == []
    assert compare_counts(wanted, {"cat": (2, 1), "car": (4, 4)}) == [
        "0 dog instead of 1",
        "1 cat instead of 2",
        "4 car instead of 3",
    ]


def test_a_detectors_own_thresholds_count() -> None:
    class Sure:
        name, options = "fake", Options(threshold=0.3, counting_threshold=0.9)

        def detect(self, image: Image.Image) -> dict[str, Found]:
            scores = [0.2, 0.5, 0.95]
            return {"dog": Found(np.array([[0, 0, 9, 9, s] for s in scores], np.float32))}

    counter = DetectorCounter("sketch", Sure(), frozenset({"dog"}))
    assert counter.count(Image.new("RGB", (8, 8))) == {"dog": (2, 1)}


class Lines:
    """A reader that reads what it is told; pictures are told apart by their first pixel."""

    name = "lines 1"
    heavy = False

    def __init__(self, said: dict[int, list[str]]) -> None:
        self.said = said

    def read(self, image: Image.Image) -> list[str]:
        return self.said[np.asarray(image)[0, 0, 0]]


def row(prompt: str, picture: str, **attributes: Any) -> Row:
    made = Provenance(
        id=picture[:8] + prompt[:8], pipeline="p", task="t", attributes=attributes,
        write_prompt="w", writer="w", painter="p", seed=0,
    )  # fmt: skip
    return Row(
        input_prompt=prompt, output_image=picture, output_image_resolution=(64, 64), provenance=made
    )


def folder(
    tmp_path: Path, images: list[Image.Image], rows: list[tuple[str, dict[str, Any]]]
) -> Path:
    blobs = Blobs(tmp_path / "run" / "blobs")
    names = [blobs.put(save_png(image)) for image in images]
    (tmp_path / "run" / "dataset").mkdir()
    lines = [
        row(prompt, name, **told).model_copy(update={"output_image_resolution": image.size})
        for name, image, (prompt, told) in zip(names, images, rows, strict=True)
    ]
    text = "".join(one.to_json_line() + "\n" for one in lines)
    (tmp_path / "run" / "dataset" / "rows.jsonl").write_text(text)
    return tmp_path / "run"


def test_rows_without_text_are_not_read(tmp_path: Path) -> None:
    images = [Image.new("RGB", (64, 64), (n, 9, 9)) for n in (10, 20, 30)]
    prompts = ["a sign “Fresh fish”", "a shop “Old Books”", "a dog"]
    run = folder(tmp_path, images, [(prompt, {}) for prompt in prompts])
    reader = Lines({10: ["FRESH", "FISH"], 20: ["Odl Books"]})
    found = check_rows(open_rows(run), run, eyes=Eyes(reader))
    assert found.failed["text"] == [1]
    assert found.findings[0]["text"].figure == 1.0
    assert found.findings[1]["text"].why == "not read: old; read: 'Odl Books'"
    assert "text" not in found.findings[2]


def drawn(*items: Item) -> Image.Image:
    return Image.fromarray(show(Scene(items, Background.GRAY), View.PLAIN, 64))


def test_objects_are_counted_by_the_detector_that_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = [Item(Shape.CIRCLE, Colour.RED, slot) for slot in (Slot.LEFT, Slot.RIGHT)]
    told = [
        {"objects": [{"category": "circle", "count": n}, {"category": "moose"}]} for n in (2, 1, 3)
    ]
    images = [drawn(*two), drawn(two[0]), drawn(*two)]
    rows = list(zip(["two circles", "a circle", "three circles"], told, strict=True))
    run = folder(tmp_path, images, rows)
    assert asked(open_rows(run)[0]) == {"circle": 2, "moose": 1}
    assert app.main(["check", str(run), "--detector", "sketch", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["failed"]["objects"] == 1
    assert app.main(["status", str(run)]) == 0
    assert "2 circle instead of 3" in capsys.readouterr().out
    with pytest.raises(UsageError, match="is none"):
        eyes_of(False, "yolo=x")


def test_without_the_package_one_line_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(Refused, match=r"not installed .rapidocr") as refused:
        eyes_of(True, None)
    assert refused.value.remedy == "pip install 'janus4o[ocr]'"


def test_drawn_text_is_read() -> None:
    pytest.importorskip("rapidocr", reason="pip install 'janus4o[ocr]'")
    pytest.importorskip("onnxruntime", reason="pip install 'janus4o[ocr]'")
    eyes = eyes_of(True, None)
    image = Image.new("RGB", (400, 160), "white")
    pen = ImageDraw.Draw(image)
    pen.text((20, 20), "Grand Opening", font=ImageFont.load_default(36), fill="black")
    pen.text((20, 90), "at 9:30", font=ImageFont.load_default(24), fill="blue")
    name = "x.png"
    assert eyes.look(row("a poster “Grand Opening” “at 9:30”", name), image)[0] == {"text": 1.0}
    figures, why = eyes.look(row("a poster “Grand Closing”", name), image)
    assert figures == {"text": 0.5}
    assert "closing" in why["text"]
    blank = Image.new("RGB", (400, 160), "white")
    assert eyes.look(row("a poster “Grand Opening”", name), blank)[0] == {"text": 0.0}
