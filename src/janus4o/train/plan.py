"""What a training would need and take, reckoned from sizes alone: no weights, no torch.

Memory is what the tensors of a step take at their peak, in its last micro-batch; the bytes an activation
takes were counted in the network's own graph, and a test compares the sum with real steps. Time is
FLOPs over a share of the data sheet's peak that is a guess until somebody measures it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from janus4o.model.hub import SKETCH_BASE, SKETCH_BASE_FOLDER
from janus4o.recipe import Recipe
from janus4o.rows import IMPORTED_FILE, open_rows
from janus4o.train.presets import Settings, resolve
from janus4o.train.schedule import total_steps
from janus4o.train.shape import KNOWN, Shape, shape_of

PROMPT = 64
"""Text and role tokens reckoned for a row."""
CONTEXT = 1.5e9
"""Bytes of a GPU that no tensor of ours gets: the driver's context, libraries' workspaces."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU by its data sheet: bytes, dense bfloat16 FLOP/s, and the share of them reckoned with."""

    name: str
    memory: float
    peak: float
    share: float


GPUS = (
    Gpu("RTX 3090", 24e9, 71e12, 0.40),
    Gpu("RTX 4090", 24e9, 165e12, 0.40),
    Gpu("L40S", 48e9, 362e12, 0.35),
    Gpu("A100 40 GB", 40e9, 312e12, 0.45),
    Gpu("A100/A800 80 GB", 80e9, 312e12, 0.45),
    Gpu("H100", 80e9, 989e12, 0.40),
    Gpu("H200", 141e9, 989e12, 0.40),
)


