"""Weight files of every kind give the same network; what is broken is named in one line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from janus4o.errors import CheckpointError
from janus4o.model.loading import (
    JanusModel,
    TinyConfig,
    load_model,
    load_picture_tokenizer,
    new_model,
    save_model,
)
from janus4o.model.weights import read_tensors, write_tensors

State = dict[str, torch.Tensor]


@pytest.fixture
def copied(official_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(official_folder, tmp_path / "copied"))


def halves(state: State) -> tuple[State, State]:
    names = sorted(state)
    middle = len(names) // 2
    return {n: state[n] for n in names[:middle]}, {n: state[n] for n in names[middle:]}


def index(folder: Path, parts: dict[str, State], name: str) -> None:
    weight_map = {tensor: file for file, state in parts.items() for tensor in state}
    (folder / name).write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")


def as_bin(folder: Path, state: State) -> None:
    torch.save(state, folder / "pytorch_model.bin")


def as_old_bin(folder: Path, state: State) -> None:
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def as_bins(folder: Path, state: State) -> None:
    names = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    parts = dict(zip(names, halves(state), strict=True))
    for name, part in parts.items():
        torch.save(part, folder / name)
    index(folder, parts, "pytorch_model.bin.index.json")


def as_shards(folder: Path, state: State) -> None:
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    parts = dict(zip(names, halves(state), strict=True))
    for name, part in parts.items():
        save_file(part, folder / name)
    index(folder, parts, "model.safetensors.index.json")


def as_views_of_one_storage(folder: Path, state: State) -> None:
    """What a careless script saves: weights that are pieces of larger ones."""
    torch.save({n: torch.stack([t, t])[1] for n, t in state.items()}, folder / "pytorch_model.bin")


@pytest.mark.parametrize("store", [as_bin, as_old_bin, as_bins, as_shards, as_views_of_one_storage])
def test_every_kind_of_file_gives_the_same_weights(
    store: Callable[[Path, State], None], copied: Path, official_janus: Any
) -> None:
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    store(copied, state)
    ours = load_model(copied).network.state_dict()
    for name, tensor in official_janus.model.network.state_dict().items():
        assert torch.equal(ours[name], tensor), name
        assert ours[name].untyped_storage().nbytes() == tensor.nbytes
    alone = load_picture_tokenizer(copied).network.state_dict()
    for name, tensor in alone.items():
        if name.startswith("model.vqmodel."):
            assert torch.equal(ours[name], tensor), name
            assert tensor.untyped_storage().nbytes() == tensor.nbytes
        else:
            assert tensor.is_meta, name


@pytest.mark.parametrize("store", [as_shards, as_bins])
def test_nothing_but_the_picture_tokenizer_is_read_where_it_is_wanted(
    store: Callable[[Path, State], None], copied: Path
) -> None:
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    vq = {name for name in state if name.startswith("gen_vision_model.")}
    other = {name: state[name].to(torch.int8) for name in state.keys() - vq}  # no model's weights
    store(copied, {**state, **other})
    with pytest.raises(CheckpointError, match="stored as"):
        load_model(copied)
    assert not load_picture_tokenizer(copied).network.model.vqmodel.quant_conv.weight.is_meta
    gone = next(name for name in sorted(vq) if "quant_conv" in name)
    del state[gone]
    for path in copied.glob("*model-0*"):
        path.unlink()
    store(copied, {**state, **other})
    with pytest.raises(CheckpointError, match=f"missing weight {gone}"):
        load_picture_tokenizer(copied)


def test_a_file_that_changes_later_changes_no_weight(copied: Path) -> None:
    state = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    as_bin(copied, {name: tensor.float() for name, tensor in state.items()})
    vq = load_picture_tokenizer(copied).network.model.vqmodel
    before = {name: tensor.clone() for name, tensor in vq.state_dict().items()}
    path = copied / "pytorch_model.bin"
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    for name, tensor in vq.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_shards_are_written_and_read(model: JanusModel, tmp_path: Path) -> None:
    state = dict(model.network.state_dict())
    write_tensors(tmp_path, state, shard=500_000)
    assert len(list(tmp_path.glob("model-*-of-*.safetensors"))) > 2
    back = dict(read_tensors(tmp_path))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def cut(name: str, share: float) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return apply


def stored(change: Callable[[State], Any], store: Any = None) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        change(state)
        if store is None:
            save_file(state, folder / "model.safetensors")
        else:
            store(folder, state)

    return apply


def nothing(_: State) -> None:
    pass


def both(*steps: Callable[[Path], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        for step in steps:
            step(folder)

    return apply


def as_whole_module(folder: Path, state: State) -> None:
    torch.save(torch.nn.Linear(2, 2), folder / "pytorch_model.bin")


def as_list(folder: Path, state: State) -> None:
    torch.save([1, 2], folder / "pytorch_model.bin")


HEAD = "gen_head.vision_head.bias"
SHARD = "model-00002-of-00002.safetensors"

BROKEN = {
    "missing": (stored(lambda s: s.pop(HEAD)), f"missing weight {HEAD}"),
    "extra": (stored(lambda s: s.update(more=torch.ones(2))), "unexpected weight more"),
    "mis-shaped": (
        stored(lambda s: s.update({HEAD: torch.ones(7)})),
        rf"mismatched weight {HEAD}: stored as \[7\], config.json says \[1024\]",
    ),
    "a fused weight mis-shaped": (
        stored(lambda s: s.update({
            "vision_model.vision_tower.blocks.0.attn.qkv.bias": torch.ones(191)
        })),
        r"attn\.qkv\.bias: stored as \[191\], config.json says \[192\]",
    ),
    "whole numbers": (
        stored(lambda s: s.update({HEAD: torch.ones(1024, dtype=torch.int8)})),
        f"weight {HEAD} is stored as int8",
    ),
    "8-bit floats": (
        stored(lambda s: s.update({HEAD: torch.ones(1024).to(torch.float8_e4m3fn)})),
        f"weight {HEAD} is stored as float8_e4m3fn",
    ),
    "safetensors cut": (cut("model.safetensors", 0.6), "bytes where its header says"),
    "safetensors header cut": (cut("model.safetensors", 0.0001), "cannot hold its header"),
    "safetensors empty": (cut("model.safetensors", 0.0), "cannot hold its header"),
    "shard cut": (both(stored(nothing, as_shards), cut(SHARD, 0.5)), SHARD),
    "shard gone": (
        both(stored(nothing, as_shards), lambda folder: (folder / SHARD).unlink()),
        f"{SHARD} is missing, one of 2 files",
    ),
    "index cut": (
        both(stored(nothing, as_shards), cut("model.safetensors.index.json", 0.5)),
        "not a readable index",
    ),
    "index that leads elsewhere": (
        both(
            stored(nothing, as_shards),
            lambda folder: index(folder, {"../x": {"a": torch.ones(1)}}, "model.safetensors.index.json"),
        ),
        "no file beside it",
    ),
    "bin cut": (both(stored(nothing, as_bin), cut("pytorch_model.bin", 0.5)), "cannot be read"),
    "bin that runs code": (stored(nothing, as_whole_module), "holds more than tensors"),
    "bin of something else": (stored(nothing, as_list), "does not hold a state dict"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_named(case: str, copied: Path) -> None:
    break_it, message = BROKEN[case]
    break_it(copied)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_model(copied)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


PEAK = """
import gc, sys, torch
from janus4o.model.loading import load_model, new_model, TinyConfig

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))

