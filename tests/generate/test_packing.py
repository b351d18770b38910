"""Weights held otherwise: the same pictures, nothing doubled, and a word to who wants them back."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from janus4o.errors import UsageError
from janus4o.generate import engine, guidance
from janus4o.generate.api import Generation, Janus
from janus4o.generate.decoder import Decoder
from janus4o.generate.options import GenerateOptions
from janus4o.generate.projection import can_pack, pick_weights, project
from janus4o.generate.reading import BLOCK, Branch, Nulls
from janus4o.model import sequence
from janus4o.model.loading import JanusModel, TinyConfig, new_model, save_model

from .conftest import WORDS

CPU = torch.device("cpu")


def copied(model: JanusModel, dtype: torch.dtype = torch.float32) -> JanusModel:
    network = copy.deepcopy(model.network).to(dtype)
    return JanusModel(network, model.tokenizer, model.geometry, model.fit, model.name)


def codes(made: Sequence[Generation]) -> list[list[int]]:
    return [one.codes.tolist() for one in made]


def test_packed_weights_draw_the_same(janus: Janus, pictures: list[Image.Image]) -> None:
    packed = Janus(copied(janus.model), "packed")
    prompts = ["a red circle", "a blue square on the left of a red circle", "circle"]
    assert codes(packed.generate(prompts, n=2)) == codes(janus.generate(prompts, n=2))
    edited = packed.edit(pictures[:2], "make it blue", n=2)
    assert codes(edited) == codes(janus.edit(pictures[:2], "make it blue", n=2))
    question = "what is this"
    assert packed.describe(pictures[0], question, 8) == janus.describe(pictures[0], question, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packing_leaves_pictures_to_codes_and_back_as_they_are(
    janus: Janus, pictures: list[Image.Image], dtype: torch.dtype
) -> None:
    plain = Janus(copied(janus.model, dtype))
    packed = Janus(copied(janus.model, dtype), "packed")
    assert torch.equal(packed.features(pictures), plain.features(pictures))
    assert torch.equal(packed.encode(pictures), plain.encode(pictures))
    codes_BT = plain.encode(pictures)
    for ours, theirs in zip(packed.decode(codes_BT), plain.decode(codes_BT), strict=True):
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_projection_is_its_layers_side_by_side(dtype: torch.dtype) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(192, out).to(dtype) for out in (192, 96, 96)]
        x = torch.randn(9, 192).to(dtype)
    expected = torch.cat([layer(x) for layer in layers], dim=-1)
    packed = project(layers, "packed")
    for rows in (1, 2, 3, 4, 9):
        torch.testing.assert_close(packed(x[:rows]), expected[:rows])


@pytest.mark.parametrize(("weights", "allowed"), [("int8", 0.02), ("int4", 0.15)])
@pytest.mark.parametrize("rows", [2, 40])
def test_small_weights_are_near(weights: str, allowed: float, rows: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, x = nn.Linear(256, 128).bfloat16(), torch.randn(rows, 256).bfloat16()
    expected = layer(x).float()
    off = project([layer], weights)(x).float() - expected  # type: ignore[arg-type]
    assert 1e-5 < (off.norm() / expected.norm()).item() < allowed


@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize(("width", "out"), [(8, 64), (40, 16), (32, 29), (64, 29), (96, 48)])
def test_layers_of_odd_sizes_have_a_way_too(weights: str, width: int, out: int) -> None:
    """torch's kernels for small weights read beyond rows they were not made for."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, x = nn.Linear(width, out).bfloat16(), torch.randn(5, width).bfloat16()
    expected = layer(x).float()
    off = project([layer], weights)(x).float() - expected  # type: ignore[arg-type]
    assert off.norm() / expected.norm() < 0.15


def test_what_is_packed_says_so_instead_of_computing_or_saving(
    janus: Janus, tmp_path: Path
) -> None:
    packed = Janus(copied(janus.model), "packed")
    with pytest.raises(UsageError, match="cannot be saved") as caught:
        save_model(packed.model, tmp_path / "out")
    assert "plain" in caught.value.remedy
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="packed to generate"):
        packed.model.network.lm_head(torch.zeros(1, 64))


def test_kinds_of_weights_that_do_not_exist_here_are_refused() -> None:
    with pytest.raises(UsageError, match="weights 'int2'"):
        pick_weights("int2", CPU, torch.bfloat16)
    with pytest.raises(UsageError, match="int8 weights and dtype"):
        pick_weights("int8", CPU, torch.float32)
    with pytest.raises(UsageError, match="int4 weights on cuda"):
        pick_weights("int4", torch.device("cuda"), torch.bfloat16)
    assert pick_weights("auto", CPU, torch.float32) == "packed"


