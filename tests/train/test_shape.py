"""What is counted without weights is what networks have."""

import json
from dataclasses import replace

import pytest
from transformers import JanusConfig

from janus4o.errors import CheckpointError
from janus4o.model.hub import SKETCH_BASE, find_checkpoint
from janus4o.model.loading import load_model, save_model
from janus4o.model.stored import skeleton
from janus4o.train.shape import JANUS_PRO_1B, JANUS_PRO_7B, shape_of

OF_PART = {
    "language": "model.language_model.",
    "text embeddings": "model.language_model.embed_tokens",
    "text head": "lm_head",
    "vision": "model.vision_model.",
    "aligner": "model.aligner.",
    "code embeddings": "model.generation_embeddings.",
    "code aligner": "model.generation_aligner.",
    "image head": "model.generation_head.",
    "tokenizer": "model.vqmodel.",
}


def counted(network):
    found = dict.fromkeys(OF_PART, 0)
    for name, parameter in network.named_parameters():
        part = max(
            (p for p, s in OF_PART.items() if name.startswith(s)), key=lambda p: len(OF_PART[p])
        )
        found[part] += parameter.numel()
    return found


def test_parameters_are_those_of_checkpoints_of_both_formats(
    tmp_path, fresh_model, official_folder
):
    save_model(fresh_model(), tmp_path / "own")
    for folder in (find_checkpoint(SKETCH_BASE), tmp_path / "own", official_folder):
        assert shape_of(folder).parts == counted(load_model(folder).network)


def test_parameters_are_those_of_the_real_sizes():
    # Without SigLIP's pooling head, which nothing uses; the hub counts its 0.0126 with them.
    for shape, billions in ((JANUS_PRO_1B, 2.0766), (JANUS_PRO_7B, 7.4078)):
        config = JanusConfig(
            text_config={
                "model_type": "llama",
                "vocab_size": shape.vocabulary,
                "hidden_size": shape.hidden,
                "intermediate_size": shape.mlp,
                "num_hidden_layers": shape.layers,
                "num_attention_heads": shape.heads,
                "num_key_value_heads": shape.heads,
            },
            vision_config={"projection_dim": shape.hidden},
            vq_config={"projection_dim": shape.hidden, "image_token_embed_dim": shape.hidden},
            tie_word_embeddings=False,
        )
        assert shape.parts == counted(skeleton(config))
        assert shape.parameters / 1e9 == pytest.approx(billions, abs=1e-4)


def test_the_paper_s_training_is_what_was_derived_from_it():
    """46.3 TFLOP a sample, half of 640 and half of 1,800 positions, language model and head."""
    rows = [JANUS_PRO_7B.forward(640, 0), JANUS_PRO_7B.forward(1800, 1)]
    mean = sum(3 * (row["language"] + row["image head"]) for row in rows) / 2
    assert mean / 1e12 == pytest.approx(46.3, rel=0.02)
    plain = JANUS_PRO_7B.forward(640, 0, attention=False)
    assert plain["language"] == pytest.approx(2 * 30 * 202.4e6 * 640, rel=0.001)
    assert plain["vision"] == 0
    assert JANUS_PRO_7B.encoding / 1e12 == pytest.approx(0.35, abs=0.15)


def test_keys_are_shared_among_heads():
    shared = replace(JANUS_PRO_1B, key_heads=4)
    assert JANUS_PRO_1B.layer_parameters - shared.layer_parameters == 2 * 2048 * 2048 * 3 // 4


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"model_type": "llama"})])
def test_a_folder_without_a_janus(tmp_path, text):
    if text:
        (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json of a Janus"):
        shape_of(tmp_path)
