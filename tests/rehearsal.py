"""The real path at real size, with random weights and no GPU: `make rehearse`.

    python tests/rehearsal.py                      # Janus-Pro-1B's geometry: tens of minutes, 17 GB of disk
    python tests/rehearsal.py --geometry tiny      # the same steps on a tiny one: half a minute

scikit-image's photographs → teachers behind HTTP (the tests' server on loopback) → a data set in the
published layout → codes of the full-size picture tokenizer → LoRA beside bfloat16 weights with the settings of
`recipes/24gb_lora.yaml`, gone on with from a checkpoint → both checkpoint formats → pictures. Every step
is a command a user would give; what it left is checked, and its seconds, peak memory and bytes are kept. Weights
are random, so pictures are noise: what is shown is that all of it fits and nothing is lost, not that it draws.

A step that is done is not done again; --keep leaves the folder as it is at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image, ImageOps
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent / "teachers"))

from fault_server import FaultServer

from janus4o.cli import app
from janus4o.exchange import PaintReply, PaintRequest, Picture, WriteReply, WriteRequest
from janus4o.images import open_image, save_png
from janus4o.model import official
from janus4o.model.stored import CODEBOOK, skeleton
from janus4o.model.weights import read_tensors, write_tensors
from janus4o.recipe import Lora
from janus4o.train.codes import open_codes

GOLDEN = Path(__file__).parent / "golden" / "janus" / "checkpoint"
RECIPE = Path(__file__).parent.parent / "recipes" / "24gb_lora.yaml"
SHIPPED = (
    "astronaut.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png",
    "hubble_deep_field.jpg", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
KEY = "JANUS4O_REHEARSAL_KEY"
STEPS = 2
SEED = 9
"""Of the training: each of its steps then has a row of both kinds."""


@dataclass(frozen=True)
class Size:
    """What config.json of an official checkpoint says, and what fits it.

    Attributes:
        words: ids below the special tokens.
        canvas: side of the teacher's pictures, pixels.
        shard: largest file of weights, bytes.
    """

    language: dict[str, int]
    pictures: int
    vision: dict[str, Any]
    vq: dict[str, Any]
    codebook: int
    words: int
    canvas: int
    shard: int


SIZES = {
    # As deepseek-ai/Janus-Pro-1B has it; SigLIP-Large and VQ-16 are fixed in the official source.
    "1b": Size(
        language={
            "hidden_size": 2048, "intermediate_size": 5632, "max_position_embeddings": 16384,
            "num_attention_heads": 16, "num_hidden_layers": 24, "num_key_value_heads": 16,
            "vocab_size": 102400,
        },
        pictures=384, vision={}, vq={}, codebook=16384, words=100_000, canvas=1024, shard=2 * 10**9,
    ),
    "tiny": Size(
        language={
            "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 4096,
            "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 4,
            "vocab_size": 1024,
        },
        pictures=64, vision={"width": 64, "layers": 3, "heads": 4, "mlp_ratio": 4, "patch_size": 16},
        vq={"ch": 32, "ch_mult": [1, 1, 2, 2, 4], "num_res_blocks": 2, "z_channels": 64},
        codebook=1024, words=400, canvas=128, shard=10**6,
    ),
}  # fmt: skip


class Scribe:
    """Writes prompts, sentences and instructions, each of what it is shown."""

    async def write(self, request: WriteRequest) -> WriteReply:
        said = dict(line.partition(": ")[::2] for line in request.prompt.splitlines())
        if "Attributes" in said:
            things = [thing["category"] for thing in json.loads(said["Attributes"])["objects"]]
            return WriteReply(" and ".join(things), "x")
        shown = zlib.crc32(request.pictures[0].data) % 9973
        if "Meaning" in said:
            return WriteReply(f"{said['Meaning']}, number {shown}", "x")
        return WriteReply(f"a photograph with the number {shown} on its back", "x")


class Brush:
    """Paints by cutting out a part of a photograph; edits by turning its source into another one."""

    def __init__(self, photographs: Sequence[Path]) -> None:
        self._photographs = photographs

    async def paint(self, request: PaintRequest) -> PaintReply:
        rng = np.random.default_rng([zlib.crc32(request.prompt.encode()), request.seed])
        if request.sources:
            image = ImageOps.mirror(open_image(request.sources[0].data).convert("RGB"))
            image = ImageOps.posterize(image, int(rng.integers(2, 5)))
        else:
            chosen = self._photographs[int(rng.integers(len(self._photographs)))]
            image = open_image(chosen).convert("RGB")
            left, top = (rng.random(2) * 0.5 * np.array(image.size)).astype(int)
            image = image.crop((left, top, left + image.width // 2, top + image.height // 2))
        return PaintReply(Picture(save_png(image.resize(request.size))), "x")


@dataclass
class Measured:
    """One step.

    Attributes:
        peak: the most memory its process held; `disk` what lies in the folder after it, bytes.
        found: what was checked, or seen.
    """

    name: str
    seconds: float
    peak: int
    disk: int
    found: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        row = f"{self.name:<28}{self.seconds:>8.1f} s{self.peak / 1e9:>7.2f} GB{self.disk / 1e9:>7.2f} GB"
        return "\n".join([row, *(f"    {line}" for line in self.found)])


class Rehearsal:
    """The steps, in one folder.

    Args:
        spawn: gives each command a process of its own, whose memory is measured; without, all are
            carried out in this one, which starts faster.
    """

    def __init__(self, folder: Path, size: Size, spawn: bool = True) -> None:
        self.folder, self.size, self._spawn = folder, size, spawn
        self.photographs, self.init = folder / "photographs", folder / "Janus-Pro"
        self.served, self.run = folder / "served", folder / "run"
        self.published = folder / "published"
        self._peak = 0
        self._log = folder / "rehearsal.json"
        begun = self._log.is_file() and self.photographs.is_dir()  # else it ended and was cleared
        stored = json.loads(self._log.read_text("utf-8")) if begun else []
        self.done = {one["name"]: Measured(**one) for one in stored}

    def step(self, name: str, work: Callable[[], list[str]]) -> None:
        """Carries out a step unless it was, and prints it."""
        if name in self.done:
            print(f"{self.done[name]}\n    (done before)", flush=True)
            return
        reset_peak()
        self._peak, began = 0, time.perf_counter()
        found = work()
        seconds = time.perf_counter() - began
        made = Measured(name, seconds, self._peak or own_peak(), bytes_in(self.folder), found)
        self.done[name] = made
        text = json.dumps([asdict(one) for one in self.done.values()], indent=1)
        self._log.write_text(text, "utf-8")
        print(made, flush=True)

    def verb(self, *words: object) -> str:
        """What a command prints, which must succeed."""
        said = [str(word) for word in words]
        if self._spawn:
            code, out, errors = self._spawned([sys.executable, "-m", "janus4o.cli.app", *said])
        else:
            with contextlib.redirect_stdout(io.StringIO()) as caught:
                code = app.main(said)
            out, errors = caught.getvalue(), ""
        if code != 0:
            raise SystemExit(
                f"janus4o {' '.join(said)}\nended with {code}:\n{(out + errors)[-2000:]}"
            )
        return out

    def _spawned(self, words: list[str]) -> tuple[int, str, str]:
        """Exit code, output and errors of another process, whose memory is noted."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            one = subprocess.Popen(words, stdout=out, stderr=errors)
            _, status, used = os.wait4(one.pid, 0)
            one.returncode = os.waitstatus_to_exitcode(status)
            # Kilobytes, but bytes on a Mac.
            self._peak = max(self._peak, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
            said = []
            for file in (out, errors):
                file.seek(0)
                said.append(file.read().decode("utf-8", "replace"))
            return one.returncode, said[0], said[1]

    def recipe(self) -> list[object]:
        """The shipped recipe, with fewer rows and steps and another start."""
        train = {
            "batch": 2, "steps": STEPS, "validation": 1, "validate_every": STEPS,
            "checkpoint_every": 1, "keep_checkpoints": STEPS, "seed": SEED,
        }  # fmt: skip
        changes = [f"train.{key}={value}" for key, value in train.items()]
        return [RECIPE, f"output={self.run}", f"model.init={self.init}", *changes]

    @property
    def trained(self) -> Path:
        return self.run / "checkpoints" / str(STEPS)

    # The steps.

    def copy_photographs(self) -> list[str]:
        import skimage

        self.photographs.mkdir(exist_ok=True)
        for name in SHIPPED:
            shutil.copy(Path(skimage.__file__).parent / "data" / name, self.photographs / name)
        sizes = sorted({Image.open(path).size for path in self.photographs.iterdir()})
        return [f"{len(SHIPPED)} photographs, {sizes[0]} to {sizes[-1]} pixels"]

    def write_start(self) -> list[str]:
        shutil.rmtree(self.init, ignore_errors=True)
        weights, files = write_official(self.init, self.size)
        return [f"{weights:,} random weights in bfloat16, {files} files, model_type multi_modality"]

    def synthesize(self) -> list[str]:
        painter = Brush(sorted(self.photographs.iterdir()))
        with FaultServer(writer=Scribe(), painter=painter).running() as server:
            path = self.folder / "served.yaml"
            path.write_text(yaml.safe_dump(self._served(server.url)), "utf-8")
            os.environ[KEY] = "sk-rehearsal"
            self.verb("plan", path)
            told = json.loads(self.verb("synth", path, "--json"))
            calls = len(server.asked)
        assert told["accepted"] == {"prompt_first": 2, "image_first": 4, "editing": 3}, told
        return [
            f"9 rows, 2 from attributes, 4 from photographs, 3 edits of photographs; {calls} calls over HTTP"
        ]

    def _served(self, url: str) -> dict[str, Any]:
        server = {
            "api": "openai", "base_url": url, "key": KEY, "seed": True, "timeout": 60.0,
            "price": {"input": 2.0, "image_input": 4.0, "output": 10.0, "picture": {"any": 0.01}},
        }  # fmt: skip
        there = {"path": str(self.photographs)}
        return {
            "name": "rehearsal",
            "output": str(self.served),
            "teachers": {
                "writer": {**server, "model": "scribe-1"},
                "painter": {**server, "model": "brush-1"},
                "size": [self.size.canvas, self.size.canvas],
            },
            "synthesis": {
                "world": "open",
                "concurrency": 2,
                "text_to_image": {"count": 2},
                "image_first": {"count": 4, "keep": "both", "pictures": there},
                "editing": {
                    "count": 3, "sources": "pictures", "pictures": there, "tasks": {"style_artist": 1},
                },
            },
        }  # fmt: skip

    def publish(self) -> list[str]:
        shutil.rmtree(self.published, ignore_errors=True)
        self.verb("export", self.served, "--format", "sharegpt", "--out", self.published)
        names = {path.name for path in self.published.iterdir()}
        wanted = {"text_to_image.json", "text_and_image_to_image.json"}
        wanted |= {"text_to_image_part_0.tar", "text_and_image_to_image_part_0.tar"}
        assert wanted <= names, names
        told = json.loads(
            self.verb("import", self.published, "--into", self.run, "--decode", "--json")
        )
        assert (told["rows"], told["problems"]) == (
            {"text_to_image": 6, "text_and_image_to_image": 3}, []
        ), told  # fmt: skip
        return [
            f"9 rows and {told['pictures']} pictures in the published layout, all decoded again"
        ]

    def plan(self) -> list[str]:
        """What `plan` says; its memory is a GPU's, with kernels a CPU does not have."""
        said = self.verb("plan", *self.recipe())
        return [line.strip() for line in said.splitlines() if "GB" in line][:6]

    def encode(self) -> list[str]:
        told = json.loads(self.verb("encode", *self.recipe(), "--device", "cpu", "--json"))
        assert (told["rows"], told["unreadable"], told["skipped"]) == (9, 0, 0), told
        codes = open_codes(told["folder"])
        grid = self.size.pictures // 16
        numbers = {number for row in codes.rows for number in (row.target, *row.sources)}
        kinds = set()
        for number in sorted(numbers):
            one = codes.codes_PT[number]
            assert one.shape == (grid * grid,)
            assert 0 <= one.min() <= one.max() < self.size.codebook
            kinds.update(one.tolist())
        side = self.size.pictures
        for row in codes.rows:
            for source in row.sources:
                assert codes.picture(source).shape == (side, side, 3)
        return [
            f"{len(numbers)} pictures of {side} px, each {grid * grid} codes below {self.size.codebook:,}; "
            f"{len(kinds):,} of these occur",
        ]

    def train(self) -> list[str]:
        self.verb("train", *self.recipe(), "--device", "cpu")
        found = []
        lines = [json.loads(line) for line in (self.run / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, STEPS + 1)), lines
        chance = math.log(self.size.codebook)
        for line in lines:
            losses = [line["t2i_loss"], line["edit_loss"], *line.get("validation", {}).values()]
            assert all(abs(loss - chance) < 2 for loss in losses), line
            assert 0 < line["grad_norm"] < math.inf, line
            said = f", held out {losses[2]:.3f}" if losses[2:] else ""
            found.append(f"step {line['step']}: {line['tokens']:,} positions in {line['seconds']:.0f} s, "
                         f"losses {losses[0]:.3f}, {losses[1]:.3f} (chance {chance:.3f}), "
                         f"gradient {line['grad_norm']:.3f}{said}")  # fmt: skip
        return found

    def resume(self) -> list[str]:
        """The last step once more, from the checkpoint before it: as after a kill."""
        straight = self.folder / "straight"
        if not straight.exists():
            self.trained.rename(straight)
        self.verb("train", *self.recipe(), "--device", "cpu")
        assert digests(self.trained) == digests(straight)
        shutil.rmtree(straight)
        shutil.rmtree(self.trained.with_name(str(STEPS - 1)))
        return [f"gone on with from step {STEPS - 1}: the weights of step {STEPS} bit for bit"]

    def check_adapter(self) -> list[str]:
        """Training changed what the adapter covers, as the adapter says, and nothing else."""
        before = self.folder / "start-as-transformers"
        self.verb("convert", self.init, before, "--format", "transformers")
        adapter = self.trained / "adapter"
        config = json.loads((adapter / "adapter_config.json").read_text("utf-8"))
        scale = config["lora_alpha"] / config["r"]
        changed, kept, drawing = [], 0, 0
        with (
            safe_open(adapter / "adapter_model.safetensors", "pt") as small,
            weights_of(self.trained) as now,
        ):
            beside = {name for name in small.keys() if ".lora_A." in name}  # noqa: SIM118
            for name, was in read_tensors(before):
                is_, key = now(name), f"base_model.model.{name.removesuffix('weight')}lora_A.weight"
                if key in beside:
                    beside.remove(key)
                    product = small.get_tensor(key.replace("_A.", "_B.")) @ small.get_tensor(key)
                    assert torch.equal(is_, (was.float() + product * scale).to(was.dtype)), name
                    changed.append(not torch.equal(is_, was))
                elif name == CODEBOOK:
                    assert torch.equal(is_, torch.nn.functional.normalize(was.float(), dim=-1))
                elif name.startswith("model.vqmodel."):
                    assert torch.equal(is_, was.float()), name
                    drawing += 1
                else:
                    assert torch.equal(is_, was), name
                    kept += 1
        assert not beside, f"{len(beside)} matrices of the adapter lie beside nothing"
        targets = len(Lora().targets) * self.size.language["num_hidden_layers"]
        assert (len(changed), all(changed)) == (targets, True), f"{sum(changed)} of {targets}"
        shutil.rmtree(before)
        return [
            f"{targets} matrices are the start's + {scale:g}·B·A in bfloat16, bit for bit; {kept} tensors the start's",
            f"the picture tokenizer's {drawing} the start's in float32, its codebook's rows unit vectors",
        ]

    def convert(self) -> list[str]:
        there, back = self.folder / "official", self.folder / "back"
        self.verb("convert", self.trained, there, "--format", "official")
        self.verb("convert", there, back, "--format", "transformers")
        started = json.loads((self.init / "config.json").read_text("utf-8"))
        made = json.loads((there / "config.json").read_text("utf-8"))
        for part in official.SECTIONS:
            assert made[part] == started[part], part
        language = started["language_config"]
        assert language.items() <= made["language_config"].items()
        assert digests(self.trained) == digests(back)
        names = shapes_in(there)
        assert names == shapes_in(self.init)
        return [
            f"official: {len(names)} tensors with the start's names and shapes, config.json with its parts",
            "and back: every tensor bit for bit",
        ]

    def load_elsewhere(self) -> list[str]:
        probe = (
            "import sys, warnings; warnings.simplefilter('ignore')\n"
            "from transformers import JanusForConditionalGeneration as Janus\n"
            "_, told = Janus.from_pretrained(sys.argv[1], dtype='auto', output_loading_info=True)\n"
            "assert not any(told.values()), told\n"
        )
        code, _, errors = self._spawned([sys.executable, "-c", probe, str(self.folder / "back")])
        assert code == 0, errors[-2000:]
        return [
            "transformers' own class loads it, no tensor missing, unexpected or of another shape"
        ]

    def generate(self) -> list[str]:
        out = self.folder / "pictures"
        shutil.rmtree(out, ignore_errors=True)  # else a second one would get another name
        self.verb("generate", "a lighthouse at dusk", "--model", self.folder / "official",
                  "--out", out, "--device", "cpu")  # fmt: skip
        return [self._look(out, "a-lighthouse-at-dusk-0.png")]

    def edit(self) -> list[str]:
        out = self.folder / "pictures"
        self.verb("edit", self.photographs / "chelsea.png", "make it night",
                  "--model", self.folder / "back", "--out", out, "--device", "cpu")  # fmt: skip
        return [self._look(out, "make-it-night-0.png")]

    def _look(self, folder: Path, name: str) -> str:
        with Image.open(folder / name) as image:
            assert image.size == (self.size.pictures,) * 2
            pixels = np.asarray(image.convert("RGB"), float)
        assert pixels.std() > 1, "one colour"
        return f"{name}: {self.size.pictures} px, levels {pixels.mean():.0f} ± {pixels.std():.0f}"

    def all(self) -> None:
        print(f"{'':<28}{'':>10}{'peak':>10}{'on disk':>10}")
        self.step("photographs", self.copy_photographs)
        self.step("random checkpoint", self.write_start)
        self.step("synth over HTTP", self.synthesize)
        self.step("export, import", self.publish)
        self.step("plan", self.plan)
        self.step("encode", self.encode)
        self.step("train", self.train)
        self.step("train, gone on with", self.resume)
        self.step("adapter", self.check_adapter)
        self.step("convert there and back", self.convert)
        if self._spawn:
            self.step("load in transformers", self.load_elsewhere)
        self.step("generate", self.generate)
        self.step("edit", self.edit)


def write_official(folder: Path, size: Size) -> tuple[int, int]:
    """Writes a checkpoint as the published ones are; returns its weights and its files of them."""
    folder.mkdir(parents=True)
    config = json.loads((GOLDEN / "config.json").read_text("utf-8"))
    hidden = size.language["hidden_size"]
    width = size.vision.get("width", official.VISION_SIZES["width"])
    parts: dict[str, dict[str, Any]] = {
        "vision_config": {
            "image_size": size.pictures, "model_name": official.VISION_NAME, "select_feature": "same",
            "select_layer": -1, **size.vision,
        },
        "aligner_config": {
            "depth": 2, "input_dim": width, "n_embed": hidden, "projector_type": "mlp_gelu",
        },
        "gen_vision_config": {"image_token_size": size.codebook, "n_embed": 8, **size.vq},
        "gen_aligner_config": {
            "depth": 2, "input_dim": 8, "n_embed": hidden, "projector_type": "mlp_gelu",
        },
        "gen_head_config": {
            "image_token_embed": hidden, "image_token_size": size.codebook, "n_embed": hidden,
        },
    }  # fmt: skip
    for part, params in parts.items():
        config[part]["params"] = params
    config["language_config"] = {"model_type": "llama", "torch_dtype": "bfloat16", **size.language}
    config["torch_dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config, indent=2), "utf-8")
    for name in ("processor_config.json", "special_tokens_map.json", "tokenizer_config.json"):
        shutil.copy(GOLDEN / name, folder / name)
    pictures = json.loads((GOLDEN / "preprocessor_config.json").read_text("utf-8"))
    pictures["image_size"] = size.pictures
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures, indent=2), "utf-8")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer(size.words)), "utf-8")

    made = official.read_config(config, str(folder))
    shapes = {name: tensor.shape for name, tensor in skeleton(made).state_dict().items()}
    wanted = {name: place.shape for name, place in official.places(shapes).items()}
    state = {name: fill(name, shape) for name, shape in (wanted | official.unused(made)).items()}
    write_tensors(folder, state, size.shard)
    files = len(list(folder.glob("*.safetensors")))
    return sum(tensor.numel() for tensor in state.values()), files


