"""Words about a picture: greedy text decoding through the language model's own head."""

from __future__ import annotations

import torch
from torch import Tensor

from janus4o.generate.cache import Memory
from janus4o.generate.decoder import Decoder
from janus4o.generate.reading import Branch, Nulls, read_branches
from janus4o.model import sequence
from janus4o.model.embed import embed_batch


@torch.inference_mode()
def answer(decoder: Decoder, features_1TD: Tensor, question: str, longest: int) -> str:
    """The model's answer to a question about one picture, at most `longest` tokens."""
    model = decoder.model
    network, geometry = model.network, model.geometry
    layout = sequence.describe(question, geometry, model.tokenizer, system=model.system_prompt)
    longest = min(longest, geometry.positions - len(layout))
    embeds = embed_batch(network, [layout], pad=geometry.pad, semantic=features_1TD).embeds
    prompts, hidden = read_branches(decoder, Nulls(), [Branch(layout)], embeds)
    memory = Memory(prompts, 1, longest)
    written: list[int] = []
    while len(written) < longest:
        token = decoder.word_logits(hidden).argmax(-1)
        if int(token) == geometry.eos:
            break
        written.append(int(token))
        if len(written) < longest:
            embed = network.model.language_model.embed_tokens(token)
            hidden = decoder.follow(embed, memory)
            memory.advance()
    return model.tokenizer.decode(written)