def test_without_the_private_operators_plain_ones_are_used(
    janus: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr("janus4o.generate.projection._packed", gone)
    can_pack.cache_clear()
    assert not can_pack("cpu", torch.float32)
    fused = Janus(copied(janus.model), "packed")
    assert codes(fused.generate("a red circle")) == codes(janus.generate("a red circle"))
    can_pack.cache_clear()


def test_grouped_heads_biases_and_other_layers(janus: Janus) -> None:
    """All of the text config is honoured: the engine and the network say the same."""
    model = new_model(WORDS, TinyConfig(hidden=64, layers=2, heads=4, mlp=96))
    config = copy.deepcopy(model.network.config)
    config.text_config.num_key_value_heads = 2
    config.text_config.attention_bias = config.text_config.mlp_bias = True
    config.text_config.hidden_act = "gelu"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = type(model.network)(config).eval()
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter)
    model = JanusModel(network, model.tokenizer, model.geometry, "crop", "grouped")
    ids = torch.arange(8, 20)
    forced = torch.arange(5) * 7
    with torch.no_grad():
        language = network.model.language_model
        seen = torch.cat(
            [
                language.embed_tokens(ids),
                network.model.generation_aligner(network.model.generation_embeddings(forced)),
            ]
        )
        expected = language(inputs_embeds=seen[None]).last_hidden_state[0, len(ids) - 1 :]
        expected = network.model.generation_head(expected)
    for weights in ("plain", "packed"):
        found = forced_logits(Decoder(copied(model), weights), ids, forced)  # type: ignore[arg-type]
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


@torch.no_grad()
def forced_logits(
    decoder: Decoder, ids: torch.Tensor, forced: torch.Tensor, static: bool = False
) -> torch.Tensor:
    """Logits before and after each forced code, [1 + codes, codebook]."""
    layout = sequence.Sequence(
        torch.cat([ids, torch.zeros(16, dtype=torch.int64)]),
        sequence.Spans(slice(1, 2), (), (), slice(len(ids), len(ids) + 16)),
        torch.zeros(len(ids) + 16, dtype=torch.bool),
    )
    batch = engine.prepare(decoder.model, [engine.Job((Branch(layout),), 0)])
    memory, logits = engine.prefill(decoder, Nulls(), batch, static=static)
    forward = engine.stepper(decoder, memory, lambda recorded: recorded)
    seen = [logits[0]]
    for code in forced:
        seen.append(forward(code[None])[0])
        memory.advance()
    return torch.stack(seen)


def test_fixed_memory_under_a_mask_computes_the_same(janus: Janus) -> None:
    """What a CUDA graph replays, run here without one."""
    decoder, ids, forced = Decoder(janus.model), torch.arange(8, 15), torch.arange(12) * 3
    sliced = forced_logits(decoder, ids, forced)
    masked = forced_logits(decoder, ids, forced, static=True)
    torch.testing.assert_close(masked, sliced, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("n", [1, 2])
def test_pictures_of_fixed_memory_are_the_same(janus: Janus, n: int) -> None:
    """All of the way a GPU goes but the capture: prompts of two lengths, one or two pictures each."""
    decoder, geometry = Decoder(janus.model), janus.geometry
    how, options = guidance.for_text_to_image(5.0), GenerateOptions(n=n)
    prompts = ["a red circle", "a blue square on the left"]
    jobs = []
    for prompt in prompts:
        layout = sequence.text_to_image(prompt, geometry, janus.model.tokenizer)
        null = Branch(sequence.hide_prompt(layout, geometry), is_null=True)
        jobs += [engine.Job((Branch(layout), null), seed) for seed in range(n)]
    calls = 0

    def record(forward: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        out = forward()  # a graph answers in one tensor, over and over

        def play() -> torch.Tensor:
            nonlocal calls
            calls += 1
            return out.copy_(forward())

        return play

    batch = engine.prepare(janus.model, jobs)
    memory, logits = engine.prefill(decoder, Nulls(), batch, static=True)
    drawn = engine.decode(decoder, memory, logits, batch.generators, how, options, record)
    expected = janus.generate_with(prompts, options)
    assert torch.cat(list(drawn), 1).tolist() == codes(expected)
    assert calls == geometry.tokens - 1


def test_the_null_branch_does_not_depend_on_what_was_asked_before(janus: Janus) -> None:
    decoder = Decoder(copied(janus.model, torch.bfloat16), "packed")
    grown, at_once = Nulls(), Nulls()
    with torch.no_grad():
        for length in (3, BLOCK + 1, 5, 3 * BLOCK):
            longest = grown.upto(decoder, length)
        other = at_once.upto(decoder, 3 * BLOCK)
    for mine, theirs in zip(longest.keys + longest.values, other.keys + other.values, strict=True):
        assert torch.equal(mine, theirs)


def test_a_model_in_training_gets_no_stale_null_branch(janus: Janus) -> None:
    live = Janus(copied(janus.model))
    live.generate("a red circle")
    with torch.no_grad():
        for parameter in live.model.network.model.language_model.parameters():
            parameter.mul_(1.5)
    fresh = Janus(copied(live.model))
    assert codes(live.generate("a red circle")) == codes(fresh.generate("a red circle"))


def test_each_prompt_token_is_computed_once(
    janus: Janus, pictures: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The null branch's last token, the full branch, and the part branch from the first code."""
    packed = Janus(copied(janus.model), "packed")
    packed.edit(pictures[0], "make it blue")  # the null branch is kept from here
    seen: list[int] = []
    run = Decoder.run

    def counted(self: Decoder, x: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(len(x))
        return run(self, x, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Decoder, "run", counted)
    packed.edit(pictures[0], "make it blue", n=3)
    geometry = packed.geometry
    layout = sequence.edit("make it blue", geometry, packed.model.tokenizer)
    length, shared = len(layout.prompt_ids), layout.spans.source[0].start
    how = guidance.for_edit(5.0, 5.0)
    assert seen[0] == length + (length - shared) + 1
    assert seen[1:] == [3 * how.branches] * (geometry.tokens - 1)
