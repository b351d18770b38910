"""GenEval's networks: real code on tiny random weights, and on logits whose answer is known."""

import json

import numpy as np
import pytest
from PIL import Image

from janus4o.cli.app import main
from janus4o.errors import CheckpointError, DataError
from janus4o.evaluate.geneval.classes import CLASSES, COLOURS
from janus4o.evaluate.geneval.collecting import collect, look
from janus4o.evaluate.geneval.evidence import parse_evidence
from janus4o.evaluate.geneval.networks import Found
from janus4o.evaluate.geneval.prompts import parse_metadata, read_folder, write_prompt_folder
from janus4o.evaluate.geneval.rules import Options

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

COCO = [
    {"computer mouse": "mouse", "tv remote": "remote", "computer keyboard": "keyboard"}.get(n, n)
    for n in CLASSES
]
WANTED = {
    "tag": "colors",
    "include": [{"class": "dog", "count": 1, "color": "red"}],
    "prompt": "a red dog",
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Folders with a tiny random Mask2Former and CLIP of transformers' own classes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPConfig,
        CLIPModel,
        Mask2FormerConfig,
        PreTrainedTokenizerFast,
        SwinConfig,
    )

    from janus4o.evaluate.geneval.mask2former import _Network

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    swin = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = Mask2FormerConfig(
        backbone_config=swin, hidden_dim=32, feature_size=32, mask_feature_size=32,
        encoder_feedforward_dim=16, dim_feedforward=16, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=6, id2label=dict(enumerate(COCO)),
        label2id={name: index for index, name in enumerate(COCO)},
    )  # fmt: skip
    _Network(config).save_pretrained(folder / "mask2former")
    words = ["<start>", "<end>", "a", "photo", "of", "-", "colored", "object", "dog", *COLOURS]
    tokens = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "a"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token="<start>", eos_token="<end>", pad_token="<end>"
    ).save_pretrained(folder / "clip")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2, "projection_dim": 16}
    clip = CLIPConfig(
        text_config={
            **small, "vocab_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
        },
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )  # fmt: skip
    CLIPModel(clip).save_pretrained(folder / "clip")
    return folder


def picture(colour="red", size=(40, 30)):
    return Image.new("RGB", size, colour)


def test_instances_have_the_boxes_their_masks_have():
    from janus4o.evaluate.geneval.mask2former import instances

    logits = torch.full((3, 4), -9.0)
    logits[0, 2] = logits[1, 0] = logits[2, 3] = 9.0  # the last says "nothing"
    masks = torch.full((3, 8, 8), -20.0)
    masks[0, 2:4, 1:6] = 20.0
    masks[1] = -0.1
    masks[1, 5:7, 3:5] = 0.4
    scores, labels, boxes, whole = instances(logits, masks, (32, 32), (32, 24), (64, 48))
    assert labels.tolist() == [2, 0]
    # 8 cells → 32 input pixels, of which 24 × 32 hold the picture → 48 × 64 pixels: times 8.
    assert boxes[0].tolist() == [8, 16, 48, 32]
    assert whole.shape == (2, 64, 48)
    assert whole[0].nonzero().amin(0).tolist() == [16, 8]
    assert whole[0].nonzero().amax(0).tolist() == [31, 47]
    # Scores are weighted by how sure the mask is inside itself.
    assert scores[0] > 0.95
    assert 0.5 < scores[1] < 0.61


def test_nothing_found_is_no_instance():
    from janus4o.evaluate.geneval.mask2former import instances

    logits = torch.tensor([[-9.0, -9.0, 9.0]])
    scores, labels, boxes, masks = instances(
        logits, torch.ones(1, 4, 4), (32, 32), (32, 32), (9, 7)
    )
    assert len(scores) == len(labels) == 0
    assert boxes.shape == (0, 4)
    assert masks.shape == (0, 9, 7)


@pytest.mark.parametrize(
    ("size", "filled"),
    [((384, 384), (800, 800)), ((1024, 512), (667, 1333)), ((30, 40), (1067, 800))],
)
def test_pictures_are_scaled_as_the_detector_was_trained(size, filled):
    from janus4o.evaluate.geneval.mask2former import prepare

    pixels, resized = prepare(picture(size=size))
    assert resized == filled
    assert pixels.shape[1] % 32 == pixels.shape[2] % 32 == 0
    assert (pixels[:, resized[0] :].abs().sum(), pixels[:, :, resized[1] :].abs().sum()) == (0, 0)


def test_the_detector_gives_boxes_and_masks_at_full_size(weights):
    from janus4o.evaluate.geneval.mask2former import Mask2FormerDetector

    detector = Mask2FormerDetector(str(weights / "mask2former"))
    # Random weights are sure of nothing: make the class head prefer "dog" for every query.
    head = detector._network.class_predictor
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
        head.bias[CLASSES.index("dog")] = 6.0
    found = detector.detect(picture())
    assert found.keys() <= {"dog"}
    assert found == {} or found["dog"].boxes.dtype == np.float32
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8))
    instances = detector.detect(noise)["dog"]
    assert len(instances.boxes) == len(instances.masks) > 0
    for index, (box, mask) in enumerate(zip(instances.boxes, instances.masks, strict=True)):
        assert mask.shape == (90, 120)
        rows, columns = np.nonzero(mask)
        assert box[:4].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert instances.mask(index).size == noise.size
    assert (np.diff(instances.boxes[:, 4]) <= 0).all()


