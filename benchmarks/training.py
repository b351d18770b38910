"""How fast is learnt, beside the released script's step: `python benchmarks/training.py`.

One model of random weights, the same samples, half of them edits; two ways to make the same optimiser
step of them:

    janus4o    this package's step: codes made once, rows of one kind and neighbouring lengths together
               (on a GPU packed), features of sources only, no more than the targets through the head
    official   the released script's, re-created from its source: one sample at a time, padded on the
               left, eager attention under a mask; the picture tokenizer run under autograd on target
               and source with its training losses, the understanding tower run on an all-zero picture
               where a row has none, all parameters in AdamW, three numbers fetched a micro-batch

Both come twice: codes recomputed (janus4o takes them from its data set: that is its step), and codes
given to the official step too, so that the rest is compared. Reading pictures, DeepSeek and its
communication are left out of both. Parity comes first, in float32: equal losses and gradient norms.
Rounds alternate after warm-up, and the order turns; the steps' rate is 0, so that all see the same weights.

FLOPs are those the mathematics needs, three times a forward pass: by the usual convention the language
model's matrices on real positions and the image head on targets; and with all else that is learnt
and causal attention. They are divided by what a large matrix product reaches here (by the peak of
the data sheet, where the GPU is known).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from generation import Clock, build, interval, peak
from torch import Tensor, nn
from torch.nn import functional as F

from janus4o.model import codebook, sequence
from janus4o.model.embed import embed_codes, understand
from janus4o.model.loading import JanusModel, TinyConfig, new_model
from janus4o.model.preprocess import to_pixel_values
from janus4o.recipe import Train
from janus4o.train.batch import Example, Kind, collate, lay_out
from janus4o.train.division import Size, divide
from janus4o.train.gradients import Gradients, attention_for_training
from janus4o.train.learnt import make_optimizer, prepare
from janus4o.train.presets import Settings, resolve
from janus4o.train.shape import Shape, read_shape

SMALL = TinyConfig(
    image_size=192, patch_size=16, hidden=768, layers=8, heads=6, mlp=2112, rope_theta=10000.0,
    vision_hidden=384, vision_layers=8, vision_heads=6, vq_codes=4096, vq_latent=64,
    vq_channels=32, vq_multipliers=(1, 1, 2, 2, 4), vq_blocks=2, embedding_std=0.5,
)  # fmt: skip
"""Janus-Pro-1B with a third of its depth and 3/8 of its width, on pictures of half the side: the
tower has a quarter of the language model's parameters, the tokenizer's share of the work is as large."""
TINY = TinyConfig(
    image_size=32, patch_size=8, hidden=64, layers=2, heads=2, mlp=96, vision_hidden=32,
    vision_layers=2, vision_heads=2, vq_codes=256, vq_multipliers=(1, 1, 1, 1), embedding_std=0.5,
)  # fmt: skip
OWN = {"tiny": TINY, "small": SMALL}

PEAKS = {"A100": 312e12, "A800": 312e12, "H100": 989e12, "H200": 989e12, "RTX 4090": 165e12}
"""Dense bfloat16 FLOP/s of the data sheets, by a part of the device's name."""


@dataclass(frozen=True)
class Sample:
    """One row.

    Attributes:
        ids: up to and including <begin_of_image>.
        target, source: pictures as the model sees them, uint8 [S, S, 3]; no source: text-to-image.
        example: the same, laid out, with the codes of its pictures.
    """

    ids: Tensor
    target: np.ndarray
    source: np.ndarray | None
    example: Example


def make_model(name: str, device: str, dtype: torch.dtype) -> JanusModel:
    if name not in OWN:
        return build(name, dtype, device)
    model = new_model([f"w{number}" for number in range(8192)], OWN[name])
    model.network.to(device)
    return model


def make_samples(model: JanusModel, count: int) -> list[Sample]:
    """Half text-to-image, half edits with one source; prompts of 8 to 32 words."""
    rng, geometry = np.random.default_rng(0), model.geometry
    side = geometry.image_size
    words = sorted(model.tokenizer.fast.get_vocab())
    words = [word for word in words if word.isalnum()][:4096]
    samples = []
    for number in range(count):
        text = " ".join(rng.choice(words, int(rng.integers(8, 33))))
        pictures = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(1 + number % 2)]
        codes = codebook.encode(model.network, to_pixel_values(np.stack(pictures))).numpy()
        if number % 2:
            laid = sequence.edit(text, geometry, model.tokenizer)
            example = lay_out(
                Kind.EDIT, laid, target=codes[0], sources=[codes[1]], pictures=[pictures[1]]
            )
        else:
            laid = sequence.text_to_image(text, geometry, model.tokenizer)
            example = lay_out(Kind.TEXT_TO_IMAGE, laid, target=codes[0])
        ids = torch.from_numpy(example.ids)
        samples.append(Sample(ids, pictures[0], pictures[1] if number % 2 else None, example))
    return samples


