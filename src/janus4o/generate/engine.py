"""The fast path from laid-out requests to codes: prepare, prefill, decode with step, finish.

Every picture is a job with its own branches and its own generator. Branches shared between jobs
(several pictures of one prompt, the null branch of prompts of one length) are computed once before
decoding. `reference.py` is the slow twin the tests compare with.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from janus4o.generate.cache import SlicedCache
from janus4o.generate.guidance import Guidance
from janus4o.generate.options import GenerateOptions
from janus4o.generate.sampling import new_generator, sample
from janus4o.model import codebook
from janus4o.model.embed import Embedded, embed_batch, embed_codes
from janus4o.model.loading import JanusModel
from janus4o.model.sequence import Sequence as Layout

if TYPE_CHECKING:
    from transformers import JanusForConditionalGeneration


@dataclass(frozen=True, eq=False, slots=True)
class Branch:
    """One view of a request. Branches are shared by identity, so equal ones should be one object.

    Attributes:
        layout: its sequence.
        semantic: features [N, T, D], one for each semantic span.
        source: codes [N, T], one for each source span.
    """

    layout: Layout
    semantic: Tensor | None = None
    source: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One picture wanted: its branches in the order guidance expects, and its seed."""

    branches: tuple[Branch, ...]
    seed: int


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds the batch of a picture took, and how many pictures it held."""

    prefill: float
    decode: float
    draw: float
    pictures: int


@dataclass(frozen=True, slots=True)
class Painted:
    """What comes out of one batch, in the order of its jobs.

    Attributes:
        codes: int64 [B, T].
        pictures: uint8 [B, S, S, 3].
    """

    codes: Tensor
    pictures: NDArray[np.uint8]
    timings: Timings


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs as tensors.

    Attributes:
        prompts: the distinct branches, padded on the left.
        rows: int64 [G * B], branch-major: which distinct branch each decoding row starts from.
        generators: B of them.
    """

    prompts: Embedded
    rows: Tensor
    generators: tuple[torch.Generator, ...]


@dataclass(slots=True)
class State:
    """Where decoding stands; `step` advances it.

    Attributes:
        mask: bool [G * B, length so far], None while no row is padded.
        positions: int64 [G * B, 1], of the next token.
    """

    cache: SlicedCache
    mask: Tensor | None
    positions: Tensor


@torch.no_grad()
def paint(
    model: JanusModel, jobs: Sequence[Job], how: Guidance, options: GenerateOptions
) -> Painted:
    """Codes and pictures of jobs, computed as one batch."""
    clock = [time.perf_counter()]
    batch = prepare(model, jobs)
    state, logits_RV = prefill(model.network, batch, model.geometry.tokens)
    clock.append(time.perf_counter())
    codes = decode(model, state, logits_RV, batch.generators, how, options)
    clock.append(time.perf_counter())
    return finish(model, codes, clock)


def prepare(model: JanusModel, jobs: Sequence[Job]) -> Batch:
    """Embeds each distinct branch once."""
    count = len(jobs[0].branches)
    wanted = [job.branches[index] for index in range(count) for job in jobs]
    distinct = list(dict.fromkeys(wanted))
    index_of = {branch: index for index, branch in enumerate(distinct)}
    semantic = [branch.semantic for branch in distinct if branch.semantic is not None]
    source = [branch.source for branch in distinct if branch.source is not None]
    prompts = embed_batch(
        model.network,
        [branch.layout for branch in distinct],
        pad=model.geometry.pad,
        semantic=torch.cat(semantic) if semantic else None,
        source=torch.cat(source) if source else None,
        side="left",
    )
    rows = torch.tensor([index_of[branch] for branch in wanted], device=prompts.embeds.device)
    return Batch(prompts, rows, tuple(new_generator(job.seed) for job in jobs))


def prefill(
    network: JanusForConditionalGeneration, batch: Batch, tokens: int
) -> tuple[State, Tensor]:
    """Runs the prompts; returns the state and the first code's logits, [G * B, codebook]."""
    prompts, rows = batch.prompts, batch.rows
    language = network.model.language_model
    length = prompts.embeds.shape[1]
    cache = SlicedCache(language.config.num_hidden_layers, length + tokens)
    padded = not bool(prompts.mask.all())
    hidden = language(
        inputs_embeds=prompts.embeds,
        attention_mask=prompts.mask if padded else None,
        position_ids=prompts.positions,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[:, -1]
    cache.select(rows)
    mask = prompts.mask[rows] if padded else None
    state = State(cache, mask, prompts.positions[rows, -1:] + 1)
    return state, network.model.generation_head(hidden)[rows]


def step(network: JanusForConditionalGeneration, state: State, codes_R: Tensor) -> Tensor:
    """Feeds one code to every row; returns the next code's logits, [G * B, codebook]."""
    if state.mask is not None:
        state.mask = torch.cat([state.mask, state.mask.new_ones(len(state.mask), 1)], dim=1)
    hidden = network.model.language_model(
        inputs_embeds=embed_codes(network, codes_R[:, None]),
        attention_mask=state.mask,
        position_ids=state.positions,
        past_key_values=state.cache,
        use_cache=True,
    ).last_hidden_state[:, -1]
    state.positions = state.positions + 1
    logits: Tensor = network.model.generation_head(hidden)
    return logits


def decode(
    model: JanusModel,
    state: State,
    logits_RV: Tensor,
    generators: Sequence[torch.Generator],
    how: Guidance,
    options: GenerateOptions,
) -> Tensor:
    """The loop: combine the branches, draw a code, feed it to all of them. int64 [B, T]."""
    drawn: list[Tensor] = []
    for index in range(model.geometry.tokens):
        if index:
            logits_RV = step(model.network, state, drawn[-1].repeat(how.branches))
        guided_BV = how.combine(logits_RV.view(how.branches, len(generators), -1))
        drawn.append(sample(guided_BV, generators, options.temperature, options.top_k))
    return torch.stack(drawn, dim=1)


def finish(model: JanusModel, codes: Tensor, clock: Sequence[float]) -> Painted:
    """Draws the pictures; `clock` holds the times of the start, the prefill and the decoding."""
    codes = codes.cpu()
    decoded = time.perf_counter()
    pictures = codebook.decode(model.network, codes)
    timings = Timings(
        prefill=clock[1] - clock[0],
        decode=decoded - clock[1],
        draw=time.perf_counter() - decoded,
        pictures=len(codes),
    )
    return Painted(codes, pictures, timings)
