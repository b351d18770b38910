"""Words about a picture: greedy text decoding through the language model's own head."""

from __future__ import annotations

import torch
from torch import Tensor

from janus4o.generate.cache import SlicedCache
from janus4o.model import sequence
from janus4o.model.embed import embed_batch
from janus4o.model.loading import JanusModel


@torch.no_grad()
def answer(model: JanusModel, features_1TD: Tensor, question: str, longest: int) -> str:
    """The model's answer to a question about one picture, at most `longest` tokens."""
    network, geometry = model.network, model.geometry
    layout = sequence.describe(question, geometry, model.tokenizer, system=model.system_prompt)
    language = network.model.language_model
    longest = min(longest, geometry.positions - len(layout))
    cache = SlicedCache(language.config.num_hidden_layers, len(layout) + longest)
    embeds = embed_batch(network, [layout], pad=geometry.pad, semantic=features_1TD).embeds
    written: list[int] = []
    while len(written) < longest:
        hidden = language(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        token = network.lm_head(hidden.last_hidden_state[:, -1]).argmax(-1)
        if int(token) == geometry.eos:
            break
        written.append(int(token))
        embeds = language.embed_tokens(token[:, None])
    return model.tokenizer.decode(written)