def tokenizer(words: int) -> dict[str, Any]:
    """The golden set's tokenizer with more words, so that special tokens have ids from `words` on."""
    stored: dict[str, Any] = json.loads((GOLDEN / "tokenizer.json").read_text("utf-8"))
    made = copy.deepcopy(stored)
    vocabulary = made["model"]["vocab"]
    moved = words - len(vocabulary)
    vocabulary |= {f"filler-{number}": number for number in range(len(vocabulary), words)}
    for token in made["added_tokens"]:
        token["id"] += moved
    for token in made["post_processor"]["special_tokens"].values():
        token["ids"] = [number + moved for number in token["ids"]]
    return made


def fill(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Random weights under which signals neither die out nor grow."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    made = torch.empty(shape, dtype=torch.bfloat16)
    if name.endswith("codebook_used"):
        return made.zero_()
    made.normal_(generator=torch.Generator().manual_seed(seed))
    if len(shape) == 1:
        return made.mul_(0.1).add_(1) if name.endswith("weight") else made.mul_(0.02)
    if name.endswith(("embed_tokens.weight", "gen_embed.weight")):
        return made
    if name.endswith(("pos_embed", "attn_pool.latent")):
        return made.mul_(0.2)
    return made.mul_(math.prod(shape[1:]) ** -0.5)


def digests(folder: Path) -> dict[str, str]:
    """Of every tensor's bits, by its name."""
    return {
        name: hashlib.sha256(tensor.view(-1).view(torch.uint8).numpy()).hexdigest()
        for name, tensor in read_tensors(folder)
    }


def shapes_in(folder: Path) -> dict[str, list[int]]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    return found


@contextlib.contextmanager
def weights_of(folder: Path) -> Iterator[Callable[[str], torch.Tensor]]:
    """Reads single tensors of a checkpoint."""
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(safe_open(path, "pt")) for path in folder.glob("*.safetensors")
        ]
        where = {name: file for file in files for name in file.keys()}  # noqa: SIM118
        yield lambda name: where[name].get_tensor(name)


