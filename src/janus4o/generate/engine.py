"""The fast path from laid-out requests to codes: prepare, prefill, decode with step, finish.

Every picture is a job with its own branches and its own generator. What jobs have in common (the
prompt of several pictures, an edit's beginning, the null branch) is computed once and, as far as
they ask for equally many pictures each, kept once. `reference.py` is the slow twin the tests compare
with; docs/engine.md says what is exact.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from janus4o.generate.cache import Memory
from janus4o.generate.decoder import Decoder
from janus4o.generate.guidance import Guidance
from janus4o.generate.options import GenerateOptions
from janus4o.generate.reading import Branch, Nulls, read_branches
from janus4o.generate.sampling import new_generator, sample
from janus4o.generate.speculation import speculate
from janus4o.model import codebook
from janus4o.model.embed import embed_batch
from janus4o.model.loading import JanusModel


@dataclass(frozen=True, slots=True)
class Job:
    """One picture wanted: its branches in the order guidance expects, and its seed."""

    branches: tuple[Branch, ...]
    seed: int


Capture = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""Records what a call does to tensors that stay where they are; its result does it again."""

After = Callable[[Sequence[Tensor]], None]
"""Called after every pass with the codes of all so far, int64 [B, ...] each."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds the batch of a picture took, and how many pictures it held.

    Attributes:
        encode: looking at all sources of the call, of which the batch is a part.
        prefill: reading the prompts.
        decode: writing the codes.
        draw: codes to pixels.
        pictures: in the batch.
        passes: through the network while decoding.
    """

    encode: float
    prefill: float
    decode: float
    draw: float
    pictures: int
    passes: int


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
        branches: the distinct ones, P of them.
        embeds: [P, longest, D], padded on the right.
        slots: int64 [G * B / share], branch-major: which distinct branch each slot starts from.
        share: rows a slot: neighbouring jobs of the same branches.
        generators: B of them.
    """

    branches: tuple[Branch, ...]
    embeds: Tensor
    slots: Tensor
    share: int
    generators: tuple[torch.Generator, ...]


@torch.inference_mode()
def paint(
    decoder: Decoder,
    nulls: Nulls,
    jobs: Sequence[Job],
    how: Guidance,
    options: GenerateOptions,
    after: After | None = None,
) -> Painted:
    """Codes and pictures of jobs, computed as one batch; what `after` raises ends it."""
    clock = [time.perf_counter()]
    batch = prepare(decoder.model, jobs)
    memory, logits_RV = prefill(decoder, nulls, batch, static=decoder.model.device.type == "cuda")
    clock.append(time.perf_counter())
    drawn = []
    for codes in decode(decoder, memory, logits_RV, batch.generators, how, options):
        drawn.append(codes)
        if after is not None:
            after(drawn)
    clock.append(time.perf_counter())
    return finish(decoder.model, torch.cat(drawn, 1), len(drawn) - 1, clock)


def prepare(model: JanusModel, jobs: Sequence[Job]) -> Batch:
    """Embeds each distinct branch once."""
    runs = [len(list(same)) for _, same in groupby(jobs, key=lambda job: job.branches)]
    share = math.gcd(*runs)
    wanted = [
        job.branches[index] for index in range(len(jobs[0].branches)) for job in jobs[::share]
    ]
    branches = tuple(dict.fromkeys(wanted))
    index_of = {branch: index for index, branch in enumerate(branches)}
    semantic = [branch.semantic for branch in branches if branch.semantic is not None]
    source = [branch.source for branch in branches if branch.source is not None]
    embeds = embed_batch(
        model.network,
        [branch.layout for branch in branches],
        pad=model.geometry.pad,
        semantic=torch.cat(semantic) if semantic else None,
        source=torch.cat(source) if source else None,
    ).embeds
    slots = torch.tensor([index_of[branch] for branch in wanted])
    generators = tuple(new_generator(job.seed) for job in jobs)
    return Batch(branches, embeds, slots, share, generators)


def prefill(
    decoder: Decoder, nulls: Nulls, batch: Batch, *, static: bool = False
) -> tuple[Memory, Tensor]:
    """Reads the prompts; returns what they leave behind and the first code's logits, [G * B, V].

    `static` memory is what a captured graph needs (see `Memory`).
    """
    prompts, hidden = read_branches(decoder, nulls, batch.branches, batch.embeds)
    logits = decoder.code_logits(hidden)[batch.slots.to(hidden.device)]
    tokens = decoder.model.geometry.tokens
    memory = Memory(prompts.select(batch.slots), batch.share, tokens, static=static)
    return memory, logits.repeat_interleave(batch.share, 0)


def step(decoder: Decoder, memory: Memory, codes_N: Tensor) -> Tensor:
    """Feeds equally many codes to every row, row-major; the logits after each, [N, codebook]."""
    return decoder.code_logits(decoder.follow(decoder.embed(codes_N), memory))


def decode(
    decoder: Decoder,
    memory: Memory,
    logits_RV: Tensor,
    generators: Sequence[torch.Generator],
    how: Guidance,
    options: GenerateOptions,
    capture: Capture | None = None,
) -> Iterator[Tensor]:
    """The loop: combine the branches, draw a code, feed it to all of them.

    Yields int64 [B, 1] a pass, and with speculation, for one picture alone, [1, how many held].
    """
    geometry = decoder.model.geometry
    if options.speculate > 1:
        (generator,) = generators

        def guided(codes_N: Tensor, kept: int) -> Tensor:
            memory.advance(kept)
            fed = codes_N.to(logits_RV.device).repeat(how.branches)
            return how.combine(step(decoder, memory, fed).view(how.branches, len(codes_N), -1))

        first_V = how.combine(logits_RV.view(how.branches, 1, -1))[0]
        for codes in speculate(first_V, guided, generator, options, geometry.tokens, geometry.grid):
            yield codes[None]
        return
    forward = stepper(decoder, memory, capture)
    for left in reversed(range(geometry.tokens)):
        guided_BV = how.combine(logits_RV.view(how.branches, len(generators), -1))
        codes_B = sample(guided_BV, generators, options.temperature, options.top_k)
        yield codes_B[:, None]
        if left:
            logits_RV = forward(codes_B.repeat(how.branches))
            memory.advance()


def stepper(
    decoder: Decoder, memory: Memory, capture: Capture | None = None
) -> Callable[[Tensor], Tensor]:
    """`step` of this memory; where the memory is static, recorded once and played again and again."""
    if not memory.static:
        return lambda codes_R: step(decoder, memory, codes_R)
    codes = torch.zeros(memory.rows, dtype=torch.int64, device=decoder.model.device)
    play = (capture or on_a_graph)(lambda: step(decoder, memory, codes))

    def forward(codes_R: Tensor) -> Tensor:
        codes.copy_(codes_R)
        return play()

    return forward


def on_a_graph(forward: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Captures one CUDA graph; what it returns replays it, always into the same tensor."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # kernels are chosen and loaded before the capture
        for _ in range(3):
            forward()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = forward()

    def play() -> Tensor:
        graph.replay()
        return logits

    return play


def finish(model: JanusModel, codes: Tensor, passes: int, clock: Sequence[float]) -> Painted:
    """Draws the pictures; `clock` holds the times of the start, the prefill and the decoding."""
    codes = codes.cpu()
    decoded = time.perf_counter()
    pictures = codebook.decode(model.network, codes)
    timings = Timings(
        encode=0.0,
        prefill=clock[1] - clock[0],
        decode=decoded - clock[1],
        draw=time.perf_counter() - decoded,
        pictures=len(codes),
        passes=passes,
    )
    return Painted(codes, pictures, timings)
