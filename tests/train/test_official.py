"""Losses and gradients of the preset `official` against the released training script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from janus4o.generate.api import Janus
from janus4o.images import open_image
from janus4o.model import sequence
from janus4o.model.official import places
from janus4o.model.preprocess import fit_image
from janus4o.recipe import Dropout, Train
from janus4o.train.batch import Example, Kind, collate, hide, lay_out, row_generator
from janus4o.train.loss import batch_loss
from janus4o.train.presets import resolve

KEEP, DROP = (Dropout(unit="block", prompt=share, source=share, null=0.0) for share in (0.0, 1.0))
CASES = {
    "t2i_keep": (("t2i",), KEEP),
    "t2i_drop": (("t2i",), DROP),
    "edit_keep": (("edit",), KEEP),
    "edit_drop": (("edit",), DROP),
    "t2i_batch2": (("t2i", "t2i_b"), KEEP),
    "mixed_batch2": (("t2i", "edit"), KEEP),
}


@pytest.fixture
def trained(official_janus: Janus) -> Iterator[Janus]:
    """The golden model as training sets it up; its gradients are gone afterwards."""
    network = official_janus.model.network
    network.model.vqmodel.requires_grad_(False)
    yield official_janus
    network.model.vqmodel.requires_grad_(True)
    network.zero_grad(set_to_none=True)


def example(janus: Janus, golden: Path, sample: dict[str, Any]) -> Example:
    geometry, tokenizer = janus.geometry, janus.model.tokenizer
    sources = [golden / "images" / name for name in sample.get("input_image", ())]
    target = janus.encode([golden / "images" / sample["output_image"]])[0].numpy()
    text = sample["input_prompt"]
    if not sources:
        laid = sequence.text_to_image(text, geometry, tokenizer)
        return lay_out(Kind.TEXT_TO_IMAGE, laid, target=target)
    return lay_out(
        Kind.EDIT,
        sequence.edit(text, geometry, tokenizer, len(sources)),
        target=target,
        sources=list(janus.encode(sources).numpy()),
        pictures=[fit_image(open_image(path), geometry, "letterbox") for path in sources],
    )


def norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.stack([tensor.double().norm() for tensor in tensors]).norm())


@pytest.mark.parametrize("case", CASES)
def test_losses_and_gradients(case: str, trained: Janus, golden: Path) -> None:
    facts = json.loads((golden / "outputs/train.json").read_text(encoding="utf-8"))
    arrays = np.load(golden / "outputs/train.npz")
    expected, (names, dropout) = facts["cases"][case], CASES[case]
    pad, network = trained.geometry.pad, trained.model.network
    settings = resolve(Train(preset="official"))
    rows = [
        hide(example(trained, golden, facts["samples"][name]), dropout, pad, row_generator(0, 0, i))
        for i, name in enumerate(names)
    ]
    for row, ids, mask, codes in zip(
        rows,
        arrays[f"{case}_input_ids"],
        arrays[f"{case}_attention_mask"],
        arrays[f"{case}_target_ids"],
        strict=True,
    ):
        # The official batch is padded on the left, and holds the targets' places but not their ids.
        real = ids[mask.astype(bool)]
        assert row.ids.tolist() == real[: len(row.ids)].tolist()
        assert row.target_codes.tolist() == codes.tolist()
    with torch.no_grad():
        every = batch_loss(network, collate(rows, pad)).image_RT
    tokens = torch.from_numpy(arrays[f"{case}_token_loss"])
    # Padded on the left, the official shorter row stands a thousand positions later; the rotation
    # is relative, but not its rounding.
    padded = not arrays[f"{case}_attention_mask"].all()
    torch.testing.assert_close(every, tokens, atol=3e-4 if padded else 1e-4, rtol=0)
    assert float(every.mean()) == pytest.approx(expected["loss_all_tokens"], abs=1e-5)

    loss = batch_loss(network, collate(rows, pad, settings.first_token)).mean
    assert loss.item() == pytest.approx(expected["loss_official"], abs=1e-5)
    loss.backward()
    gradients = {
        name: parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    official = {
        stored: [gradients[name] for name in place.names if name in gradients]
        for stored, place in places(shapes).items()
    }
    for module, size in expected["grad_norm_by_module"].items():
        found = [g for name, of in official.items() if name.split(".")[0] == module for g in of]
        # None: the official script computes none there; neither do we.
        assert (norm(found) if found else 0.0) == pytest.approx(size or 0.0, rel=1e-5, abs=1e-12)
    for name, size in expected["grad_norm_named"].items():
        found = official[name]
        assert (norm(found) if found else 0.0) == pytest.approx(size, rel=1e-5, abs=1e-12)