def test_weights_of_other_classes_are_refused(weights, tmp_path):
    from janus4o.evaluate.geneval.mask2former import Mask2FormerDetector

    config = json.loads((weights / "mask2former/config.json").read_text())
    config["id2label"]["0"] = "unicorn"
    config["label2id"] = {name: int(index) for index, name in config["id2label"].items()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    path = weights / "mask2former/model.safetensors"
    (tmp_path / "model.safetensors").write_bytes(path.read_bytes())
    with pytest.raises(CheckpointError, match="80 classes"):
        Mask2FormerDetector(str(tmp_path))
    with pytest.raises(CheckpointError, match="no Mask2Former"):
        Mask2FormerDetector(str(tmp_path / "gone"))


@pytest.mark.parametrize("network", ["mask2former", "clip"])
def test_weights_that_are_not_whole_are_refused(weights, tmp_path, network):
    from safetensors.torch import load_file, save_file

    from janus4o.evaluate.geneval.clip import ClipColours
    from janus4o.evaluate.geneval.mask2former import Mask2FormerDetector

    for path in (weights / network).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    load = {"mask2former": Mask2FormerDetector, "clip": ClipColours}[network]
    with pytest.raises(CheckpointError, match="lacks 1 tensors"):
        load(str(tmp_path))


def test_clip_names_the_colour_whose_words_are_nearest(weights):
    from janus4o.evaluate.geneval.clip import ClipColours

    clip = ClipColours(str(weights / "clip"))
    crops = [picture(colour, (50, 20)) for colour in ("red", "blue")] * 10
    named = clip.classify(crops, "dog")
    assert len(named) == 20
    assert set(named) <= set(COLOURS)
    assert named[0] == named[2]  # batches do not matter
    weights_KD = clip._text_weights("dog")
    assert weights_KD.shape == (10, 16)
    assert torch.allclose(weights_KD.norm(dim=-1), torch.ones(10))
    # A text head that only hears "blue" makes every answer follow from it.
    target = weights_KD[COLOURS.index("blue")]
    clip._model.visual_projection.weight.data.zero_()
    clip._model.get_image_features = lambda pixel_values: target.expand(len(pixel_values), -1)
    assert clip.classify(crops[:3], "dog") == ["blue"] * 3


def test_clip_sees_the_middle_at_its_own_size():
    from janus4o.evaluate.geneval.clip import prepare

    wide = Image.new("RGB", (90, 30), "black")
    wide.paste("white", (30, 0, 60, 30))
    pixels = prepare(wide, 30)
    assert pixels.shape == (3, 30, 30)
    assert (pixels > 1.5).all()  # the white middle alone


class OneDog:
    """A detector that always sees the same dog, and counts how often it is asked."""

    name = "one dog"

    def __init__(self):
        self.asked = 0

    options = Options()

    def detect(self, image):
        self.asked += 1
        mask = np.zeros((image.height, image.width), bool)
        mask[5:20, 5:25] = True
        boxes = np.array([[5, 5, 25, 20, 0.8], [0, 0, 3, 3, 0.1]], np.float32)
        return {"dog": Found(boxes, (mask, mask))}


class Nearest:
    """Names the colour in the middle of a crop."""

    name = "middle"

    def classify(self, crops, class_name):
        middle = [crop.getpixel((crop.width // 2, crop.height // 2)) for crop in crops]
        return ["red" if pixel == (255, 0, 0) else "blue" for pixel in middle]


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "made"
    place = write_prompt_folder(made, 0, parse_metadata(WANTED))
    picture("red").save(place / "0000.png")
    picture("blue").save(place / "0001.png")
    (place / "0002.png").write_bytes(b"half a picture")
    return made


def test_a_line_holds_the_colours_its_verdict_needs(folder):
    samples, _ = read_folder(folder)
    lines = [look(sample, OneDog(), Nearest()) for sample in samples[:2]]
    assert [line["colors"] for line in lines] == [{"dog": ["red", None]}, {"dog": ["blue", None]}]
    verdicts = [parse_evidence(json.loads(json.dumps(line))).judge() for line in lines]
    assert [verdict.correct for verdict in verdicts] == [True, False]


def test_a_stopped_run_goes_on_and_asks_nothing_twice(folder, tmp_path):
    samples, _ = read_folder(folder)
    out, detector = tmp_path / "evidence.jsonl", OneDog()
    problems = collect(samples, detector, Nearest(), out)
    assert [problem.where for problem in problems] == ["00000/0002"]
    whole = out.read_bytes()
    assert detector.asked == 2
    collect(samples, detector, Nearest(), out)
    assert (detector.asked, out.read_bytes()) == (2, whole)
    out.write_bytes(whole[:-30])  # as if it was killed within the second line
    collect(samples, detector, Nearest(), out)
    assert (detector.asked, out.read_bytes()) == (3, whole)
    picture("blue").save(samples[0].path)  # another picture is looked at again
    collect(samples, detector, Nearest(), out)
    assert detector.asked == 4
    with pytest.raises(DataError, match="other networks"):
        collect(samples[:1], detector, Nearest(), out)


def test_the_command_runs_the_networks_and_scores_what_they_said(folder, weights, tmp_path, capsys):
    out = tmp_path / "evidence.jsonl"
    networks = ["--mask2former", str(weights / "mask2former"), "--clip", str(weights / "clip")]
    args = ["eval", "geneval", "--images", str(folder), "--device", "cpu"]
    assert main([*args, *networks]) == 2
    assert main([*args, *networks, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "2 of 3 pictures" in captured.out
    assert "00000/0002: " in captured.err
    assert main(["eval", "geneval", "--detections", str(out), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["n"] == 2
    assert score["networks"]["detector"].startswith("mask2former (transformers)")
    assert not score["comparable"]
