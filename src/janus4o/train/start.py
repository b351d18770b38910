"""The model a training starts from, and the picture tokenizer its pictures are encoded with."""

from __future__ import annotations

from dataclasses import replace

import torch
from transformers import JanusForConditionalGeneration

from janus4o.model.hub import SKETCH_BASE
from janus4o.model.loading import JanusModel, load_model, load_picture_tokenizer
from janus4o.model.preprocess import Fit

RANDOM = "random"


def start_model(init: str, fit: Fit, seed: int = 0, stored: bool = False) -> JanusModel:
    """The model `init` names, with float32 weights, set to fit pictures as the recipe says.

    `random` is the sketch base with everything but its picture tokenizer drawn anew from `seed`: the
    control that shows what the base contributes. Codes stay the same, so both can be compared.

    Args:
        stored: leaves weights in the dtype they are stored in, all but the picture tokenizer's.

    Raises:
        CheckpointError: `init` is no usable checkpoint.
    """
    if init != RANDOM:
        dtype = None if stored else torch.float32
        return replace(load_model(init, dtype, exact_codes=True), fit=fit)
    base = load_model(SKETCH_BASE, torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = JanusForConditionalGeneration(base.network.config).eval()
    network.model.vqmodel.load_state_dict(base.network.model.vqmodel.state_dict())
    return replace(base, network=network, fit=fit, name=RANDOM)


def start_tokenizer(init: str, fit: Fit) -> JanusModel:
    """The picture tokenizer of `start_model(init, fit)` without the rest; see `load_picture_tokenizer`.

    Raises:
        CheckpointError: `init` is no usable checkpoint.
    """
    where = SKETCH_BASE if init == RANDOM else init
    return replace(load_picture_tokenizer(where), fit=fit, name=init)
