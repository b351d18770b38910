"""How fast pictures are made, beside others' ways to make them: `python benchmarks/generation.py`.

Random weights of a named geometry; three ways to write the same codes with them:

    janus4o        this package's engine
    official       the loop of the Janus and Janus-4o model cards over transformers' modules: all
                   branches as one batch, DynamicCache, one step after another
    transformers   `JanusForConditionalGeneration.generate` (text-to-image only), with DynamicCache,
                   with its default StaticCache, and with --compiled on a compiled language model

All are fed one fixed stream of codes, so they do the same work. Rounds alternate (the order turns),
each after warm-up, in windows of --steps codes; before and after each window the memory bandwidth is
measured, because other tenants of the machine change it. A picture's seconds are encoding, prefill, 576 steps and
drawing; --whole also makes one whole picture each way. Parity comes first, on the same geometry with
few layers: equal codes in float32, and in bfloat16 how far the guided logits are from float32's.

--batch 1 4 16 measures instead how many pictures a second this package makes of as many prompts at once.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    JanusConfig,
    JanusVisionConfig,
    JanusVQVAEConfig,
    LlamaConfig,
    LogitsProcessor,
    LogitsProcessorList,
)

from janus4o.generate import engine, guidance
from janus4o.generate.decoder import Decoder
from janus4o.generate.options import GenerateOptions
from janus4o.generate.projection import pick_weights
from janus4o.generate.reading import Branch, Nulls
from janus4o.generate.sampling import new_generator, sample
from janus4o.model import codebook, sequence
from janus4o.model.embed import embed_batch, embed_codes, understand
from janus4o.model.geometry import read_geometry
from janus4o.model.loading import JanusModel, assemble
from janus4o.model.stored import skeleton
from janus4o.model.text import TextTokenizer, word_tokenizer

PROMPT = "a red circle on a blue square beside a green star under a yellow moon " * 3
INSTRUCTION = "make the red circle blue"
BF16_BOUND = 1.25
"""Our guided logits in bfloat16 may be this much farther from float32's than the official loop's."""

# layers, hidden, mlp, heads, SigLIP layers and hidden, VQ channels, image size
GEOMETRIES = {
    "tiny": (2, 256, 704, 4, 2, 128, 32, 96),
    "1b": (24, 2048, 5632, 16, 24, 1024, 128, 384),
    "7b": (30, 4096, 11008, 32, 24, 1024, 128, 384),
}


def build(name: str, dtype: torch.dtype, device: str, layers: int | None = None) -> JanusModel:
    """A model of random weights, made as fast as memory is written."""
    depth, hidden, mlp, heads, vision_layers, vision, channels, side = GEOMETRIES[name]
    words = sorted({*PROMPT.split(), *INSTRUCTION.split()})
    fast = word_tokenizer(words, 16384)
    vocabulary = 102400 if name != "tiny" else len(fast)
    grid = side // 16
    config = JanusConfig(
        text_config=LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=mlp,
            num_hidden_layers=layers or depth,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            max_position_embeddings=16384,
            rms_norm_eps=1e-6,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            tie_word_embeddings=False,
        ),
        vision_config=JanusVisionConfig(
            hidden_size=vision,
            num_hidden_layers=vision_layers,
            num_attention_heads=vision // 64,
            image_size=side,
            patch_size=16,
            num_image_tokens=grid * grid,
            projection_dim=hidden,
        ),
        vq_config=JanusVQVAEConfig(
            embed_dim=8,
            num_embeddings=16384,
            base_channels=channels,
            num_patches=grid,
            projection_dim=hidden,
            image_token_embed_dim=hidden,
        ),
        image_token_id=fast.get_vocab()["<image_placeholder>"],
        tie_word_embeddings=False,
    )
    noise = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    state = {}
    for index, (key, tensor) in enumerate(skeleton(config).state_dict().items()):
        made = torch.zeros(tensor.shape, dtype=dtype, device="cpu")
        if tensor.ndim == 1:
            made.fill_(1.0 if key.endswith("weight") else 0.0)
        else:
            shifted, flat = noise.roll(index * 7919), made.view(-1)
            width = tensor[0].numel()
            for start in range(0, len(flat), len(noise)):
                part = flat[start : start + len(noise)]
                # Not the same for every block, or rows would repeat; sized so that nothing grows.
                part.copy_(shifted[: len(part)]).mul_(width**-0.5 * (1 + start % 7 / 10))
        state[key] = made
    network = assemble(config, state).to(device)
    codebook.normalise_codebook(network)
    geometry = read_geometry(config, fast, name)
    return JanusModel(network, TextTokenizer(fast), geometry, "letterbox", name)


def twin(model: JanusModel) -> JanusModel:
    """The same weights in other modules, so that packing one leaves the other whole."""
    kept = {id(parameter): parameter for parameter in model.network.parameters()}
    network = copy.deepcopy(model.network, kept)
    return JanusModel(network, model.tokenizer, model.geometry, model.fit, model.name)


@dataclass(frozen=True)
class Work:
    """What every engine is asked for.

    Attributes:
        pixels: of the source, [1, 3, S, S]; None for text-to-image.
        forced: the codes to write, int64 [T].
    """

    layout: sequence.Sequence
    how: guidance.Guidance
    pixels: Tensor | None
    forced: Tensor

    def layouts(self, model: JanusModel) -> list[sequence.Sequence]:
        """Of the branches, in the order of guidance."""
        null = sequence.hide_prompt(self.layout, model.geometry)
        if self.pixels is None:
            return [self.layout, null]
        return [self.layout, sequence.hide_sources(self.layout), null]


@dataclass
class Run:
    """One engine's window.

    Attributes:
        encode, prefill, draw: seconds.
        steps: seconds of every step.
        logits: guided, of the first code and of every step, where they were asked for.
    """

    encode: float = 0.0
    prefill: float = 0.0
    draw: float = 0.0
    steps: list[float] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    @property
    def step(self) -> float:
        return statistics.median(self.steps)

    def picture(self, tokens: int) -> float:
        return self.encode + self.prefill + (tokens - 1) * self.step + self.draw


class Clock:
    """Seconds since the last reading, the device's queue emptied."""

    def __init__(self, device: str) -> None:
        self._is_cuda = device.startswith("cuda")
        self.read()

    def read(self) -> float:
        if self._is_cuda:
            torch.cuda.synchronize()
        now, before = time.perf_counter(), getattr(self, "_at", 0.0)
        self._at = now
        return now - before


