"""What is learnt: all of the network but the picture tokenizer, some parts of it, or small matrices.

The picture tokenizer is always frozen, or the codes made before training would stop meaning what they
meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import JanusForConditionalGeneration

from janus4o.errors import CheckpointError, RecipeError, Refused
from janus4o.model.loading import JanusModel
from janus4o.recipe import Lora
from janus4o.train.presets import Settings

PARTS = {
    "vision": ("model.vision_model.",),
    "aligner": ("model.aligner.",),
    "language": ("model.language_model.",),
    "generation": (
        "model.generation_embeddings.",
        "model.generation_aligner.",
        "model.generation_head.",
    ),
}
"""Part of a recipe's `train.freeze` → how the names of its weights begin."""

ADAPTER = "adapter"
_WEIGHTS, _CONFIG, _OURS = "adapter_model.safetensors", "adapter_config.json", "default"


def prepare(model: JanusModel, settings: Settings) -> dict[str, nn.Parameter]:
    """Freezes, adds LoRA, sets dtypes and recomputation, in place.

    Returns:
        What is learnt, by name.

    Raises:
        RecipeError: nothing is left to learn, or LoRA's targets name no layer.
        Refused: a package that this needs is not installed.
    """
    network = model.network
    network.requires_grad_(settings.lora is None)
    network.model.vqmodel.requires_grad_(False)
    network.lm_head.requires_grad_(False)  # rows are pictures; nothing learnt reaches it
    frozen = tuple(start for part in settings.freeze for start in PARTS[part])
    for name, parameter in network.named_parameters():
        if frozen and name.startswith(frozen):
            parameter.requires_grad_(False)
    if settings.weights == "bf16":
        to_bfloat16(model)
    if settings.lora is not None:
        add_lora(network, settings.lora, settings.seed)
    _recompute(network, settings.recompute)
    learnt = {name: p for name, p in network.named_parameters() if p.requires_grad}
    if not learnt:
        raise RecipeError("train.freeze leaves nothing to learn", "take a part out of it")
    for parameter in learnt.values():
        if parameter.dtype == torch.bfloat16:
            # Sums of many micro-batches lose too much in bfloat16.
            parameter.grad_dtype = torch.float32
    return learnt


def to_bfloat16(model: JanusModel) -> None:
    """All weights but the picture tokenizer's, in place: its codes must stay what they are."""
    for name, child in model.network.model.named_children():
        if name != "vqmodel":
            child.to(torch.bfloat16)
    model.network.lm_head.to(torch.bfloat16)


def make_optimizer(settings: Settings, learnt: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW with weight decay where the settings want it.

    Raises:
        Refused: `adamw_8bit` without torchao.
    """

    def decays(name: str, parameter: nn.Parameter) -> bool:
        if settings.decay == "matrices":
            return parameter.ndim > 1
        return "bias" not in name

    shrunk = [p for name, p in learnt.items() if decays(name, p)]
    kept = [p for name, p in learnt.items() if not decays(name, p)]
    groups: list[dict[str, Any]] = [
        {"params": shrunk, "weight_decay": settings.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas, fused=True)
    try:
        from torchao.optim import AdamW8bit
    except ImportError:
        raise Refused(
            "train.optimizer adamw_8bit needs torchao, which is not installed",
            "pip install torchao",
        ) from None
    made: torch.optim.Optimizer = AdamW8bit(
        [group for group in groups if group["params"]],
        lr=torch.tensor(settings.rate),  # a tensor, or each new rate would be compiled again
        betas=settings.betas,
        bf16_stochastic_round=True,
    )
    return made


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def add_lora(network: JanusForConditionalGeneration, lora: Lora, seed: int) -> None:
    """Puts small float32 matrices beside the language model's layers, in place."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise Refused("train.lora needs peft, which is not installed", "pip install peft") from None
    named = "|".join(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=rf"model\.language_model\..*\.({named})",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            inject_adapter_in_model(config, network)
        except ValueError as error:
            raise RecipeError(
                f"train.lora.targets {lora.targets} name no layer of the language model",
                "such as q_proj, v_proj, down_proj",
            ) from error
    for name, parameter in network.named_parameters():
        is_small = ".lora_" in name
        parameter.requires_grad_(is_small)
        if is_small:
            parameter.data = parameter.data.float()


def has_lora(network: nn.Module) -> bool:
    return any(".lora_" in name for name, _ in network.named_parameters())


def merged_state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The weights as a network without LoRA has them; the small matrices are added in float32.

    One after the other: a GPU that holds the network has no room for all of its layers once more.
    """
    modules = dict(network.named_modules())
    for name, tensor in network.state_dict().items():
        if ".lora_" in name:
            continue
        owner = name.removesuffix(".base_layer.weight")
        if owner != name:
            layer: Any = modules[owner]
            with torch.no_grad():
                small = layer.lora_B[_OURS].weight @ layer.lora_A[_OURS].weight
                tensor = (tensor.float() + small * layer.scaling[_OURS]).to(tensor.dtype)
        yield name.replace(".base_layer.", "."), tensor.detach()


def save_adapter(
    network: JanusForConditionalGeneration, folder: Path, state: Mapping[str, Tensor]
) -> None:
    """Writes LoRA's matrices in PEFT's format, so that PEFT can load them too.

    Args:
        state: the matrices by their name in `network`.
    """
    folder.mkdir()
    network.peft_config[_OURS].save_pretrained(str(folder))
    # PEFT writes sets in any order; the same training gives the same bytes.
    path = folder / _CONFIG
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")), indent=2, sort_keys=True))
    tensors = {_peft_name(name): tensor.contiguous() for name, tensor in state.items()}
    save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})


def load_adapter(network: JanusForConditionalGeneration, folder: Path) -> None:
    """Puts saved matrices back, bit for bit.

    Raises:
        CheckpointError: the files are damaged or of another LoRA.
    """
    try:
        stored = load_file(folder / _WEIGHTS)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if ".lora_" in name:
                    parameter.copy_(stored[_peft_name(name)])
    except Exception as error:
        raise CheckpointError(
            f"{folder} does not restore LoRA: {type(error).__name__}",
            f"remove {folder.parent}; training goes on from the one before",
        ) from error


def _peft_name(name: str) -> str:
    return f"base_model.model.{name.replace(f'.{_OURS}.', '.')}"


def _recompute(network: JanusForConditionalGeneration, what: str) -> None:
    if what == "none":
        return
    kwargs: dict[str, Any] = {"use_reentrant": False}
    if what == "selective":
        kwargs["context_fn"] = partial(create_selective_checkpoint_contexts, _keep_products)
    network.activation_checkpointing_enable(kwargs)


_DEAR = {
    torch.ops.aten.mm.default,
    torch.ops.aten.addmm.default,
    torch.ops.aten.bmm.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
}
"""What costs more to compute again than to keep. Everything between is cheap and large."""


def _keep_products(_context: Any, op: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    dear = op in _DEAR or "_varlen_attn" in str(op)
    return CheckpointPolicy.MUST_SAVE if dear else CheckpointPolicy.PREFER_RECOMPUTE
