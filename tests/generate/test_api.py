"""The Python surface: three lines that work, and what is refused."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import janus4o
from janus4o.errors import ImageError, PromptError, Refused, UsageError
from janus4o.generate.api import Janus
from janus4o.generate.options import GenerateOptions
from janus4o.model.loading import save_model


def test_importing_the_package_loads_no_torch() -> None:
    code = "import sys, janus4o; assert janus4o.__all__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_three_lines_of_python(janus: Janus, tmp_path: Path) -> None:
    save_model(janus.model, tmp_path / "checkpoint")
    model = janus4o.load(str(tmp_path / "checkpoint"))
    made = model.generate(["a red circle"])
    assert made[0].image.size == (64, 64)
    assert made[0].codes.tolist() == janus.generate("a red circle")[0].codes.tolist()
    assert not made[0].codes.is_inference(), "codes could not be trained on"


def test_sources_may_be_pictures_files_or_bytes(janus: Janus, tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 40), (10, 200, 30))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    path = tmp_path / "source.png"
    path.write_bytes(buffer.getvalue())
    codes = janus.encode([image, path, str(path), buffer.getvalue()])
    assert (codes == codes[0]).all()
    one = janus.edit(path, "make it blue")[0].codes
    assert one.tolist() == janus.edit([image], "make it blue")[0].codes.tolist()


def test_encode_decode_features_describe_have_their_shapes(
    janus: Janus, pictures: list[Image.Image]
) -> None:
    codes = janus.encode(pictures)
    assert codes.shape == (3, 16)
    assert [image.size for image in janus.decode(codes)] == [(64, 64)] * 3
    assert janus.features(pictures).shape == (3, 16, 64)
    words = janus.describe(pictures[0], "what is this", longest=5)
    assert words == janus.describe(pictures[0], "what is this", longest=5)
    assert len(janus.model.tokenizer.encode(words)) <= 5


def test_what_cannot_be_done_is_refused(janus: Janus, pictures: list[Image.Image]) -> None:
    with pytest.raises(PromptError, match="empty"):
        janus.generate(["a red circle", " "])
    with pytest.raises(PromptError, match="empty"):
        janus.edit(pictures[0], "")
    with pytest.raises(PromptError, match="without a source"):
        janus.edit([], "make it blue")
    with pytest.raises(PromptError, match="17 source pictures"):
        janus.edit([pictures[0]] * 17, "make it blue")
    with pytest.raises(ImageError):
        janus.edit(b"no picture", "make it blue")
    with pytest.raises(ImageError, match="20000×20000 pixels"):
        janus.edit(Image.new("1", (20_000, 20_000)), "make it blue")
    with pytest.raises(UsageError, match="batch = 0"):
        janus.generate("a red circle", batch=0)
    with pytest.raises(UsageError, match="codes of shape"):
        janus.decode(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(UsageError, match="outside the codebook"):
        janus.decode(torch.full((1, 16), 5000))
    assert janus.generate([]) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"guidance": -1.0},
        {"guidance": float("nan")},
        {"semantic_weight": -0.1},
        {"guidance": 1e30},
        {"temperature": float("inf")},
        {"temperature": -0.1},
        {"temperature": 1e-40},
        {"n": 0},
        {"seed": -1},
        {"top_k": 0},
    ],
)
def test_options_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError) as caught:
        GenerateOptions(**wrong)  # type: ignore[arg-type]
    assert caught.value.remedy


def test_a_picture_of_one_pixel_is_one(janus: Janus) -> None:
    dot = Image.new("RGB", (1, 1), (250, 20, 20))
    made = janus.edit(dot, "make it blue", temperature=0.0)
    assert made[0].codes.shape == (16,)
    square = Image.new("RGB", (64, 64), (250, 20, 20))
    assert torch.equal(janus.encode([dot]), janus.encode([square]))


def test_a_model_that_does_not_fit_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 14 GB\nstack")

    monkeypatch.setattr("janus4o.generate.api.load_model", full)
    with pytest.raises(Refused, match="model 'sketch-base' does not fit in memory") as caught:
        janus4o.load("sketch-base", "cpu")
    assert caught.value.remedy


def test_auto_keeps_bfloat16_and_widens_float16_on_a_cpu(janus: Janus, tmp_path: Path) -> None:
    for dtype, expected in ((torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)):
        save_model(janus.model, tmp_path / "stored", dtype)
        assert janus4o.load(tmp_path / "stored", "cpu").model.dtype == expected
        assert janus4o.load(tmp_path / "stored", "cpu", "float32").model.dtype == torch.float32


def test_progress_counts_to_the_end(janus: Janus) -> None:
    seen: list[tuple[int, int]] = []
    janus.generate(["a", "red", "circle"], n=2, batch=4, progress=lambda *at: seen.append(at))
    assert seen == [(4, 6), (6, 6)]


def test_guidance_left_out_is_the_checkpoints_own(janus, tmp_path):
    from dataclasses import replace

    from janus4o.generate.api import Janus
    from janus4o.model.loading import load_model, save_model

    save_model(replace(janus.model, guidance=2.5, semantic_weight=0.0), tmp_path / "own")
    own = Janus(load_model(tmp_path / "own"))
    assert (own.guidance_or(None), own.semantic_weight_or(None)) == (2.5, 0.0)
    assert (own.guidance_or(7.0), own.semantic_weight_or(1.0)) == (7.0, 1.0)
    left_out, given = own.generate(["a red circle"]), own.generate(["a red circle"], guidance=2.5)
    assert left_out[0].codes.tolist() == given[0].codes.tolist()
