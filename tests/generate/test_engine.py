"""The fast engine computes what the slow reference computes, whatever it computes beside it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from PIL import Image

from janus4o.generate import guidance
from janus4o.generate.api import Generation, Janus
from janus4o.generate.engine import Job
from janus4o.generate.options import GenerateOptions
from janus4o.generate.reading import Branch
from janus4o.generate.reference import paint_slowly
from janus4o.model import sequence

PROMPTS = (
    "a red circle",
    "a blue square on the left of a red circle",
    "circle",
    "a red circle",
    "the square",
    "a blue circle on the left",
    "make it red",
)


def same(ours: Sequence[Generation], theirs: Sequence[Generation]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.codes.tolist() == other.codes.tolist()
        assert one.image.tobytes() == other.image.tobytes()
        assert (one.seed, one.prompt) == (other.seed, other.prompt)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0])
def test_text_to_image_equals_the_reference(janus: Janus, scale: float, temperature: float) -> None:
    options = GenerateOptions(guidance=scale, temperature=temperature, n=2, seed=3)
    made = janus.generate_with(PROMPTS[:3], options)
    how, geometry = guidance.for_text_to_image(scale), janus.geometry
    for index, one in enumerate(made):
        layout = sequence.text_to_image(PROMPTS[index // 2], geometry, janus.model.tokenizer)
        branches = (Branch(layout), Branch(sequence.hide_prompt(layout, geometry)))
        job = Job(branches[: how.branches], 3 + index % 2)
        assert one.codes.tolist() == paint_slowly(janus.model, job, how, options)[0].tolist()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_edit_equals_the_reference(
    janus: Janus, pictures: list[Image.Image], weight: float, temperature: float
) -> None:
    options = GenerateOptions(semantic_weight=weight, temperature=temperature, seed=9)
    requests = [(pictures[:1], "make it blue"), (pictures[1:], "the left circle on the square")]
    made = janus.edit_with(requests, options)
    how, geometry = guidance.for_edit(5.0, weight), janus.geometry
    for (sources, text), one in zip(requests, made, strict=True):
        layout = sequence.edit(text, geometry, janus.model.tokenizer, len(sources))
        features, codes = janus.features(sources), janus.encode(sources)
        full, part = (
            Branch(layout, features, codes),
            Branch(sequence.hide_sources(layout), features),
        )
        null = Branch(sequence.hide_prompt(layout, geometry))
        job = Job((full, part, null) if weight else (full, null), 9)
        assert one.codes.tolist() == paint_slowly(janus.model, job, how, options)[0].tolist()


def test_a_picture_does_not_depend_on_its_neighbours(janus: Janus) -> None:
    together = janus.generate(PROMPTS, seed=11)
    alone = [janus.generate(prompt, seed=11)[0] for prompt in PROMPTS]
    same(together, alone)
    same(janus.generate(PROMPTS, seed=11, batch=3), together)


def test_an_edit_does_not_depend_on_its_neighbours(
    janus: Janus, pictures: list[Image.Image]
) -> None:
    options = GenerateOptions(seed=2)
    requests = [(pictures[:1], "make it blue"), (pictures[:2], "red"), (pictures[2:], "a circle")]
    together = janus.edit_with(requests, options)
    alone = [janus.edit(sources, text, seed=2)[0] for sources, text in requests]
    same(together, alone)


def test_picture_j_has_seed_plus_j_and_order_is_prompt_major(janus: Janus) -> None:
    together = janus.generate(PROMPTS[:2], n=3, seed=7)
    apart = [janus.generate(prompt, seed=seed)[0] for prompt in PROMPTS[:2] for seed in (7, 8, 9)]
    same(together, apart)
    assert len({tuple(one.codes.tolist()) for one in together}) == 6


def test_words_sources_and_seed_all_matter(janus: Janus, pictures: list[Image.Image]) -> None:
    def codes(sources: list[Image.Image], text: str, seed: int) -> list[int]:
        return [int(code) for code in janus.edit(sources, text, seed=seed)[0].codes]

    first = codes(pictures[:1], "make it blue", 0)
    assert first == codes(pictures[:1], "make it blue", 0)
    assert first != codes(pictures[:1], "make it red", 0)
    assert first != codes(pictures[1:2], "make it blue", 0)
    assert first != codes(pictures[:1], "make it blue", 1)


def test_the_global_random_state_is_neither_read_nor_changed(janus: Janus) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first = janus.generate("a red circle")
    assert torch.equal(torch.rand(1), expected)
    same(janus.generate("a red circle"), first)