@dataclass
class Step:
    """What one optimiser step gave: the mean of its losses, and its gradient's norm."""

    loss: float
    norm: float


@dataclass
class Ours:
    """This package's step, as `train.loop` takes it."""

    model: JanusModel
    settings: Settings
    learnt: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        self.optimizer = make_optimizer(self.settings, self.learnt)
        self.gradients = Gradients(
            self.model.network,
            list(self.learnt.values()),
            self.settings.precision,
            self.settings.workers,
        )

    def step(self, samples: list[Sample], clock: Callable[[], None]) -> Step:
        network, settings = self.model.network, self.settings
        network.train()
        network.model.vqmodel.eval()
        examples = [one.example for one in samples]
        sizes = [Size(one.kind, len(one)) for one in examples]
        groups = divide(sizes, settings.micro_batch, settings.packing)[0]
        pad, packed = self.model.geometry.pad, settings.packing is not None
        with attention_for_training(network, packed):
            batches = [
                collate([examples[place] for place in group], pad, False, packed)
                for group in groups
            ]
            targets = sum(batch.targets for batch in batches)
            sums = self.gradients.add(batches, [targets] * len(batches))
        norm = nn.utils.clip_grad_norm_(self.learnt.values(), settings.clip)
        loss, norm_ = sum(s.sum().item() for s in sums) / targets, norm.item()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        clock()
        return Step(loss, norm_)


@dataclass
class Official:
    """The released script's step.

    Attributes:
        cached: codes are given; the picture tokenizer is not run.
    """

    model: JanusModel
    settings: Settings
    attention: str
    cached: bool

    def __post_init__(self) -> None:
        parameters = [p for p in self.model.network.parameters() if p.requires_grad]
        if self.settings.optimizer == "adamw":
            self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
                parameters, lr=self.settings.rate, weight_decay=0.01
            )
        else:
            self.optimizer = make_optimizer(
                self.settings, dict(self.model.network.named_parameters())
            )

    def step(self, samples: list[Sample], clock: Callable[[], None]) -> Step:
        network = self.model.network
        network.train()  # the picture tokenizer as well
        before = network.config._attn_implementation
        network.set_attn_implementation(self.attention)
        losses = []
        try:
            for sample in samples:
                with torch.autocast(
                    network.device.type,
                    torch.bfloat16,
                    enabled=self.settings.precision == "bf16",
                ):
                    loss = self._loss(sample)
                (loss / len(samples)).backward()
                # What the script logs: three numbers a micro-batch, each a wait for the device.
                losses.append(loss.item())
                loss.detach().item(), loss.detach().item()
        finally:
            network.set_attn_implementation(before)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self.settings.clip).item()
        self.optimizer.step()
        self.optimizer.zero_grad()
        clock()
        return Step(statistics.fmean(losses), norm)

    def _loss(self, sample: Sample) -> Tensor:
        network, geometry = self.model.network, self.model.geometry
        device, example = network.device, sample.example
        words = network.model.language_model.embed_tokens(sample.ids[None].to(device))
        # The tower sees a picture in every row; of an all-zero one nothing is taken.
        side = geometry.image_size
        pixels = torch.zeros(1, 3, side, side)
        if sample.source is not None:
            pixels = to_pixel_values(sample.source[None])
        features = understand(network, pixels.to(device)).flatten(0, 1)
        shown = torch.zeros(words.shape[:2], dtype=torch.bool, device=device)
        shown[0, torch.from_numpy(example.picture_at).to(device)] = True
        used = torch.zeros(len(features), dtype=torch.bool, device=device)
        used[:] = sample.source is not None
        words = words.clone()
        words[shown] = features[used].to(words.dtype)
        if sample.source is not None:
            place = torch.from_numpy(example.source_at).to(device)
            words[0, place] = embed_codes(
                network, self._codes(sample.source, example.source_codes)
            ).to(words.dtype)
        codes = self._codes(sample.target, example.target_codes)
        given = embed_codes(network, codes)[None].to(words.dtype)
        embeds = torch.cat([words, given], 1)
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=device)
        hidden = network.model.language_model(
            inputs_embeds=embeds, attention_mask=mask, use_cache=False
        ).last_hidden_state
        logits = network.model.generation_head(hidden[:, -geometry.tokens :])
        # The labels are shifted once more, so that code 0 is never learnt.
        return F.cross_entropy(logits[0, :-1].float(), codes[1:])

    def _codes(self, picture: np.ndarray, known: np.ndarray) -> Tensor:
        device = self.model.network.device
        if self.cached:
            return torch.from_numpy(known).to(device)
        vq = self.model.network.model.vqmodel
        pixels = to_pixel_values(picture[None]).to(vq.quant_conv.weight)
        z_Td = vq.quant_conv(vq.encoder(pixels.to(device)))[0].flatten(1).T
        z_Td = F.normalize(z_Td.float(), dim=-1)
        rows = F.normalize(vq.quantize.embedding.weight.float(), dim=-1)
        distances = z_Td.pow(2).sum(1, keepdim=True) + rows.pow(2).sum(1) - 2 * z_Td @ rows.T
        codes = distances.argmin(1)
        # In training mode it also computes three losses that nobody uses.
        quantised = rows[codes]
        (quantised - z_Td.detach()).pow(2).mean(), (quantised.detach() - z_Td).pow(2).mean()
        share = (-distances / 0.01).softmax(-1)
        surprise = (-distances / 0.01 + 1e-5).log_softmax(-1)
        -(share.mean(0) * (share.mean(0) + 1e-5).log()).sum(), -(share * surprise).sum(-1).mean()
        return codes