@torch.inference_mode()
def ours(
    decoder: Decoder, nulls: Nulls, work: Work, steps: int, keep: bool = False, pictures: int = 1
) -> Run:
    """The engine, step by step as `engine.decode` runs it, with forced codes.

    Several `pictures` are of as many prompts, text-to-image only.
    """
    model, run, device = decoder.model, Run(), str(decoder.model.device)
    clock = Clock(device)
    layouts = work.layouts(model)
    if work.pixels is None:
        null = Branch(layouts[1], is_null=True)
        jobs = [engine.Job((Branch(layouts[0]), null), index) for index in range(pictures)]
    else:
        semantic = understand(model.network, work.pixels)
        full = Branch(layouts[0], semantic, codebook.encode(model.network, work.pixels))
        part = Branch(layouts[1], semantic, trunk=full)
        jobs = [engine.Job((full, part, Branch(layouts[2], is_null=True)), 0)]
    run.encode = clock.read()
    batch = engine.prepare(model, jobs)
    memory, logits = engine.prefill(decoder, nulls, batch, static=model.device.type == "cuda")
    forward = engine.stepper(decoder, memory)
    run.prefill = clock.read()
    for index in range(steps):
        guided = work.how.combine(logits.view(work.how.branches, pictures, -1))
        sample(guided, batch.generators, 1.0)
        if keep:
            run.logits.append(guided[0].float().cpu())
        code = work.forced[index : index + 1].to(guided.device)
        logits = forward(code.repeat(work.how.branches * pictures))
        memory.advance()
        run.steps.append(clock.read())
    draw(run, clock, lambda: codebook.decode(model.network, work.forced.repeat(pictures, 1)))
    return run


