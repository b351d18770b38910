"""The offline world's detector and colours through GenEval's protocol and rules."""

import json

import numpy as np
import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.evaluate.geneval.collecting import look
from janus4o.evaluate.geneval.evidence import parse_evidence
from janus4o.evaluate.geneval.prompts import Sample, parse_metadata, write_prompt_folder
from janus4o.evaluate.geneval.sketch import SketchColours, SketchDetector, metadata_of
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.render import picture
from janus4o.sketch.sampling import Tag, sample_wanted
from janus4o.sketch.scene import Colour, Item, Scene, Shape, Slot
from janus4o.sketch.wanted import imagine


def metadata(caption, tag="colors"):
    return parse_metadata(metadata_of(parse_caption(caption), tag, caption))


def verdict(tmp_path, scene, caption, tag="colors"):
    path = tmp_path / "p.png"
    picture(scene, 64).save(path)
    line = look(Sample("p", path, metadata(caption, tag)), SketchDetector(), SketchColours())
    return parse_evidence(json.loads(json.dumps(line))).judge()


@pytest.mark.parametrize("tag", Tag)
def test_pictures_of_a_prompt_are_correct_by_the_official_rules(tag, tmp_path):
    rng = np.random.default_rng(1)
    for _ in range(20):
        wanted = sample_wanted(rng, tag=tag)
        asked = parse_metadata(metadata_of(wanted, tag.value, "p"))
        path = tmp_path / "p.png"
        picture(imagine(wanted, rng), 64).save(path)
        line = look(Sample("p", path, asked), SketchDetector(), SketchColours())
        found = parse_evidence(line).judge()
        assert found.correct, (wanted, found.reason)


def test_what_is_wrong_is_said_in_the_official_words(tmp_path):
    two = Scene((Item(Shape.CIRCLE, Colour.RED, Slot.LEFT), Item(Shape.STAR, Colour.BLUE, Slot.RIGHT)))  # fmt: skip
    for caption, tag, reason in (
        ("a heart", "single_object", "expected heart>=1, found 0"),
        ("a green circle", "colors", "expected green circle>=1, found 0 green; and 1 red"),
        ("two circles", "counting", "expected circle>=2, found 1"),
        ("a circle right of a star", "position", "expected circle right of target, found left of target"),
    ):  # fmt: skip
        assert verdict(tmp_path, two, caption, tag).reason == reason
    one = Scene((Item(Shape.CIRCLE, Colour.RED, Slot.CENTRE),))
    assert not verdict(tmp_path, two, "a star left of a circle", "position").correct
    assert "expected circle>=2" in verdict(tmp_path, one, "two circles", "counting").reason


def test_counting_excludes_one_more(tmp_path):
    assert metadata("two circles", "counting").data["exclude"] == [{"class": "circle", "count": 3}]
    slots = (Slot.TOP_LEFT, Slot.TOP_RIGHT, Slot.BOTTOM_LEFT)
    three = Scene(tuple(Item(Shape.CIRCLE, Colour.RED, slot) for slot in slots))
    assert (
        verdict(tmp_path, three, "two circles", "counting").reason == "expected circle<3, found 3"
    )


def test_boxes_are_where_the_masks_are():
    scene = Scene((Item(Shape.SQUARE, Colour.WHITE, Slot.TOP_LEFT),))
    found = SketchDetector().detect(picture(scene, 128))
    (box,) = found["square"].boxes.tolist()
    (mask,) = found["square"].masks
    assert box[4] == 1.0
    rows, columns = np.nonzero(mask)
    assert box[:4] == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert {len(one.boxes) for name, one in found.items() if name != "square"} == {0}


@pytest.mark.parametrize("colour", [c for c in Colour if c is not Colour.CYAN])
def test_colours_are_read_from_the_crop(colour, tmp_path):
    scene = Scene((Item(Shape.RING, colour, Slot.CENTRE),))
    assert verdict(tmp_path, scene, f"a {colour.value} ring").correct


def test_no_scene_is_no_detection():
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    found = SketchDetector().detect(Image.fromarray(noise))
    assert {len(one.boxes) for one in found.values()} == {0}


def test_the_command_looks_at_a_folder(tmp_path, capsys):
    place = write_prompt_folder(tmp_path / "made", 0, metadata("a red circle"))
    picture(Scene((Item(Shape.CIRCLE, Colour.RED, Slot.CENTRE),)), 64).save(place / "0000.png")
    out = tmp_path / "d.jsonl"
    images = ["eval", "geneval", "--images", str(tmp_path / "made")]
    assert main([*images, "--sketch", "--out", str(out)]) == 0
    assert main(["eval", "geneval", "--detections", str(out), "--json"]) == 0
    score = json.loads(capsys.readouterr().out.partition("\n")[2])
    assert score["scores"]["overall"]["score"] == 1.0
    assert score["networks"]["detector"] == "sketch detector 1"
    assert main([*images, "--sketch"]) == 2
    assert main([*images, "--sketch", "--clip", "x", "--out", str(out)]) == 2
    assert main([*images, "--owlv2", "x", "--mask2former", "y", "--clip", "z", "--out", "o"]) == 2
