"""The compiled step and its compact weights: nothing lost, and as near to float32 as torch's own operators."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from janus4o.errors import UsageError
from janus4o.generate import compact, engine
from janus4o.generate.api import Janus
from janus4o.generate.compact import GROUP, LISTED, MOST, Compact, can_compact
from janus4o.generate.decoder import Decoder
from janus4o.generate.native import Library
from janus4o.generate.projection import Compacted, Weights, pick_weights, project
from janus4o.generate.reading import Branch, Nulls
from janus4o.model import sequence
from janus4o.model.loading import JanusModel, TinyConfig, new_model

from .conftest import WORDS
from .test_packing import CPU, codes, copied

PROMPTS = ("a red circle", "a blue square on the left of a red circle", "circle", "blue", "red")


@pytest.fixture(scope="module")
def library() -> Library:
    found = compact.find()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """Nothing found yet, an empty cache; what a test makes of `find` is forgotten after it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    compact.find.cache_clear()
    yield monkeypatch
    compact.find.cache_clear()


@pytest.fixture(scope="module")
def grouped() -> JanusModel:
    """Four heads on two of keys, widths that are no power of two."""
    model = new_model(WORDS, TinyConfig(hidden=192, layers=3, heads=4, mlp=160, std=0.1))
    config = copy.deepcopy(model.network.config)
    config.text_config.num_key_value_heads = 2
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = type(model.network)(config).eval()
        for name, parameter in network.named_parameters():
            if "norm" in name or "bias" in name:
                nn.init.normal_(parameter, 1.0, 0.3)
    return JanusModel(network, model.tokenizer, model.geometry, "crop", "grouped")


@torch.no_grad()
def logits(model: JanusModel, weights: Weights, prompts: int, n: int) -> Tensor:
    """[steps, rows, V] of codes forced on `n` pictures of each of the first prompts."""
    decoder = Decoder(model, weights)
    layouts = [
        sequence.text_to_image(prompt, model.geometry, model.tokenizer)
        for prompt in PROMPTS[:prompts]
    ]
    branches = [Branch(layout) for layout in layouts]
    jobs = [engine.Job((branch,), seed) for branch in branches for seed in range(n)]
    memory, first = engine.prefill(decoder, Nulls(), engine.prepare(model, jobs))
    found = [first]
    for index in range(6):
        fed = torch.arange(prompts * n) * 5 + index
        found.append(engine.step(decoder, memory, fed))
        memory.advance()
    return torch.stack(found).float()


@pytest.mark.parametrize(("prompts", "n"), [(1, 1), (1, 2), (3, 1), (4, 1), (1, 5), (3, 2), (4, 2)])
@pytest.mark.parametrize("shape", ["tiny", "grouped"])
def test_a_compiled_step_is_no_further_from_float32_than_a_plain_one(
    library: Library, janus: Janus, grouped: JanusModel, shape: str, prompts: int, n: int
) -> None:
    half = copied(grouped if shape == "grouped" else janus.model, torch.bfloat16)
    exact = logits(copied(half), "plain", prompts, n)
    plain = logits(half, "plain", prompts, n) - exact
    made = logits(copied(half, torch.bfloat16), "compiled", prompts, n) - exact
    assert not torch.equal(made, plain)  # it was another way
    assert made.square().mean() < 1.25**2 * plain.square().mean()


def test_rows_do_not_see_each_other(library: Library, janus: Janus) -> None:
    half = copied(janus.model, torch.bfloat16)
    alone, many = (
        logits(copied(half, torch.bfloat16), "compiled", prompts, 1) for prompts in (1, 5)
    )
    torch.testing.assert_close(many[:, 0], alone[:, 0], rtol=0, atol=0.05)
    twice = [logits(copied(half, torch.bfloat16), "compiled", 3, 1) for _ in range(2)]
    assert torch.equal(*twice)


def test_threads_change_no_more_than_rounding(library: Library, grouped: JanusModel) -> None:
    half, threads = copied(grouped, torch.bfloat16), torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(logits(copied(half, torch.bfloat16), "compiled", 2, 1)[-1])
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0.05)  # prompts are torch's
    torch.testing.assert_close(found[2], found[0], rtol=0, atol=0.05)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 11, MOST])
@pytest.mark.parametrize(("width", "out"), [(32, 8), (96, 40), (64, 24), (GROUP, 8), (416, 264)])
def test_a_product_is_rounded_once(library: Library, rows: int, width: int, out: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(rows)
        layer, x = nn.Linear(width, out).bfloat16(), torch.randn(rows, width).bfloat16()
        layer.weight.data.mul_(torch.randn(out, width).exp2())  # a few exponents outside
    weight, bias = layer.weight.detach(), layer.bias.detach()
    held = compacted(library, weight)
    found = held.multiply(x, bias)
    exact = F.linear(x.double(), weight.double(), bias.double())
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-5)
    assert torch.equal(bits(held.unpack()), bits(weight))


def compacted(library: Library, weight: Tensor) -> Compact:
    made = compact.compact(library, weight)
    assert made is not None
    return made


def bits(one: Tensor) -> Tensor:
    return one.contiguous().view(torch.int16)