@torch.inference_mode()
def official(model: JanusModel, work: Work, steps: int, keep: bool = False) -> Run:
    """The model cards' loop, in inference mode as there."""
    network, run = model.network, Run()
    clock = Clock(str(model.device))
    layouts, given = work.layouts(model), {}
    if work.pixels is not None:
        # As officially, every branch's row goes through the tower, the null's as well.
        rows = work.pixels.repeat(3, 1, 1, 1)
        given["semantic"] = understand(network, rows)[:2]
        given["source"] = codebook.encode(network, work.pixels)
    run.encode = clock.read()
    embeds = embed_batch(network, layouts, pad=model.geometry.pad, **given).embeds
    cache = DynamicCache()
    hidden = network.model.language_model(
        inputs_embeds=embeds, past_key_values=cache, use_cache=True
    ).last_hidden_state
    run.prefill = clock.read()
    for index in range(steps):
        logits = network.model.generation_head(hidden[:, -1])
        guided = work.how.combine(logits[:, None])
        torch.multinomial(torch.softmax(guided, dim=-1), 1)
        if keep:
            run.logits.append(guided[0].float().cpu())
        code = work.forced[index : index + 1].to(guided.device)
        embeds = embed_codes(network, code.repeat(len(layouts))[:, None])
        hidden = network.model.language_model(
            inputs_embeds=embeds, past_key_values=cache, use_cache=True
        ).last_hidden_state
        run.steps.append(clock.read())
    draw(run, clock, lambda: network.model.vqmodel.decode(work.forced[None].to(network.device)))
    return run


class Force(LogitsProcessor):  # type: ignore[misc]
    """Makes `generate` write the given codes, and notes when each was asked for."""

    def __init__(self, forced: Tensor, clock: Clock) -> None:
        self.forced, self.clock, self.times = forced.tolist(), clock, []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        out = torch.full_like(scores, -1e4)
        out[:, self.forced[len(self.times)]] = 0
        self.times.append(self.clock.read())
        return out


def transformers(model: JanusModel, work: Work, steps: int, cache: str) -> Run:
    """transformers' own `generate`."""
    network, geometry, run = model.network, model.geometry, Run()
    ids = work.layout.prompt_ids[None].to(network.device)
    vision = network.model.vision_model.config
    config = network.generation_config
    config.generation_kwargs = {"boi_token_id": geometry.begin_of_image}
    clock = Clock(str(model.device))
    force = Force(work.forced, clock)
    vision.num_image_tokens, before = steps + 1, vision.num_image_tokens
    try:
        network.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_mode="image",
            logits_processor=LogitsProcessorList([force]),
            guidance_scale=5.0,
            do_sample=True,
            top_k=0,
            pad_token_id=geometry.pad,
            bos_token_id=geometry.bos,
            max_length=ids.shape[1] + geometry.tokens,
            **({"past_key_values": DynamicCache()} if cache == "dynamic" else {}),
        )
    finally:
        vision.num_image_tokens = before
    run.prefill, run.steps = force.times[0], force.times[1:]
    clock.read()
    draw(run, clock, lambda: network.model.vqmodel.decode(work.forced[None].to(network.device)))
    return run


def draw(run: Run, clock: Clock, decode: Callable[[], Any]) -> None:
    clock.read()
    decode()
    run.draw = clock.read()


def bandwidth(device: str, buffer: Tensor) -> float:
    """Bytes a second this device reads now."""
    clock = Clock(device)
    for _ in range(2):
        buffer.sum()
    return 2 * buffer.nbytes / clock.read()


def step_bytes(model: JanusModel, work: Work, steps: int, weights: str = "packed") -> float:
    """Bytes one step has to read: the weights it uses, and keys and values so far."""
    language, parts = model.network.model.language_model, model.network.model
    used = [language.layers, language.norm, parts.generation_head, parts.generation_aligner]
    bits = {"compiled": 12, "int8": 8, "int4": 4.5}.get(
        weights, 8 * model.dtype.itemsize
    )  # scales too
    weight_bytes = sum(p.nbytes for part in used for p in part.parameters())
    weight_bytes *= bits / (8 * model.dtype.itemsize)
    text = model.network.config.text_config
    position = 2 * text.num_hidden_layers * text.hidden_size * model.dtype.itemsize
    length = len(work.layout.prompt_ids) + steps / 2
    return weight_bytes + work.how.branches * length * position


