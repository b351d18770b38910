"""Lower `semantic_weight` keeps more of the source: a law of a trained model, not of the algebra."""

import numpy as np
import pytest
import torch

from janus4o.generate.guidance import for_edit
from janus4o.model import codebook, sequence
from janus4o.model.embed import embed_batch, understand
from janus4o.model.hub import SKETCH_BASE
from janus4o.model.loading import load_model
from janus4o.model.preprocess import fit_image, to_pixel_values
from janus4o.sketch import exam, render


@torch.no_grad()
@pytest.mark.parametrize("kind", ["recolour", "remove"])
def test_lower_semantic_weight_makes_the_sources_codes_likelier(kind):
    model = load_model(SKETCH_BASE)
    network, geometry = model.network, model.geometry
    questions = exam.editing(kind, 16, 0, "validation")
    pictures = [
        fit_image(render.picture(q.source, 128), geometry, model.fit) for q in questions if q.source
    ]
    values = to_pixel_values(np.stack(pictures))
    codes, features = codebook.encode(network, values), understand(network, values)
    full = [sequence.edit(q.prompt, geometry, model.tokenizer) for q in questions]
    part = [sequence.hide_sources(one) for one in full]

    def logits(layouts, source):
        given = embed_batch(
            network, layouts, pad=geometry.pad, semantic=features, source=source, target=codes,
            side="left",
        )  # fmt: skip
        hidden = network.model.language_model(
            inputs_embeds=given.embeds, attention_mask=given.mask, position_ids=given.positions,
            use_cache=False,
        ).last_hidden_state[:, -geometry.tokens - 1 : -1]  # fmt: skip
        return network.model.generation_head(hidden).flatten(0, 1)

    branches = torch.stack([logits(full, codes), logits(part, None)])

    def likelihood(semantic_weight):
        how = for_edit(1.0, semantic_weight)
        guided = how.combine(branches[: how.branches]).log_softmax(-1)
        return guided.gather(1, codes.view(-1, 1)).mean().item()

    kept = [likelihood(weight) for weight in (0.0, 1.0, 5.0, 50.0)]
    assert kept == sorted(kept, reverse=True)
    assert kept[0] > kept[2] + 0.5