def test_every_number_comes_back(library: Library) -> None:
    """Both zeros, the smallest and the largest, infinity and the others that are none."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weight = (torch.randn(512, 256) * 0.02).bfloat16()
    odd = torch.tensor([0, 0x8000, 1, 0x8001, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7FC1, 0x0080])
    weight.view(-1)[torch.arange(10) * 9973] = odd.to(torch.int16).view(torch.bfloat16)
    held = compacted(library, weight)
    back = held.unpack()
    assert torch.equal(bits(back).where(~weight.isnan(), 0), bits(weight).where(~weight.isnan(), 0))
    assert torch.equal(back.isnan(), weight.isnan())
    assert 8 <= len(held.value) <= 8 + weight.numel() // LISTED
    assert held.nbytes < 0.77 * weight.nbytes


def test_what_the_code_cannot_read_is_refused(library: Library) -> None:
    layer = nn.Linear(128, 64).bfloat16()
    held = compacted(library, layer.weight.detach())
    x = torch.zeros(2, 128).bfloat16()
    for wrong in (x.float(), x[:, :64], x[0], x[None], x[:1].expand(MOST + 1, -1)):
        with pytest.raises(ValueError, match=f"at most {MOST} rows of 128 in bfloat16"):
            held.multiply(wrong)
    assert not can_compact(copy.deepcopy(layer).float())
    project([layer], "compiled")
    with pytest.raises(UsageError, match="packed to generate"):
        project([layer], "compiled")


def test_a_step_past_the_memory_is_refused(library: Library, janus: Janus) -> None:
    model = copied(janus.model, torch.bfloat16)
    decoder = Decoder(model, "compiled")
    job = engine.Job((Branch(sequence.text_to_image("red", model.geometry, model.tokenizer)),), 0)
    memory, _ = engine.prefill(decoder, Nulls(), engine.prepare(model, [job]))

    def go_on() -> None:
        for _ in range(model.geometry.tokens + 64):
            engine.step(decoder, memory, torch.zeros(1, dtype=torch.long))
            memory.advance()

    with pytest.raises(ValueError, match="past the"):
        go_on()


def test_numbers_of_all_sizes_are_not_held_so(library: Library) -> None:
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    layer = nn.Linear(256, 256, bias=False).bfloat16()
    layer.weight.data = every.view(256, 256).nan_to_num(0, 0, 0).contiguous()
    assert compact.compact(library, layer.weight.detach()) is None
    assert not isinstance(project([layer], "compiled"), Compacted)


def test_layers_of_odd_sizes_and_many_rows_are_torchs(library: Library) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        odd, even = nn.Linear(40, 29).bfloat16(), nn.Linear(64, 32).bfloat16()
        x = torch.randn(MOST + 1, 64).bfloat16()
    assert not can_compact(odd)
    expected = odd(x[:2, :40]), even(x)
    torch.testing.assert_close(project([odd], "compiled")(x[:2, :40]), expected[0])
    assert torch.equal(project([even], "compiled")(x), expected[1])


def test_pictures_edits_and_answers_come_out(
    library: Library, janus: Janus, pictures: list[Image.Image]
) -> None:
    plain = Janus(copied(janus.model, torch.bfloat16))
    made = Janus(copied(janus.model, torch.bfloat16), "compiled")
    for do in (
        lambda one: one.generate(PROMPTS[:2], n=2, temperature=0),
        lambda one: one.edit(pictures[:2], "make it blue", temperature=0),
    ):
        ours, theirs = (torch.tensor(codes(do(one))) for one in (made, plain))
        assert ours.shape == theirs.shape
        assert (ours == theirs).float().mean() > 0.5  # a rounding may turn a code and all after it
    assert isinstance(made.describe(pictures[0], "what is this", 4), str)


def test_without_a_compiler_weights_are_packed(nowhere: pytest.MonkeyPatch) -> None:
    nowhere.setattr("shutil.which", lambda _: None)
    nowhere.delenv("CC", raising=False)
    assert pick_weights("auto", CPU, torch.bfloat16) == "packed"
    with pytest.raises(UsageError, match="no C compiler") as caught:
        pick_weights("compiled", CPU, torch.bfloat16)
    assert "packed" in caught.value.remedy


def test_a_compiler_that_fails_is_quoted(nowhere: pytest.MonkeyPatch) -> None:
    nowhere.setenv("CC", "false")
    assert "false" in str(compact.find())
    assert pick_weights("auto", CPU, torch.bfloat16) == "packed"


def test_code_that_computes_wrongly_is_not_used(
    nowhere: pytest.MonkeyPatch, library: Library
) -> None:
    nowhere.setattr(Compact, "multiply", lambda _, x: torch.ones(len(x), 48).bfloat16())
    assert "computes wrongly" in str(compact.find())


def test_a_damaged_cache_is_made_anew(
    nowhere: pytest.MonkeyPatch, library: Library, tmp_path: Path
) -> None:
    assert isinstance(compact.find(), Library)
    (kept,) = (tmp_path / "cache" / "janus4o").iterdir()
    kept.unlink()  # the one that is loaded stays as it is
    kept.write_bytes(b"cut short")
    compact.find.cache_clear()
    assert isinstance(compact.find(), Library)
    assert kept.stat().st_size > 1000


def test_a_cache_that_cannot_be_written_costs_only_time(
    nowhere: pytest.MonkeyPatch, library: Library, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    nowhere.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert isinstance(compact.find(), Library)


def test_what_is_compiled_is_kept(nowhere: pytest.MonkeyPatch, library: Library) -> None:
    assert isinstance(compact.find(), Library)
    compact.find.cache_clear()
    nowhere.setattr("subprocess.run", lambda *_, **__: pytest.fail("compiled again"))
    assert isinstance(compact.find(), Library)


def test_compiled_weights_are_refused_where_they_make_no_sense() -> None:
    with pytest.raises(UsageError, match=r"compiled weights, torch\.float32"):
        pick_weights("compiled", CPU, torch.float32)
    with pytest.raises(UsageError, match="on cuda"):
        pick_weights("compiled", torch.device("cuda"), torch.bfloat16)
