"""The slow twin of `engine.py`: one picture at a time, no cache, no batch, no padding.

It says what the engine must compute; the tests hold the two together token for token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from janus4o.generate.engine import Job
from janus4o.generate.guidance import Guidance
from janus4o.generate.options import GenerateOptions
from janus4o.generate.sampling import new_generator, sample
from janus4o.model.embed import embed_batch, embed_codes
from janus4o.model.loading import JanusModel


@torch.no_grad()
def paint_slowly(
    model: JanusModel, job: Job, how: Guidance, options: GenerateOptions
) -> tuple[Tensor, Tensor]:
    """One picture's codes, int64 [T], and the guided logits they were drawn from, [T, codebook]."""
    network, generator = model.network, new_generator(job.seed)
    prompts = [
        embed_batch(
            network,
            [branch.layout],
            pad=model.geometry.pad,
            semantic=branch.semantic,
            source=branch.source,
        ).embeds
        for branch in job.branches
    ]
    codes = torch.empty(0, dtype=torch.int64, device=model.device)
    seen = []
    for _ in range(model.geometry.tokens):
        branches = []
        for prompt in prompts:
            embeds = torch.cat([prompt, embed_codes(network, codes[None])], dim=1)
            hidden = network.model.language_model(inputs_embeds=embeds, use_cache=False)
            branches.append(network.model.generation_head(hidden.last_hidden_state[:, -1]))
        guided = how.combine(torch.stack(branches))
        seen.append(guided[0])
        code = sample(guided, [generator], options.temperature, options.top_k)
        codes = torch.cat([codes, code])
    return codes.cpu(), torch.stack(seen).cpu()
