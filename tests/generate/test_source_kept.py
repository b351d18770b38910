"""Lower `semantic_weight` keeps more of the source: a law of a trained model, not of the algebra.

The model is trained here, for seconds, the way fine-tuning does it: half of the rows hide the codes of
the source. Only the codes say what the source shows (its picture is grey in every row), so what the
source's codes are worth is what the semantic weight takes away.
"""

import numpy as np
import pytest
import torch

from janus4o.generate import engine
from janus4o.generate.decoder import Decoder
from janus4o.generate.guidance import for_edit
from janus4o.generate.options import GenerateOptions
from janus4o.generate.reading import Branch, Nulls
from janus4o.model import sequence
from janus4o.model.embed import understand
from janus4o.model.loading import JanusModel, TinyConfig, new_model
from janus4o.model.preprocess import to_pixel_values
from janus4o.recipe import Dropout
from janus4o.train.batch import Kind, collate, hide, lay_out
from janus4o.train.gradients import Gradients, attention_for_training

SHADES = 8
"""Kinds of pictures: all codes equal, so that keeping one needs no sense of place."""


def grey(model: JanusModel, count: int) -> np.ndarray:
    side = model.geometry.image_size
    return np.full((count, side, side, 3), 127, np.uint8)


@pytest.fixture(scope="module")
def keeper() -> JanusModel:
    """A model that learnt one edit, "keep it": the target is the source."""
    sizes = TinyConfig(
        image_size=32, hidden=64, layers=2, heads=2, mlp=128, embedding_std=0.5,
        vision_hidden=64, vision_layers=1,
    )  # fmt: skip
    model = new_model(["keep", "it"], sizes)
    network, geometry = model.network, model.geometry
    network.model.vqmodel.requires_grad_(False)
    learnt = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, lr=3e-3)
    gradients = Gradients(network, learnt, "fp32")
    laid = sequence.edit("keep it", geometry, model.tokenizer)
    rng, dropout = np.random.default_rng(0), Dropout(source=0.5, null=0.0)
    with attention_for_training(network):
        for _ in range(260):
            rows = []
            for shade in rng.integers(SHADES, size=24):
                codes = np.full(geometry.tokens, shade)
                row = lay_out(
                    Kind.EDIT, laid, target=codes, sources=[codes], pictures=grey(model, 1)
                )
                rows.append(hide(row, dropout, geometry.pad, rng))
            batch = collate(rows, geometry.pad)
            optimiser.zero_grad(set_to_none=True)
            gradients.add([batch], [batch.targets])
            optimiser.step()
    return model


@torch.no_grad()
def test_lower_semantic_weight_keeps_more_of_the_source(keeper: JanusModel) -> None:
    geometry = keeper.geometry
    features = understand(keeper.network, to_pixel_values(grey(keeper, 1)))
    laid = sequence.edit("keep it", geometry, keeper.tokenizer)
    part = Branch(sequence.hide_sources(laid), features)
    count = 64
    sources = torch.arange(count)[:, None].expand(-1, geometry.tokens) % SHADES

    def kept(semantic_weight: float) -> float:
        how = for_edit(1.0, semantic_weight)
        jobs = [
            engine.Job((Branch(laid, features, codes[None]), part)[: how.branches], seed)
            for seed, codes in enumerate(sources)
        ]
        batch, decoder = engine.prepare(keeper, jobs), Decoder(keeper)
        memory, logits = engine.prefill(decoder, Nulls(), batch)
        steps = engine.decode(decoder, memory, logits, batch.generators, how, GenerateOptions())
        drawn = torch.cat(list(steps), dim=1)
        return (drawn == sources).float().mean().item()

    shares = [kept(weight) for weight in (0.0, 1.0, 5.0, 50.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.8
    assert shares[-1] < shares[0] - 0.5