model = load_model(sys.argv[1], None)  # the libraries themselves, and what they set up at first use
for folder in sys.argv[2:]:
    del model
    gc.collect()
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
    before = status("VmRSS")
    model = load_model(folder, None)
    print(status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_loading_takes_little_more_than_the_weights(model: JanusModel, tmp_path: Path) -> None:
    sizes = TinyConfig(
        hidden=768, layers=6, heads=6, mlp=2048, vision_hidden=64, vision_layers=1, vision_heads=2
    )
    save_model(new_model(["a"], sizes), tmp_path / "big", torch.bfloat16, format="official")
    save_model(model, tmp_path / "small")
    weights = tmp_path / "big" / "model.safetensors"
    size = weights.stat().st_size
    assert size > 80e6
    shutil.copytree(tmp_path / "big", tmp_path / "bin", ignore=lambda *_: [weights.name])
    torch.save(load_file(weights), tmp_path / "bin" / "pytorch_model.bin")
    folders = [str(tmp_path / name) for name in ("small", "big", "bin")]
    words = [sys.executable, "-c", PEAK, *folders]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    peaks = [int(line) for line in done.stdout.splitlines()]
    assert len(peaks) == 2
    assert all(0.5 * size < peak < 1.2 * size for peak in peaks), (peaks, size)
