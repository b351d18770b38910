"""Token layouts: equal to the official code's, the same in training and inference, not injectable."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from janus4o.errors import PromptError
from janus4o.model import sequence
from janus4o.model.geometry import SPECIALS, SYSTEM_PROMPT, Geometry
from janus4o.model.loading import JanusModel
from janus4o.model.sequence import Sequence
from janus4o.model.text import TextTokenizer


def test_special_ids_and_sizes_come_from_the_checkpoint(official_geometry: Geometry) -> None:
    ids = {400: "bos", 401: "eos", 402: "pad", 403: "begin_of_image", 404: "image"}
    ids |= {408: "end_of_image", 409: "user", 410: "assistant"}
    assert {number: getattr(official_geometry, name) for number, name in ids.items()} == {
        number: number for number in ids
    }
    geometry = official_geometry
    assert (geometry.image_size, geometry.grid, geometry.tokens) == (384, 24, 576)
    assert (geometry.codebook, geometry.code_width) == (1024, 8)
    assert (geometry.hidden, geometry.vocabulary, geometry.positions) == (64, 512, 4096)


@pytest.mark.parametrize("index", [0, 1])
def test_text_to_image_has_the_official_ids(
    index: int, golden: Path, official_geometry: Geometry, official_tokenizer: TextTokenizer
) -> None:
    facts = json.loads((golden / "outputs/t2i.json").read_text(encoding="utf-8"))
    ids, null_ids = np.load(golden / "outputs/t2i.npz")[f"p{index}_input_ids"].tolist()
    prompt = facts["prompts"][index]["prompt"]
    made = sequence.text_to_image(prompt, official_geometry, official_tokenizer)
    assert made.prompt_ids.tolist() == ids
    assert sequence.hide_prompt(made, official_geometry).prompt_ids.tolist() == null_ids


@pytest.mark.parametrize("index", [0, 1])
def test_edit_has_the_official_ids(
    index: int, golden: Path, official_geometry: Geometry, official_tokenizer: TextTokenizer
) -> None:
    facts = json.loads((golden / "outputs/edit.json").read_text(encoding="utf-8"))
    full, part, null = np.load(golden / "outputs/edit.npz")[f"e{index}_input_ids"].tolist()
    instruction = facts["instructions"][index]["instruction"]
    made = sequence.edit(instruction, official_geometry, official_tokenizer)
    assert made.prompt_ids.tolist() == full
    assert sequence.hide_sources(made).prompt_ids.tolist() == part
    assert sequence.hide_prompt(made, official_geometry).prompt_ids.tolist() == null


def placed(whole: str, tokenizer: TextTokenizer, blocks: dict[str, list[int]]) -> list[int]:
    """Official ids of a formatted text: tokenised as one string, then each marker made a block."""
    ids = tokenizer.fast(whole)["input_ids"]
    vocabulary = tokenizer.fast.get_vocab()
    by_id = {vocabulary[marker]: block for marker, block in blocks.items()}
    return [one for id in ids for one in by_id.get(id, [id])]


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_an_edit_is_the_official_format_with_a_block_for_each_source(
    sources: int, official_geometry: Geometry, official_tokenizer: TextTokenizer
) -> None:
    g = official_geometry
    block = [
        *(g.begin_of_image, *[g.image] * g.tokens, g.end_of_image),
        *(g.begin_of_image, *[g.pad] * g.tokens, g.end_of_image),
    ]
    whole = f"<|User|>: {'<image_placeholder>' * sources} Swap them!\n\n<|Assistant|>:"
    expected = placed(whole, official_tokenizer, {"<image_placeholder>": block})
    made = sequence.edit(" Swap them!\n ", g, official_tokenizer, sources)
    assert made.prompt_ids.tolist() == [*expected, g.begin_of_image]


@pytest.mark.parametrize("system", ["", SYSTEM_PROMPT])
def test_a_question_is_the_official_understanding_format(
    system: str, official_geometry: Geometry, official_tokenizer: TextTokenizer
) -> None:
    g = official_geometry
    before = f"{system}\n\n" if system else ""
    whole = f"{before}<|User|>: <image_placeholder>\n What is (this)?\n\n<|Assistant|>:"
    block = [g.begin_of_image, *[g.image] * g.tokens, g.end_of_image]
    expected = placed(whole, official_tokenizer, {"<image_placeholder>": block})
    made = sequence.describe(" What is (this)? ", g, official_tokenizer, system=system)
    assert made.prompt_ids.tolist() == expected


@pytest.mark.parametrize("text", ["A fox, (red) & 2 dogs!", "  ünïcode — 狐\n\nlines ", "x" * 40])
def test_pieces_equal_the_whole_string_tokenised_officially(
    text: str, official_geometry: Geometry, official_tokenizer: TextTokenizer
) -> None:
    whole = f"<|User|>: {text.strip()}\n\n<|Assistant|>:<begin_of_image>"
    made = sequence.text_to_image(text, official_geometry, official_tokenizer)
    assert made.prompt_ids.tolist() == official_tokenizer.fast(whole)["input_ids"]


@given(text=st.lists(st.sampled_from([*SPECIALS, "red", " ", "<", "|>", "\n"]), min_size=1))
def test_text_never_becomes_a_special_token(
    text: list[str], official_geometry: Geometry, official_tokenizer: TextTokenizer
) -> None:
    ids = official_tokenizer.encode("".join(text))
    special = {official_tokenizer.fast.get_vocab()[name] for name in SPECIALS}
    assert not special & set(ids)


def test_words_with_special_spelling_are_unknown_words_of_a_tiny_model(model: JanusModel) -> None:
    evil = f"a red circle{''.join(SPECIALS)}"
    made = sequence.edit(evil, model.geometry, model.tokenizer)
    plain = sequence.edit("a red circle", model.geometry, model.tokenizer)
    for name in SPECIALS:
        special = model.tokenizer.fast.get_vocab()[name]
        assert (made.ids == special).sum() == (plain.ids == special).sum()
    assert model.tokenizer.special_tokens(evil) != []
    assert model.tokenizer.unknown_words("a red zebra") == ["zebra"]


def layouts(model: JanusModel) -> list[Sequence]:
    geometry, tokenizer = model.geometry, model.tokenizer
    return [
        sequence.text_to_image("a red circle", geometry, tokenizer),
        sequence.edit("make it blue", geometry, tokenizer),
        sequence.edit("make it blue", geometry, tokenizer, sources=3),
        sequence.describe("what is this", geometry, tokenizer, answer="a red circle"),
    ]


def test_spans_say_what_lies_where(model: JanusModel) -> None:
    geometry = model.geometry
    for made in layouts(model):
        spans, ids = made.spans, made.ids
        assert len(made) == spans.target.stop
        assert made.loss_mask.nonzero().flatten().tolist() == list(
            range(spans.target.start, spans.target.stop)
        )
        assert spans.prompt == slice(1, spans.target.start - 1)
        for span in (*spans.semantic, *spans.source):
            assert span.stop - span.start == geometry.tokens
            assert ids[span.start - 1] == geometry.begin_of_image
            assert ids[span.stop] == geometry.end_of_image
        for span in spans.semantic:
            assert (ids[span] == geometry.image).all()
        for span in spans.source:
            assert (ids[span] == geometry.pad).all()


def test_a_training_sequence_begins_with_the_inference_prompt(model: JanusModel) -> None:
    geometry, tokenizer = model.geometry, model.tokenizer
    asked = sequence.describe("what is this", geometry, tokenizer)
    taught = sequence.describe("what is this", geometry, tokenizer, answer="a red circle")
    assert torch.equal(asked.prompt_ids, taught.prompt_ids)
    assert len(asked) == len(asked.prompt_ids)
    assert tokenizer.decode(taught.ids[taught.spans.target].tolist()) == "a red circle"
    assert taught.ids[-1] == geometry.eos


def test_hiding_keeps_length_ends_and_target(model: JanusModel) -> None:
    for made in layouts(model):
        hidden = sequence.hide_prompt(made, model.geometry)
        assert len(hidden) == len(made)
        assert hidden.spans.semantic == hidden.spans.source == ()
        inside = hidden.spans.prompt
        assert (hidden.ids[inside] == model.geometry.pad).all()
        assert hidden.ids[0] == made.ids[0]
        assert torch.equal(hidden.ids[inside.stop :], made.ids[inside.stop :])
        part = sequence.hide_sources(made)
        assert torch.equal(part.ids, made.ids)
        assert part.spans.source == ()
        assert part.spans.semantic == made.spans.semantic


def test_empty_and_overlong_prompts_are_refused(model: JanusModel) -> None:
    geometry, tokenizer = model.geometry, model.tokenizer
    with pytest.raises(PromptError, match="the prompt is empty"):
        sequence.text_to_image(" \n", geometry, tokenizer)
    with pytest.raises(PromptError, match="the instruction is empty"):
        sequence.edit("", geometry, tokenizer)
    with pytest.raises(PromptError, match="without a source"):
        sequence.edit("make it blue", geometry, tokenizer, sources=0)
    with pytest.raises(PromptError, match="the model takes 1024"):
        sequence.text_to_image("red " * 1100, geometry, tokenizer)
