"""The three lines of Python: `janus4o.load(...)`, then generate, edit or describe."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from janus4o.errors import UsageError
from janus4o.generate import describing, guidance
from janus4o.generate.cache import bytes_a_row
from janus4o.generate.decoder import Decoder
from janus4o.generate.engine import Job, Painted, Timings, paint
from janus4o.generate.guidance import Guidance
from janus4o.generate.options import GenerateOptions
from janus4o.generate.projection import Weights, pick_weights
from janus4o.generate.reading import Branch, Nulls
from janus4o.generate.watching import Watch, watcher
from janus4o.images import open_image, to_rgb
from janus4o.model import codebook, sequence
from janus4o.model.device import enough_memory, free_memory, move, pick_device
from janus4o.model.embed import understand
from janus4o.model.geometry import Geometry
from janus4o.model.loading import JanusModel, load_model
from janus4o.model.preprocess import fit_image, to_pixel_values
from janus4o.model.sequence import Sequence as Layout

Source = Image.Image | str | Path | bytes
"""A picture given by a caller: decoded, a file, or encoded bytes."""

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""

CACHE_BYTES = 2 * 2**30
"""Memory the keys and values of one batch may take; on a GPU half of what is free, if that is more."""

PICTURES_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class Generation:
    """One picture a model made.

    Attributes:
        image: RGB.
        codes: int64 [T], the codes it was drawn from.
        seed: the seed of this very picture: with n=1 it alone gives it again.
        prompt: what was asked for.
        timings: of the batch it was made in.
    """

    image: Image.Image
    codes: Tensor
    seed: int
    prompt: str
    timings: Timings


class Janus:
    """A loaded model.

    Args:
        model: the network with its tokenizer and geometry.
        weights: how they are held. "plain" leaves `model` as it is; with the others it can
            only be used through this object.
    """

    def __init__(self, model: JanusModel, weights: Weights = "plain") -> None:
        self.model = model
        self._decoder = Decoder(model, weights)
        self._null = Nulls()

    def __repr__(self) -> str:
        return f"Janus({self.name!r}, {self.model.dtype}, {self.model.device})"

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def geometry(self) -> Geometry:
        return self.model.geometry

    def guidance_or(self, given: float | None) -> float:
        """The guidance to use: the one given, else the checkpoint's own."""
        return self.model.guidance if given is None else given

    def semantic_weight_or(self, given: float | None) -> float:
        """The semantic weight to use: the one given, else the checkpoint's own."""
        return self.model.semantic_weight if given is None else given

    def generate(
        self,
        prompts: str | Sequence[str],
        n: int = 1,
        *,
        guidance: float | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        top_k: int | None = None,
        batch: int | None = None,
        progress: Progress | None = None,
        watch: Watch | None = None,
        speculate: int = 1,
    ) -> list[Generation]:
        """Pictures from words.

        Args:
            prompts: one or many, of any lengths.
            n: pictures a prompt; picture j of each prompt is drawn with seed + j.
            guidance: s; 1 means none; None takes the checkpoint's own (5 where it has none).
            temperature: 0 means greedy.
            top_k: draw only from the k likeliest codes.
            batch: pictures computed at once; None takes what fits. It never changes a result but by rounding in bfloat16.
            watch: who sees unfinished pictures and may stop them.
            speculate: codes guessed and verified a pass, one picture at a time; a seed's picture
                stays the same but for rounding.

        Returns:
            `n` pictures of the first prompt, then `n` of the second, and so on.

        Raises:
            PromptError: a prompt is empty or too long.
            UsageError: an option is out of range.
            Interrupted: `watch` stopped it.
            Refused: it does not fit in memory.
        """
        options = GenerateOptions(
            guidance=self.guidance_or(guidance),
            temperature=temperature,
            n=n,
            seed=seed,
            top_k=top_k,
            speculate=speculate,
        )
        return self.generate_with(
            [prompts] if isinstance(prompts, str) else prompts,
            options,
            batch,
            progress,
            watch=watch,
        )

    def generate_with(
        self,
        prompts: Sequence[str],
        options: GenerateOptions,
        batch: int | None = None,
        progress: Progress | None = None,
        seeds: Sequence[int] | None = None,
        watch: Watch | None = None,
    ) -> list[Generation]:
        """`generate` with checked options; `seeds` gives every prompt its own in place of theirs."""
        how = guidance.for_text_to_image(options.guidance)
        nulls = _NullBranches(self.geometry)
        views = []
        for prompt in prompts:
            layout = sequence.text_to_image(prompt, self.geometry, self.model.tokenizer)
            views.append((Branch(layout), *nulls.of(layout, how)))
        return self._paint(prompts, views, how, options, batch, progress, seeds, watch)

    def edit(
        self,
        sources: Source | Sequence[Source],
        instruction: str,
        n: int = 1,
        *,
        guidance: float | None = None,
        semantic_weight: float | None = None,
        temperature: float = 1.0,
        seed: int = 0,
        top_k: int | None = None,
        watch: Watch | None = None,
        speculate: int = 1,
    ) -> list[Generation]:
        """A picture changed as told.

        Args:
            sources: one or more pictures the instruction is about.
            semantic_weight: s2; lower keeps more of the source; None as for guidance.

        The other arguments and the errors are those of `generate`; an unreadable source raises
        ImageError.
        """
        options = GenerateOptions(
            guidance=self.guidance_or(guidance),
            semantic_weight=self.semantic_weight_or(semantic_weight),
            temperature=temperature,
            n=n,
            seed=seed,
            top_k=top_k,
            speculate=speculate,
        )
        given = [sources] if isinstance(sources, Source) else list(sources)
        return self.edit_with([(given, instruction)], options, watch=watch)

    def edit_with(
        self,
        requests: Sequence[tuple[Sequence[Source], str]],
        options: GenerateOptions,
        batch: int | None = None,
        progress: Progress | None = None,
        seeds: Sequence[int] | None = None,
        watch: Watch | None = None,
    ) -> list[Generation]:
        """Many edits, each (sources, instruction), with checked options; `n` pictures of each.

        `seeds` gives every edit its own in place of the options'.
        """
        how = guidance.for_edit(options.guidance, options.semantic_weight)
        layouts = [
            sequence.edit(text, self.geometry, self.model.tokenizer, len(sources))
            for sources, text in requests
        ]
        start = time.perf_counter()
        pixels = self._pixels([source for sources, _ in requests for source in sources])
        with enough_memory(f"encoding {len(pixels)} sources", "give fewer edits at once"):
            semantic, codes = self._features(pixels), codebook.encode(self.model.network, pixels)
        encode = time.perf_counter() - start
        nulls = _NullBranches(self.geometry)
        views, first = [], 0
        for layout in layouts:
            own = slice(first, first + len(layout.spans.source))
            first = own.stop
            full = Branch(layout, semantic[own], codes[own])
            part = Branch(sequence.hide_sources(layout), semantic[own], trunk=full)
            conditioned = (full, part)[: len(how.weights)]
            views.append((*conditioned, *nulls.of(layout, how)))
        texts = [text for _, text in requests]
        made = self._paint(texts, views, how, options, batch, progress, seeds, watch)
        return [replace(one, timings=replace(one.timings, encode=encode)) for one in made]

    def encode(self, images: Sequence[Source]) -> Tensor:
        """VQ codes of pictures, int64 [B, T]."""
        return codebook.encode(self.model.network, self._pixels(images))

    def decode(self, codes: Tensor) -> list[Image.Image]:
        """The pictures VQ codes, int64 [B, T], stand for."""
        geometry = self.geometry
        if codes.ndim != 2 or codes.shape[1] != geometry.tokens:
            raise UsageError(
                f"codes of shape {tuple(codes.shape)}", f"give [pictures, {geometry.tokens}]"
            )
        if len(codes) and (int(codes.min()) < 0 or int(codes.max()) >= geometry.codebook):
            raise UsageError("a code is outside the codebook", f"give 0 to {geometry.codebook - 1}")
        if not len(codes):
            return []
        pictures = codebook.decode(self.model.network, codes)
        return [Image.fromarray(pixels) for pixels in pictures]

    def features(self, images: Sequence[Source]) -> Tensor:
        """Understanding features after the aligner, float [B, T, D]."""
        return self._features(self._pixels(images))

    def describe(self, image: Source, question: str, longest: int = 256) -> str:
        """The model's answer to a question about a picture, at most `longest` tokens, greedy."""
        with enough_memory("a picture and a question", "use dtype bfloat16 or a smaller model"):
            return describing.answer(self._decoder, self.features([image]), question, longest)

    def _pixels(self, images: Sequence[Source]) -> Tensor:
        if not images:
            raise UsageError("no picture was given", "give at least one")
        fitted = [
            fit_image(
                to_rgb(image) if isinstance(image, Image.Image) else open_image(image),
                self.geometry,
                self.model.fit,
            )
            for image in images
        ]
        return to_pixel_values(np.stack(fitted))

    @torch.no_grad()
    def _features(self, pixel_values: Tensor) -> Tensor:
        parts = torch.split(pixel_values, PICTURES_AT_ONCE)
        return torch.cat([understand(self.model.network, part) for part in parts])

    def _paint(
        self,
        prompts: Sequence[str],
        views: Sequence[tuple[Branch, ...]],
        how: Guidance,
        options: GenerateOptions,
        batch: int | None,
        progress: Progress | None,
        seeds: Sequence[int] | None,
        watch: Watch | None,
    ) -> list[Generation]:
        """Runs all pictures in batches of similar length and returns them prompt-major."""
        if batch is not None and batch < 1:
            raise UsageError(f"batch = {batch}", "give at least 1, or leave it out")
        if not views:
            return []
        firsts = [options.seed] * len(views) if seeds is None else seeds
        jobs = [
            Job(branches, first + index)
            for branches, first in zip(views, firsts, strict=True)
            for index in range(options.n)
        ]
        # The longest first: what does not fit in memory fails at once.
        order = sorted(range(len(jobs)), key=lambda i: -len(jobs[i].branches[0].layout))
        size = batch or self._fitting(how, jobs[order[0]])
        if options.speculate > 1:
            size = 1  # pictures keep different numbers of codes a pass
        made: list[Generation | None] = [None] * len(jobs)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            asked = [(jobs[i].seed, prompts[i // options.n]) for i in chosen]
            after = watcher(self.model, watch, asked) if watch is not None else None
            with enough_memory(f"a batch of {len(chosen)} pictures", "ask for a smaller batch"):
                batched = [jobs[i] for i in chosen]
                painted = paint(self._decoder, self._null, batched, how, options, after)
            for row, i in enumerate(chosen):
                made[i] = _generation(painted, row, jobs[i].seed, prompts[i // options.n])
            if progress is not None:
                progress(start + len(chosen), len(jobs))
        return [one for one in made if one is not None]

    def _fitting(self, how: Guidance, longest: Job) -> int:
        row = bytes_a_row(self.model, len(longest.branches[0].layout))
        room = max(CACHE_BYTES, free_memory(self.model.device) // 2)
        return max(1, min(PICTURES_AT_ONCE, room // (row * how.branches)))


class _NullBranches:
    """The null branch of every length, made once: it depends on nothing else."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._made: dict[int, Branch] = {}

    def of(self, layout: Layout, how: Guidance) -> tuple[Branch, ...]:
        if not how.has_null:
            return ()
        if len(layout) not in self._made:
            self._made[len(layout)] = Branch(
                sequence.hide_prompt(layout, self._geometry), is_null=True
            )
        return (self._made[len(layout)],)


def _generation(painted: Painted, row: int, seed: int, prompt: str) -> Generation:
    image = Image.fromarray(painted.pictures[row])
    codes = painted.codes[row].clone()  # an ordinary tensor, not one of inference mode
    return Generation(image, codes, seed, prompt, painted.timings)


def load(
    where: str | Path, device: str = "auto", dtype: str = "auto", weights: str = "auto"
) -> Janus:
    """Loads a model.

    Args:
        where: a checkpoint folder, a hub id, or "sketch-base" (the small one in this package).
        device: "auto" takes a GPU if there is one; else as torch names it.
        dtype: "auto" is bfloat16, except on a CPU for checkpoints that are not stored in it, where
            it is float32; else as torch names it.
        weights: "auto" is the fastest way to the same numbers: "compiled" (steps of a few rows, in
            bfloat16 on a CPU that can) or else "packed", reordered for this processor. int8 and
            int4 are smaller and not the same. "plain" is for a model that is to be trained.

    Raises:
        CheckpointError: it cannot be read.
        Refused: it does not fit in memory.
        UsageError: there is no such device, dtype or kind of weights.
    """
    place = pick_device(device)
    number = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype, None)
    if number not in (torch.float32, torch.bfloat16, torch.float16):
        raise UsageError(f"dtype {dtype!r}", "auto, float32, bfloat16 or float16")
    stored = dtype == "auto" and place.type == "cpu"
    with enough_memory(f"model {str(where)!r}"):
        model = load_model(where, None if stored else number)
        if stored and model.dtype != torch.bfloat16:
            model.network.float()
        move(model.network, place)
        return Janus(model, pick_weights(weights, place, model.dtype))