def flops(shape: Shape, samples: list[Sample], everything: bool) -> float:
    """Of one step; `everything` adds what the usual convention leaves out."""
    total = 0.0
    for sample in samples:
        parts = shape.forward(len(sample.example), int(sample.source is not None), everything)
        total += 3 * (
            sum(parts.values()) if everything else parts["language"] + parts["image head"]
        )
    return total


def reach(device: str, precision: str) -> float:
    """FLOP/s of a large matrix product here and now."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    a @ b
    clock, best = Clock(device), 0.0
    for _ in range(3):
        a @ b
        best = max(best, 2.0 * side**3 / clock.read())
    return best


def data_sheet(device: str, precision: str) -> float | None:
    if not device.startswith("cuda") or precision != "bf16":
        return None
    name = torch.cuda.get_device_name()
    return next((rate for part, rate in PEAKS.items() if part in name), None)


def settings_of(options: argparse.Namespace, precision: str) -> Settings:
    given = {"rate": 1e-30, "precision": precision, "weights": options.weights,
             "optimizer": options.optimizer, "recompute": options.recompute,
             "workers": options.workers, "accumulation": "exact",
             "packing": options.packing, "micro_batch": options.micro_batch}  # fmt: skip
    return resolve(Train(**{key: value for key, value in given.items() if value is not None}))


def parity(options: argparse.Namespace) -> bool:
    """One step each in float32 on a small geometry: losses and gradient norms."""
    name = options.geometry if options.geometry in OWN else "small"
    model = make_model(name, options.device, torch.float32)
    samples = make_samples(model, 4)
    settings = settings_of(options, "fp32")
    learnt = prepare(model, settings)
    mine = Ours(model, settings, learnt).step(samples, lambda: None)
    model.network.zero_grad(set_to_none=True)
    theirs = Official(model, settings, "eager", cached=False).step(samples, lambda: None)
    gaps = [abs(getattr(mine, what) / getattr(theirs, what) - 1) for what in ("loss", "norm")]
    good = max(gaps) < 1e-4
    print(f"parity   float32: loss {mine.loss:.6f} and {theirs.loss:.6f}, gradient norm {mine.norm:.6f} and "
          f"{theirs.norm:.6f}: {'equal' if good else 'DIFFER'}")  # fmt: skip
    return good


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--geometry", choices=[*OWN, "1b", "7b"], default="small")
    asked.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    asked.add_argument("--weights", choices=["fp32", "bf16"], default="fp32")
    asked.add_argument("--optimizer", choices=["adamw", "adamw_8bit"], default="adamw")
    asked.add_argument("--recompute", choices=["none", "selective", "layers"], default="none")
    asked.add_argument("--samples", type=int, default=16, help="a step")
    asked.add_argument("--packing", type=int, help="positions of a micro-batch; GPU: 8192")
    asked.add_argument("--micro-batch", type=int, help="rows of one; CPU: 2")
    asked.add_argument("--workers", type=int, default=2, help="on a CPU")
    asked.add_argument("--rounds", type=int, default=4)
    asked.add_argument("--official-attention", choices=["eager", "sdpa"], default="eager")
    options = asked.parse_args()
    is_cuda = options.device.startswith("cuda")
    if options.packing is None and options.micro_batch is None:
        if is_cuda:
            options.packing = 8192
        else:
            options.micro_batch = 2

    print(f"{options.geometry} {options.precision} {options.device}, {torch.get_num_threads()} threads, "
          f"torch {torch.__version__}, {options.samples} samples a step")  # fmt: skip
    good = parity(options)

    dtype = torch.bfloat16 if options.weights == "bf16" else torch.float32
    model = make_model(options.geometry, options.device, dtype)
    shape = read_shape(model.network.config.to_dict())
    samples = make_samples(model, options.samples)
    settings = settings_of(options, options.precision)
    learnt = prepare(model, settings)
    for parameter in model.network.parameters():
        # The script trains all; without a gradient its optimiser leaves the rest as it is.
        parameter.requires_grad_(True)
    clock = Clock(options.device)
    engines: dict[str, Callable[[], Step]] = {}
    ours = Ours(model, settings, learnt)
    engines["janus4o"] = lambda: ours.step(samples, lambda: None)
    for name, cached in (("official", False), ("official, codes given", True)):
        theirs = Official(model, settings, options.official_attention, cached)
        engines[name] = lambda theirs=theirs: theirs.step(samples, lambda: None)

    names, steps, peaks = list(engines), {}, {}
    for name, engine in engines.items():  # warm-up
        memory = peak()
        next(memory)
        steps[name] = engine()
        peaks[name] = next(memory)
    losses = [step.loss for step in steps.values()]
    print(f"losses   {options.precision}: " + ", ".join(
        f"{name} {step.loss:.5f} (norm {step.norm:.4f})" for name, step in steps.items()))  # fmt: skip
    good = good and max(losses) / min(losses) - 1 < 5e-3

    seconds: dict[str, list[float]] = {name: [] for name in names}
    reached = []
    for index in range(options.rounds):
        reached.append(reach(options.device, options.precision))
        for name in names[index % len(names) :] + names[: index % len(names)]:
            clock.read()
            engines[name]()
            seconds[name].append(clock.read())
        print(f"round {index + 1}  " + "  ".join(
            f"{name} {seconds[name][-1]:.2f} s" for name in names
        ) + f"  ({reached[-1] / 1e9:,.0f} GFLOP/s)", flush=True)  # fmt: skip

    top = data_sheet(options.device, options.precision)
    whose = "data sheet" if top else "a matrix product's"
    top = top or max(reached)
    targets = options.samples * (shape.tokens - 1)
    usual, everything = (flops(shape, samples, more) for more in (False, True))
    print(f"\n{usual / 1e9 / options.samples:,.0f} GFLOP a sample ({everything / 1e9 / options.samples:,.0f} with "
          f"everything); MFU of {top / 1e12:.3f} TFLOP/s ({whose}); medians of {options.rounds} rounds")  # fmt: skip
    print(f"{'':<24}{'s/step':>8}{'samples/s':>11}{'targets/s':>11}{'MFU':>7}{'with all':>9}"
          f"{'slower, 95 %':>20}{'peak':>9}")  # fmt: skip
    for name in names:
        middle = statistics.median(seconds[name])
        ratios = [a / b for a, b in zip(seconds[name], seconds["janus4o"], strict=True)]
        low, high = interval(ratios)
        versus = (
            "" if name == "janus4o" else f"{statistics.median(ratios):.2f} ({low:.2f}-{high:.2f})"
        )
        print(f"{name:<24}{middle:>8.2f}{options.samples / middle:>11.3f}{targets / middle:>11.1f}"
              f"{usual / middle / top:>7.1%}{everything / middle / top:>9.1%}{versus:>20}"
              f"{peaks[name] / 1e9:>6.2f} GB")  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
