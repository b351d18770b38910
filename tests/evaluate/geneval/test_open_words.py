"""Grounding DINO and OWLv2: tiny random weights, the library's own processors and post-processing."""

import numpy as np
import pytest
from PIL import Image

from janus4o.errors import CheckpointError
from janus4o.evaluate.geneval.classes import CLASSES
from janus4o.evaluate.geneval.collecting import look
from janus4o.evaluate.geneval.evidence import parse_evidence
from janus4o.evaluate.geneval.prompts import Sample, parse_metadata
from janus4o.evaluate.geneval.rules import Options

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("scipy", reason="OWLv2's processor resizes with SciPy")

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "photo", "of", "."]
WORDS = SPECIAL + sorted({word for name in CLASSES for word in name.split()})


def tokenizer(length):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, "[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        unk_token="[UNK]", model_max_length=length,
    )  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from transformers import (
        BertConfig,
        GroundingDinoConfig,
        GroundingDinoForObjectDetection,
        GroundingDinoProcessor,
        Owlv2Config,
        Owlv2ForObjectDetection,
        Owlv2Processor,
        SwinConfig,
    )
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import (
        GroundingDinoImageProcessorPil,
    )
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small |= {"num_attention_heads": 2}
    swin = SwinConfig(
        image_size=32, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    dino = GroundingDinoConfig(
        backbone_config=swin, text_config=BertConfig(**small, vocab_size=len(WORDS)),
        num_queries=12, encoder_layers=1, decoder_layers=2, d_model=32, encoder_ffn_dim=16,
        decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    GroundingDinoForObjectDetection(dino).save_pretrained(folder / "dino")
    resize = GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 96})
    GroundingDinoProcessor(resize, tokenizer(256)).save_pretrained(folder / "dino")
    words = {**small, "vocab_size": len(WORDS), "max_position_embeddings": 16}
    words |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    owl = Owlv2Config(
        text_config=words,
        vision_config={**small, "image_size": 64, "patch_size": 16},
        projection_dim=16,
    )
    Owlv2ForObjectDetection(owl).save_pretrained(folder / "owl")
    square = Owlv2ImageProcessorPil(size={"height": 64, "width": 64})
    Owlv2Processor(square, tokenizer(16)).save_pretrained(folder / "owl")
    return folder


def noise(width=60, height=40):
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def detector(weights, name):
    from janus4o.evaluate.geneval.open_words import GroundingDinoDetector, Owlv2Detector

    kind = {"dino": GroundingDinoDetector, "owl": Owlv2Detector}[name]
    return kind(str(weights / name))


def test_dino_boxes_and_scores_are_the_librarys(weights):
    one, image = detector(weights, "dino"), noise()
    inputs = one._processor(images=image, text=". ".join(CLASSES) + ".", return_tensors="pt")
    with torch.inference_mode():
        out = one._model(**inputs)
    (theirs,) = one._processor.post_process_grounded_object_detection(
        out, threshold=0.0, text_threshold=0.0, target_sizes=[(40, 60)]
    )
    boxes, scores, labels = one._look(image)
    assert torch.equal(boxes, theirs["boxes"])
    # Theirs also hears full stops and special tokens, ours words only.
    assert (scores <= theirs["scores"] + 1e-6).all()
    assert (scores == theirs["scores"]).any()
    assert labels.min() >= 0
    assert labels.max() < len(CLASSES)


def test_dino_gives_each_token_to_its_class(weights):
    one = detector(weights, "dino")
    tokens = one._processor.tokenizer(" ".join(f"{name}." for name in CLASSES))["input_ids"]
    owners = one._owners(torch.tensor(tokens)).tolist()
    said = {}
    for token, owner in zip(tokens, owners, strict=True):
        said.setdefault(owner, []).append(WORDS[token])
    assert [" ".join(said[k]) for k in range(len(CLASSES))] == list(CLASSES)
    assert set(said[-1]) == {"[CLS]", "[SEP]", "."}
    with pytest.raises(CheckpointError, match="does not fit"):
        one._owners(torch.tensor(tokens[:100]))


def test_owl_boxes_scores_and_labels_are_the_librarys(weights):
    one, image = detector(weights, "owl"), noise()
    texts = [[f"a photo of a {name}" for name in CLASSES]]
    inputs = one._processor(images=image, text=texts, return_tensors="pt")
    with torch.inference_mode():
        (theirs,) = one._processor.post_process_grounded_object_detection(
            one._model(**inputs), threshold=0.05, target_sizes=[(40, 60)], text_labels=texts
        )
    boxes, scores, labels = one._look(image)
    assert torch.equal(boxes, theirs["boxes"])
    assert torch.equal(scores, theirs["scores"])
    assert [f"a photo of a {CLASSES[k]}" for k in labels.tolist()] == theirs["text_labels"]


@pytest.mark.parametrize("name", ["dino", "owl"])
def test_what_is_found_can_be_cut_out_and_judged(weights, name, tmp_path):
    one = detector(weights, name)
    found = one.detect(noise())
    assert found
    for some in found.values():
        assert some.boxes.dtype == np.float32
        assert (some.boxes[:, :2] >= 0).all()
        assert (some.boxes[:, 2:4] <= (60, 40)).all()
        assert some.mask(0) is None

    class Red:
        name = "red"

        def classify(self, crops, class_name):
            return ["red"] * len(crops)

    noise().save(tmp_path / "p.png")
    best = max(found, key=lambda name: found[name].boxes[:, 4].max())
    wanted = {"tag": "colors", "include": [{"class": best, "count": 1, "color": "red"}]}
    line = look(Sample("p", tmp_path / "p.png", parse_metadata({**wanted, "prompt": "p"})), one, Red())  # fmt: skip
    evidence = parse_evidence(line)
    # Its thresholds travel with the evidence, so the score can say that they are not the official ones.
    assert evidence.options == one.options != Options()
    assert evidence.judge().correct is bool(found[best].boxes[:, 4].max() > one.options.threshold)


@pytest.mark.parametrize("name", ["dino", "owl"])
def test_echoes_and_what_lies_outside_are_left_out(weights, name, monkeypatch):
    one = detector(weights, name)
    boxes = [[5, 5, 25, 25], [6, 5, 25, 26], [40, 5, 70, 25], [61, 0, 90, 40], [5, 5, 25, 25]]
    scores, labels = [0.6, 0.8, 0.5, 0.9, 0.4], [16, 16, 16, 16, 15]
    seen = tuple(map(torch.tensor, (boxes, scores, labels)))
    monkeypatch.setattr(one, "_look", lambda image: seen)
    found = one.detect(noise())
    assert found["dog"].boxes[:, :4].tolist() == [[6, 5, 25, 26], [40, 5, 60, 25]]
    assert found["cat"].boxes[:, :4].tolist() == [[5, 5, 25, 25]]


@pytest.mark.parametrize("name", ["dino", "owl"])
def test_what_is_no_such_network_is_refused(weights, name, tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(CheckpointError, match="holds no"):
        detector(tmp_path, name)
    broken = tmp_path / name
    broken.mkdir()
    for path in (weights / name).iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    tensors = load_file(broken / "model.safetensors")
    del tensors[next(key for key in tensors if key.endswith("weight"))]
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks \d tensors"):
        detector(tmp_path, name)