@dataclass(frozen=True, slots=True)
class Kinds:
    """How many rows there are, by how many pictures each shows the model."""

    by_sources: dict[int, int]

    @property
    def rows(self) -> int:
        return sum(self.by_sources.values())


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training needs and takes.

    Attributes:
        parameters, learnt: of the network, and of what is learnt.
        rows, steps, tokens: of the data set, of the training, positions computed in all.
        flops: of the training, in all.
        memory: part → bytes on each GPU; `total` is their sum.
        gpus: how many.
    """

    parameters: int
    learnt: int
    rows: int
    steps: int
    samples: int
    tokens: int
    flops: float
    memory: dict[str, float]
    gpus: int

    @property
    def total(self) -> float:
        return sum(self.memory.values())

    def fits(self, gpu: Gpu) -> bool:
        return self.total + CONTEXT <= gpu.memory

    def seconds(self, gpu: Gpu) -> float:
        return self.flops / (gpu.peak * gpu.share * self.gpus)

    def to_json(self) -> dict[str, Any]:
        on = {
            gpu.name: {
                "fits": self.fits(gpu),
                "hours": self.seconds(gpu) / 3600,
                "samples_per_second": self.samples / self.seconds(gpu),
                "share_of_peak": gpu.share,
            }
            for gpu in GPUS
        }
        return {**asdict(self), "memory_total": self.total, "on": on}


def plan_training(recipe: Recipe, gpus: int = 1) -> TrainingPlan | None:
    """Reckons a recipe's training; None where the model's size is not known, or there are no rows."""
    shape = find_shape(recipe.model.init)
    if shape is None:
        return None
    settings, kinds = resolve(recipe.train), count_rows(recipe)
    if not kinds.rows:
        return None
    rows = max(1, kinds.rows - settings.validation)
    steps = total_steps(settings, rows)
    samples = steps * settings.batch
    shares = {sources: count / kinds.rows for sources, count in kinds.by_sources.items()}
    lengths = {sources: length_of(shape, sources) for sources in shares}
    per_sample = sum(share * step_flops(shape, settings, k) for k, share in shares.items())
    return TrainingPlan(
        parameters=shape.parameters,
        learnt=learnt_parameters(shape, settings),
        rows=kinds.rows,
        steps=steps,
        samples=samples,
        tokens=round(samples * sum(share * lengths[k] for k, share in shares.items())),
        flops=samples * per_sample,
        memory=memory(shape, settings, max(shares), gpus),
        gpus=gpus,
    )


def find_shape(init: str) -> Shape | None:
    """Sizes of a folder, of the shipped base or of a known hub id; None for any other."""
    if init in (SKETCH_BASE, "random"):
        return shape_of(SKETCH_BASE_FOLDER)
    if Path(init).is_dir():
        return shape_of(Path(init))
    return KNOWN.get(init.partition("@")[0])


def count_rows(recipe: Recipe) -> Kinds:
    """Rows of the run folder's data set where it is there, else those the recipe asks for.

    Raises:
        DataError: the data set that was imported is gone or damaged.
    """
    encoded = sorted(recipe.folder.glob("codes/*/rows.jsonl"))
    if encoded:
        with encoded[0].open(encoding="utf-8") as lines:
            return _kinds(len(json.loads(line)["sources"]) for line in lines)
    if (recipe.folder / IMPORTED_FILE).is_file():
        return _kinds(len(row.input_image) for row in open_rows(recipe.folder))
    asked = recipe.synthesis
    drawn = asked.text_to_image.count + asked.image_first.count + asked.document.count
    pairs = round(asked.editing.count * asked.editing.two_sources)
    counts = {0: drawn, 1: asked.editing.count - pairs, 2: pairs}
    return Kinds({sources: count for sources, count in counts.items() if count})


def _kinds(sources: Iterable[int]) -> Kinds:
    counts: dict[int, int] = {}
    for number in sources:
        counts[number] = counts.get(number, 0) + 1
    return Kinds(counts)


def length_of(shape: Shape, sources: int) -> int:
    """Positions of a row: text, target, and features and codes of each source."""
    return PROMPT + shape.tokens + sources * (2 * shape.tokens + 4)


def learnt_parameters(shape: Shape, settings: Settings) -> int:
    """How many numbers are learnt."""
    if settings.lora is not None:
        keys = shape.hidden * shape.key_heads // shape.heads
        widths = {
            "q_proj": (shape.hidden, shape.hidden),
            "o_proj": (shape.hidden, shape.hidden),
            "k_proj": (shape.hidden, keys),
            "v_proj": (shape.hidden, keys),
            "gate_proj": (shape.hidden, shape.mlp),
            "up_proj": (shape.hidden, shape.mlp),
            "down_proj": (shape.mlp, shape.hidden),
        }
        each = (sum(widths[name]) for name in settings.lora.targets if name in widths)
        return settings.lora.rank * shape.layers * sum(each)
    parts = {k: n for k, n in shape.parts.items() if k not in ("tokenizer", "text head")}
    frozen = {
        "vision": ("vision",),
        "aligner": ("aligner",),
        "language": ("language", "text embeddings"),
        "generation": ("code embeddings", "code aligner", "image head"),
    }
    left_out = {name for part in settings.freeze for name in frozen[part]}
    return sum(count for name, count in parts.items() if name not in left_out)


def step_flops(shape: Shape, settings: Settings, sources: int) -> float:
    """FLOPs of one row: forward, gradients of what goes in, gradients of what is learnt."""
    parts = shape.forward(length_of(shape, sources), sources)
    lora, frozen = settings.lora is not None, settings.freeze
    tower = lora or "vision" in frozen
    total = 0.0
    for name, forward in parts.items():
        if name == "vision":
            passes = 1 if tower else 3
        elif name == "aligner":
            passes = 1 if lora or (tower and "aligner" in frozen) else 3
        elif name == "language":
            passes = 2 if lora or "language" in frozen else 3
            passes += settings.recompute == "layers"
        else:
            passes = 2 if lora or "generation" in frozen else 3
        total += passes * forward
    return total


def memory(
    shape: Shape,
    settings: Settings,
    sources: int,
    gpus: int = 1,
    plain_attention: bool = False,
    length: int | None = None,
) -> dict[str, float]:
    """Part → bytes each process needs at the peak of a step.

    Args:
        sources: pictures of the rows that need most.
        plain_attention: the language model's softmaxes are kept, as on a CPU; a GPU's kernels keep none.
        length: positions of such a row; None reckons them.
    """
    parts, learnt = shape.parts, learnt_parameters(shape, settings)
    is_cut = settings.shard == "full" and gpus > 1
    share = gpus if is_cut else 1
    held = 2 if settings.weights == "bf16" else 4
    trained = shape.parameters - parts["tokenizer"]
    small = 4 * learnt if settings.lora is not None else 0
    half = settings.precision == "bf16"
    found = {
        "weights": held * trained / share + 4.0 * parts["tokenizer"] + small,
        "gradients": 4.0 * learnt / share,
        "optimizer": (2.06 if settings.optimizer == "adamw_8bit" else 8.0) * learnt / share,
    }
    rest = trained - parts["language"]
    if is_cut:
        layer = parts["language"] / shape.layers
        width = 2 if half else 4
        found["gathered"] = (width + 4) * (rest + 2 * layer)
    elif half and held == 4:
        used = trained - parts["text embeddings"] - parts["text head"]
        found["half copies"] = 2.0 * used
    found["activations"] = _activations(shape, settings, sources, plain_attention, length)
    return found


def _activations(
    shape: Shape, settings: Settings, sources: int, plain_attention: bool, given: int | None
) -> float:
    """Bytes kept for the backward pass of one micro-batch, and what the loss adds to them.

    Bytes a position and layer, counted in the graph: `precision` bf16 34 a number of the hidden state
    and 8 of the MLP, fp32 40 and 16; the understanding tower 40 and 64; logits 4 a target and
    code, and in the loss twice that again.
    """
    half = settings.precision == "bf16"
    length = given or length_of(shape, sources)
    if settings.packing is not None:
        positions = max(settings.packing, length)
        rows = max(1, positions // length)
    else:
        rows = settings.micro_batch or settings.batch
        positions = rows * length
    wide, inner, seen = (34, 8, 40) if half else (40, 16, 64)
    whole = float(wide * shape.hidden + inner * shape.mlp)
    if plain_attention:
        from janus4o.train.attention import ROWS  # imports torch, which no other plan needs

        # Half of the square and half of the blocks on its diagonal.
        blocks = -(-length // ROWS)
        whole += (2 if half else 4) * shape.heads * length * (blocks + 1) / (2 * blocks)
    kept = whole
    if settings.recompute == "layers":
        kept = 4.0 * shape.hidden
    elif settings.recompute == "selective":
        kept = (2 if half else 4) * (6.0 * shape.hidden + 2 * shape.mlp) + 4 * shape.hidden
    language = positions * kept * shape.layers
    pictures = rows * sources
    tower = 0.0
    if settings.lora is None and "vision" not in settings.freeze:
        of_tower = 4 if settings.recompute == "layers" else seen
        tower = of_tower * shape.vision_hidden * pictures * shape.tokens * shape.vision_layers
    # A packed micro-batch of text-to-image rows has the most targets.
    targets = rows * shape.tokens
    if settings.packing is not None:
        targets = max(1, positions // length_of(shape, 0)) * shape.tokens
    passing = (12.0 + 2 * half) * targets * shape.codebook
    if settings.recompute != "none":
        # A layer is computed again when the logits are gone.
        passing = max(passing, positions * whole)
    return language + tower + passing + 30.0 * shape.hidden * positions


def describe(plan: TrainingPlan) -> list[tuple[str, str]]:
    """Lines of a table."""
    parts = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in plan.memory.items())
    return [
        (
            "training",
            f"{plan.parameters / 1e9:.3f} billion parameters, {plan.learnt / 1e9:.3f} learnt; "
            f"{plan.steps:,} steps, {plan.samples:,} samples, {plan.tokens / 1e6:,.1f} million "
            f"positions, {_scale(plan.flops)}FLOP",
        ),
        (
            "memory" if plan.gpus == 1 else f"memory, each of {plan.gpus}",
            f"{plan.total / 1e9:.2f} GB: {parts}; a GPU needs {CONTEXT / 1e9:.1f} GB besides",
        ),
    ]


def _scale(number: float) -> str:
    names = ("", "k", "M", "G", "T", "P", "E", "Z")
    power = min(len(names) - 1, max(0, int(math.log10(max(number, 1)) // 3)))
    return f"{number / 1000**power:.3g} {names[power]}"