def peak() -> Iterator[float]:
    """First marks where memory stands, then gives the most that was added since, bytes."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield 0.0
        yield torch.cuda.max_memory_allocated() - before
        return

    def status(key: str) -> int:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    yield 0.0
    yield status("VmHWM") - before


def interval(ratios: list[float]) -> tuple[float, float]:
    """95 % of the median, by bootstrap over rounds."""
    rng = random.Random(0)
    found = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    return found[50], found[1949]


def parity(name: str, device: str, edit: bool, weights: str) -> bool:
    """Codes in float32, logits in bfloat16, on a geometry of at most two layers."""
    whole = build(name, torch.float32, device, layers=2)
    work = make_work(whole, edit)
    decoder, nulls = Decoder(twin(whole), "packed"), Nulls()
    steps = min(96, whole.geometry.tokens)
    mine = ours(decoder, nulls, work, steps, keep=True).logits
    theirs = official(whole, work, steps, keep=True).logits
    exact = torch.stack(theirs)
    worst = (torch.stack(mine) - exact).abs().max().item()
    options = GenerateOptions(temperature=1.0)
    race = [
        [
            sample(row[None], [new_generator(index)], options.temperature).item()
            for index, row in enumerate(rows)
        ]
        for rows in (mine, theirs)
    ]
    same = race[0] == race[1]
    print(f"parity   float32: {steps} sampled codes {'equal' if same else 'DIFFER'}, "
          f"guided logits within {worst:.1e}")  # fmt: skip
    half = build(name, torch.bfloat16, device, layers=2)
    gaps = []
    for logits in (
        ours(Decoder(twin(half), weights), Nulls(), work, steps, keep=True).logits,  # type: ignore[arg-type]
        official(half, work, steps, keep=True).logits,
    ):
        gaps.append((torch.stack(logits) - exact).pow(2).mean().sqrt().item())
    spread = exact.std().item()
    bound = BF16_BOUND if weights in ("compiled", "packed", "plain") else float("inf")
    is_close = gaps[0] <= gaps[1] * bound
    print(f"parity   bfloat16 ({weights}): guided logits off float32 by rms {gaps[0]:.4f}, official loop "
          f"{gaps[1]:.4f}, of a spread of {spread:.2f}; allowed {bound} times the official loop's: "
          f"{'within' if is_close else 'OUTSIDE'}")  # fmt: skip
    return same and is_close


def make_work(model: JanusModel, edit: bool) -> Work:
    geometry = model.geometry
    generator = torch.Generator().manual_seed(1)
    forced = torch.randint(geometry.codebook, (geometry.tokens + 1,), generator=generator)
    forced = forced[: geometry.tokens]
    if not edit:
        layout = sequence.text_to_image(PROMPT, geometry, model.tokenizer)
        return Work(layout, guidance.for_text_to_image(5.0), None, forced)
    layout = sequence.edit(INSTRUCTION, geometry, model.tokenizer)
    side = geometry.image_size
    pixels = torch.rand(1, 3, side, side, generator=generator) * 2 - 1
    return Work(layout, guidance.for_edit(5.0, 5.0), pixels.to(model.device), forced)


def throughput(
    decoder: Decoder, nulls: Nulls, work: Work, steps: int, sizes: list[int], rounds: int
) -> None:
    """Pictures a second in batches of several sizes, in alternating rounds."""
    tokens = decoder.model.geometry.tokens
    runs: dict[int, list[Run]] = {size: [] for size in sizes}
    peaks: dict[int, float] = {}
    for size in sizes:  # warm-up
        memory = peak()
        next(memory)
        ours(decoder, nulls, work, min(steps, 4), pictures=size)
        peaks[size] = next(memory)
    for index in range(rounds):
        for size in sizes[index % len(sizes) :] + sizes[: index % len(sizes)]:
            runs[size].append(ours(decoder, nulls, work, steps, pictures=size))
    print(f"\nmedians of {rounds} rounds of {steps} steps")
    print(f"{'at once':>8}{'ms/step':>10}{'prefill':>9}{'draw':>8}{'images/s':>12}{'peak':>10}")
    for size in sizes:
        step, prefill, drawing, image = (
            statistics.median(of(run) for run in runs[size])
            for of in (
                lambda run: run.step,
                lambda run: run.prefill,
                lambda run: run.draw,
                lambda run: run.picture(tokens),
            )
        )
        print(f"{size:>8}{step * 1e3:>10.1f}{prefill:>9.2f}{drawing:>8.2f}{size / image:>12.4f}"
              f"{peaks[size] / 1e9:>7.2f} GB")  # fmt: skip


@torch.no_grad()
def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--geometry", choices=GEOMETRIES, default="tiny")
    asked.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked.add_argument("--weights", default="auto", help="of this package")
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--steps", type=int, default=96, help="codes a window")
    asked.add_argument(
        "--edit", action="store_true", help="edits, their sources' encoding included"
    )
    asked.add_argument(
        "--batch", type=int, nargs="+", help="pictures at once: only this package, per second"
    )
    asked.add_argument("--compiled", action="store_true", help="also transformers, compiled")
    asked.add_argument("--whole", action="store_true", help="one whole picture each way as well")
    asked.add_argument(
        "--only-ours", action="store_true", help="no other engine (they need memory)"
    )
    options = asked.parse_args()
    if options.batch and options.edit:
        asked.error("--batch measures text-to-image")

    options.weights = pick_weights(
        options.weights, torch.device(options.device), getattr(torch, options.dtype)
    )
    print(f"{options.geometry} {options.dtype} {options.device}, {options.weights} weights, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}, {'edit' if options.edit else 'text-to-image'}")  # fmt: skip
    good = bool(options.batch) or parity(
        options.geometry, options.device, options.edit, options.weights
    )

    model = build(options.geometry, getattr(torch, options.dtype), options.device)
    work = make_work(model, options.edit)
    tokens = model.geometry.tokens
    steps = min(options.steps, tokens - 1)
    decoder, nulls = Decoder(twin(model), options.weights), Nulls()
    engines: dict[str, Callable[[int], Run]] = {"janus4o": lambda k: ours(decoder, nulls, work, k)}
    if not options.only_ours and not options.batch:
        engines["official"] = lambda k: official(model, work, k)
        if not options.edit:
            engines["transformers dynamic"] = lambda k: transformers(model, work, k, "dynamic")
            engines["transformers static"] = lambda k: transformers(model, work, k, "static")
        if options.compiled and not options.edit:
            compiled = twin(model)
            compiled.network.model.language_model.compile()
            engines["transformers static compiled"] = lambda k: transformers(
                compiled, work, k, "static"
            )
    is_cuda = options.device.startswith("cuda")
    buffer = torch.ones((8 if is_cuda else 1) * 2**28, device=options.device)  # 8 or 1 GiB
    bytes_read = {
        name: step_bytes(model, work, steps, options.weights if name == "janus4o" else "plain")
        for name in engines
    }

    if options.batch:
        throughput(decoder, nulls, work, steps, options.batch, options.rounds)
        return 0 if good else 1

    runs: dict[str, list[Run]] = {name: [] for name in engines}
    rates: dict[str, list[float]] = {name: [] for name in engines}
    peaks: dict[str, float] = {}
    for name, engine_run in engines.items():  # warm-up
        memory = peak()
        next(memory)
        engine_run(min(steps, 8))
        peaks[name] = next(memory)
    names = list(engines)
    for index in range(options.rounds):
        for name in names[index % len(names) :] + names[: index % len(names)]:
            before = bandwidth(options.device, buffer)
            runs[name].append(engines[name](steps))
            rates[name].append((before + bandwidth(options.device, buffer)) / 2)
        print(f"round {index + 1}  " + "  ".join(
            f"{name} {runs[name][-1].step * 1e3:.1f} ms ({rates[name][-1] / 1e9:.0f} GB/s)"
            for name in names), flush=True)  # fmt: skip

    def middle(values: Iterator[float] | list[float]) -> float:
        return statistics.median(values)

    print(
        f"\n{bytes_read['janus4o'] / 1e9:.2f} GB a step; medians of {options.rounds} rounds of {steps} steps"
    )
    print(f"{'':<29}{'ms/step':>8}{'floor':>7}{'share':>7}{'encode':>8}{'prefill':>9}{'draw':>6}"
          f"{'s/image':>9}{'slower, 95 %':>22}{'peak':>9}")  # fmt: skip
    for name in names:
        mine = runs[name]
        floors = [bytes_read[name] / rate for rate in rates[name]]
        share = middle([floor / run.step for floor, run in zip(floors, mine, strict=True)])
        ratios = [
            run.picture(tokens) / own.picture(tokens)
            for run, own in zip(mine, runs["janus4o"], strict=True)
        ]
        low, high = interval(ratios)
        versus = "" if name == "janus4o" else f"{middle(ratios):.2f} ({low:.2f}-{high:.2f})"
        print(f"{name:<29}{middle([r.step for r in mine]) * 1e3:>8.1f}{middle(floors) * 1e3:>7.1f}"
              f"{share:>7.0%}{middle([r.encode for r in mine]):>8.2f}"
              f"{middle([r.prefill for r in mine]):>9.2f}{middle([r.draw for r in mine]):>6.2f}"
              f"{middle([r.picture(tokens) for r in mine]):>9.2f}{versus:>22}"
              f"{peaks[name] / 1e9:>6.2f} GB")  # fmt: skip
    if options.whole:
        for name in names:
            run = engines[name](tokens - 1)
            seconds = run.encode + run.prefill + sum(run.steps) + run.draw
            print(f"whole picture  {name:<29}{seconds:>8.2f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