def reset_peak() -> None:
    """Begins to measure this process's memory anew, where the system can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def own_peak() -> int:
    """The most memory this process held since then, bytes; 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return 0


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main(words: Sequence[str] | None = None) -> int:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--geometry", choices=SIZES, default="1b")
    asked.add_argument("--folder", type=Path, help="default runs/rehearsal/GEOMETRY")
    asked.add_argument("--keep", action="store_true", help="leave what was made where it is")
    asked.add_argument("--here", action="store_true", help="all in this process: starts faster")
    options = asked.parse_args(words)
    options.folder = options.folder or Path("runs/rehearsal") / options.geometry
    options.folder.mkdir(parents=True, exist_ok=True)
    rehearsal = Rehearsal(options.folder, SIZES[options.geometry], spawn=not options.here)
    began = time.perf_counter()
    try:
        rehearsal.all()
    except BaseException:
        held = bytes_in(options.folder) / 1e9
        print(
            f"stopped; {options.folder} holds {held:.1f} GB, and the same command goes on",
            flush=True,
        )
        raise
    steps = rehearsal.done.values()
    print(f"\nall {len(steps)} steps: {sum(one.seconds for one in steps):.0f} s "
          f"({time.perf_counter() - began:.0f} s of them now), peak {max(one.peak for one in steps) / 1e9:.2f} GB, "
          f"at most {max(one.disk for one in steps) / 1e9:.1f} GB on disk at the end of a step")  # fmt: skip
    if not options.keep:
        for path in options.folder.iterdir():
            if path.name not in ("pictures", "rehearsal.json"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{options.folder} holds {bytes_in(options.folder) / 1e9:.1f} GB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
