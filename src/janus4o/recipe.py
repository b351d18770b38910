"""A recipe: one YAML file that says everything a run depends on.

Unknown keys are errors. Dotted overrides (`train.steps=200`) change one value; `${NAME}` takes it
from the environment. `content()` is the part that determines what a sample is: changing it makes
other samples, changing anything else (counts, limits, training, scoring) does not.
"""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from janus4o.errors import RecipeError
from janus4o.files import write_atomic

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Rates(_Strict):
    """What a model costs, US dollars a million tokens; 0 is free.

    input: of text; `image_input` of pictures, None means the same.
    batch: what a call costs by the batch, of what it costs by itself.
    picture: dollars a picture at 1024×1024 by quality, for what is reserved before a call and for
        servers that count no tokens; other sizes by their pixels.
    """

    input: float = Field(ge=0)
    image_input: float | None = Field(None, ge=0)
    output: float = Field(0.0, ge=0)
    batch: float = Field(0.5, ge=0, le=1)
    picture: dict[str, Annotated[float, Field(ge=0)]] = {}


class Limits(_Strict):
    """What the server allows a minute; None is no limit. Kept in every 60 seconds."""

    requests: int | None = Field(None, ge=1)
    images: int | None = Field(None, ge=1)
    tokens: int | None = Field(None, ge=1)


NOT_CONTENT = {"base_url", "device", "key", "timeout", "served", "price", "limits", "urls", "batch"}
"""Keys of a server that do not determine what it answers."""


class Server(_Strict):
    """A teacher behind an API.

    api: the wire format; `openai` is spoken by OpenAI, Gemini's compatible endpoint, vLLM, SGLang,
        `google` by Gemini.
    base_url: None is OpenAI or Google itself.
    key: NAME of the environment variable that holds the key, never the key; OPENAI_API_KEY, or of
        `google` GEMINI_API_KEY, where none is given.
    timeout: seconds without an answer after which a call is given up.
    served: the model name its answers carry, where that is another than `model`.
    price: where the package does not know the model's.
    """

    api: Literal["openai", "google"]
    model: str = Field(min_length=1)
    base_url: str | None = Field(None, pattern=r"^https?://[^@?#\s]+$")
    key: str = Field("OPENAI_API_KEY", pattern=r"^[A-Z][A-Z0-9_]{0,63}$")
    timeout: float = Field(300.0, gt=0, le=3600)
    served: str | None = None
    price: Rates | None = None
    limits: Limits = Limits()
    seed: bool = Field(False, description="send the seed; not every server takes one")
    batch: bool = Field(
        False,
        description="text and generations by OpenAI's Batch API: half the price, within 24 hours; "
        "as many as `synthesis.concurrency` go together; edits are asked one by one",
    )

    @model_validator(mode="before")
    @classmethod
    def _own_key(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("api") == "google":
            return {"key": "GEMINI_API_KEY", **value}
        return value

    @model_validator(mode="after")
    def _only_openai_batches(self) -> Server:
        if self.batch and self.api != "openai":
            raise ValueError("batches are asked of api: openai only")
        return self

    @field_validator("key")
    @classmethod
    def _no_key_itself(cls, value: str) -> str:
        # What keys look like is not a name anybody gives a variable.
        if len(value) > 24 and "_" not in value:
            raise ValueError("must be the name of an environment variable")
        return value


class WriterServer(Server):
    """A language model that sees pictures.

    max_output_tokens: of one answer, thinking included; this much is reserved before a call.
    effort: how long a thinking model thinks; None leaves it to the server.
    """

    max_output_tokens: int = Field(2000, ge=16)
    effort: Literal["none", "minimal", "low", "medium", "high"] | None = None


class PainterServer(Server):
    """An image model.

    quality: what the model calls its qualities; None leaves it to the server. Gemini's have none.
    urls: fetch pictures that the server answers with as https addresses; never private ones.
    """

    quality: str | None = None
    moderation: Literal["auto", "low"] | None = None
    urls: bool = False

    @model_validator(mode="after")
    def _google_has_none(self) -> PainterServer:
        given = [name for name in ("quality", "moderation", "urls") if getattr(self, name)]
        if self.api == "google" and given:
            raise ValueError(f"api: google takes no {given[0]}")
        return self


class Local(_Strict):
    """A Janus of this machine: Janus-Pro to describe pictures, Janus-4o to draw and edit.

    model: `sketch-base`, a checkpoint folder or a hub id.
    device: auto, cpu, cuda or cuda:N.
    """

    api: Literal["janus"]
    model: str = Field(min_length=1)
    device: str = "auto"


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "local" if value.get("api") == "janus" else "server"
    if isinstance(value, Local):
        return "local"
    if value is None:
        return "none"
    return "server" if isinstance(value, Server) else "offline"


_KINDS = ("offline", "local", "server", "none")
_Offline = Annotated[Literal["sketch"], Tag("offline")]
_Local = Annotated[Local, Tag("local")]


class Teachers(_Strict):
    """Who writes, who paints, who judges. `sketch` is the offline world: exact, free, no key.

    judge: scores pictures against `checks.limits`; nobody does where none is named.
    """

    writer: Annotated[
        _Offline | _Local | Annotated[WriterServer, Tag("server")], Discriminator(_kind)
    ] = "sketch"
    painter: Annotated[
        _Offline | _Local | Annotated[PainterServer, Tag("server")], Discriminator(_kind)
    ] = "sketch"
    judge: Annotated[
        Annotated[None, Tag("none")] | _Offline | Annotated[WriterServer, Tag("server")],
        Discriminator(_kind),
    ] = None
    max_categories: int | None = Field(
        None, ge=1, description="most object categories in one prompt; None takes the painter's own"
    )
    size: tuple[int, int] = Field((128, 128), description="pixels (width, height) asked for")

    @model_validator(mode="before")
    @classmethod
    def _lists_are_sizes(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("size"), list):
            return {**value, "size": tuple(value["size"])}
        return value


class Pictures(_Strict):
    """Pictures that are there already, taken in an order drawn from the seed.

    path: of a folder; of one file or a folder of files for Parquet and WebDataset; "owner/name" or
        "owner/name@revision" for the hub.
    format: `folder` of picture files; `parquet`; `webdataset`, plain tars; `allava`, the folder
        with `allava_laion/` or `allava_vflan/` in it; `hub`, a data set whose files are one of
        these.
    column: of Parquet files, where the pictures are.
    files: of a hub data set, which files to fetch.
    """

    path: str = Field(min_length=1)
    format: Literal["folder", "parquet", "webdataset", "allava", "hub"] = "folder"
    column: str = "image"
    files: str = "**/*.parquet"


class TextToImage(_Strict):
    """Prompt-first text-to-image samples."""

    count: int = Field(8000, ge=0, description="rows wanted")
    category_decay: float = Field(
        1.0,
        gt=0,
        description="λ: k object categories are drawn with weight exp(-λ(k-1)), k = 1..100",
    )
    colour: Share = Field(0.75, description="how often a category's colour is asked for")
    background: Share = Field(0.3, description="how often the background is asked for")
    composition: Share = Field(0.5, description="how often a relation is asked for, two categories")
    repeated: Share = Field(0.5, description="how often a lone category is asked for 2–4 times")


class ImageFirst(_Strict):
    """Text-to-image samples whose prompt describes a picture that is there already."""

    count: int = Field(0, ge=0, description="rows wanted")
    pictures: Pictures | None = Field(None, description="what is described")
    keep: Literal["regenerated", "original", "both"] = Field(
        "regenerated",
        description="which picture stands beside the sentence: the one painted from it, the one it "
        "describes, or both in turn, each in a row with a sentence of its own",
    )


class Document(_Strict):
    """Text-to-image samples of pages with text on them."""

    count: int = Field(0, ge=0, description="rows wanted")
    types: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: {
            "slide": 1.0,
            "paper": 1.0,
            "document": 1.0,
            "infographic": 1.0,
            "poster": 1.0,
        },
        description="relative share of each type",
    )
    category: Literal["planned", "chosen"] = Field(
        "planned",
        description="`planned`: the type comes from the shares; `chosen`: the writer chooses the "
        "one that suits the theme, as in the paper, and the shares only say which it may choose",
    )
    vocabulary: str | None = Field(
        None, description="YAML file of themes and fonts; None is the shipped one"
    )


class Editing(_Strict):
    """Editing samples.

    sources: what is edited. `drawn`: a picture of its own for each edit; `rows`: the text-to-image
        pictures of this run; `pictures`: photographs or other pictures that are there already.
    turns: edits of one picture, each of the result of the one before; `count` is spread over them.
    two_sources: how often an edit is given a second picture to take something from.
    conditions: relative share of each kind of conditioning picture that the two tasks of
        structured generation start from.
    """

    count: int = Field(8000, ge=0, description="rows wanted")
    instruction: Literal["imperative", "descriptive"] = Field(
        "imperative",
        description="`descriptive` is the paper's form: one sentence about the result that may "
        "leave the task aside; such rows say that they are loosely tied to it",
    )
    tasks: dict[str, float] = Field(
        default_factory=lambda: {
            "inpainting_replacement": 1.0,
            "element_manipulation": 2.0,
            "background_modification": 1.0,
            "attribute_manipulation": 1.0,
        },
        description="relative share of each editing task",
    )
    sources: Literal["drawn", "rows", "pictures"] = "drawn"
    pictures: Pictures | None = Field(None, description="for `sources: pictures`")
    turns: int = Field(1, ge=1, le=3)
    two_sources: Share = 0.0
    conditions: dict[str, float] = Field(
        default_factory=lambda: {"sketch": 1.0, "line_art": 1.0, "edges": 1.0}
    )


class Synthesis(_Strict):
    """What to ask the teachers for.

    world: `learnable` asks only for scenes the tiny model can learn; `rich` uses the whole sketch
        world; `open` asks for anything, of teachers behind an API.
    hold_out: keep the combinations of the evaluation out of the training data.
    concurrency: samples in flight, each with one call; batches are this large at most.
    shares: `planned` settles what every row is to be before anything is asked, so that all shares are
        met whatever is rejected; `drawn` draws each sample by itself, so that they are met in the
        long run. None plans, except in the learnable world: its published results are of drawn rows.
    budget_usd: stop before spending more; None means no limit.
    """

    world: Literal["learnable", "rich", "open"] = "learnable"
    vocabulary: str | None = Field(
        None, description="YAML file of what the open world is asked for; None is the shipped one"
    )
    prompts: str | None = Field(
        None, description="folder of templates that take the place of shipped ones of the same name"
    )
    hold_out: bool = True
    shares: Literal["planned", "drawn"] | None = None
    text_to_image: TextToImage = TextToImage()
    image_first: ImageFirst = ImageFirst()
    document: Document = Document()
    editing: Editing = Editing()
    concurrency: int = Field(8, ge=1, le=10_000)
    budget_usd: float | None = Field(None, ge=0)

    @property
    def planned(self) -> bool:
        """Whether what each row is to be is settled beforehand."""
        return (self.shares or ("drawn" if self.world == "learnable" else "planned")) == "planned"


class Checks(_Strict):
    """What rows have to pass.

    With a `teachers.judge`, synthesis has it score every picture that passes all else.

    limits: check → the figure with which a row just passes, where another than the check's own.
    tries: pictures painted from one prompt until one passes; those that did not are kept beside it.
    rewrite: where only `following` fails at the last of them, the judge writes the prompt or
        instruction that the picture does fulfil, and the row gets that.
    budget_usd: `janus4o check` stops before spending more on its judge; None means no limit.
    """

    limits: dict[str, float] = {}
    tries: int = Field(1, ge=1, le=16)
    rewrite: bool = False
    budget_usd: float | None = Field(None, ge=0)


class Model(_Strict):
    """Where training starts: `sketch-base`, `random`, a folder or a hub id."""

    init: str = "sketch-base"
    fit: Literal["letterbox", "crop"] = "crop"


class Dropout(_Strict):
    """What is hidden during training so that guidance has its branches.

    unit: `block` hides all of it at once (the released code), `token` each token on its own
        (the paper's words).
    prompt: text-to-image, the prompt.
    source: edits, the source's codes.
    null: edits, everything (the branch guidance subtracts; the released code never trains it).
    """

    unit: Literal["block", "token"] = "block"
    prompt: Share = 0.1
    source: Share = 0.5
    null: Share = 0.1


LORA_TARGETS = [f"{name}_proj" for name in ("q", "k", "v", "o", "gate", "up", "down")]


class Lora(_Strict):
    """Small matrices beside the language model's, learnt instead of them (PEFT's LoRA).

    rank: their inner size. alpha: their sum is scaled by alpha / rank.
    targets: which layers get them, by the last part of their name.
    """

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: list[str] = LORA_TARGETS


class Train(_Strict):
    """Fine-tuning.

    preset: `official` follows the released script to the letter, `paper` the paper's text,
        `corrected` mends the script's defects. Values given beside it win; the last three keys
        take the preset's where they are not given (train/presets.py says what each means).
    steps: optimiser steps; None means `epochs` passes over the data.
    batch: rows an optimiser step. `micro_batch` rows are computed at once.
    min_rate: the cosine ends at this fraction of `rate`.
    precision: `bf16` computes matrix products in bfloat16; weights and optimiser stay float32.
    workers: micro-batches computed at the same time on a CPU; what is learnt does not depend on it.
    packing: positions of a micro-batch of several rows laid end to end, none seeing another; it
        takes the place of `micro_batch`.
    lora: learn small matrices beside the language model's, which stays as it is.
    freeze: parts that are not learnt: `vision` the understanding tower, `aligner` what brings its
        features in, `language` the language model, `generation` what brings codes in and out. The
        picture tokenizer is always frozen.
    weights: what weights are held in; `bf16` needs `lora` or the optimiser `adamw_8bit`.
    optimizer: `adamw_8bit` holds its moments in 8 bits and rounds bf16 weights by chance (torchao).
    recompute: what the backward pass computes again instead of keeping: `selective` all but matrix
        products and attention, `layers` whole layers.
    shard: over several processes: `full` cuts weights, gradients and optimiser among them (FSDP2),
        `none` gives each of them all and adds the gradients up. None: `none` for lora.
    validation: rows held out; their loss is measured every `validate_every` steps, by task.
    spike: a step whose loss is this many times the median of the last ones is listed with its rows.
    tracker: where metrics go besides metrics.jsonl.
    samples: prompts drawn after every checkpoint, into `progress/<step>/`.
    """

    preset: Literal["official", "paper", "corrected"] = "corrected"
    steps: int | None = Field(None, ge=1)
    epochs: float = Field(3.0, gt=0)
    batch: int = Field(128, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    rate: float = Field(5e-6, gt=0)
    min_rate: float = Field(0.15, ge=0, le=1)
    warmup: float = Field(0.05, ge=0, le=1)
    weight_decay: float = Field(0.1, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = Field(1.0, gt=0)
    dropout: Dropout | None = Field(None, description="None takes the preset's")
    checkpoint_every: int = Field(500, ge=1, description="steps")
    keep_checkpoints: int = Field(2, ge=1)
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = Field(1, ge=1, le=64)
    first_token: bool | None = Field(None, description="supervise image token 0")
    decay: Literal["matrices", "not_biases"] | None = Field(None, description="what decays")
    accumulation: Literal["exact", "micro_means"] | None = None
    packing: int | None = Field(None, ge=64)
    lora: Lora | None = None
    freeze: list[Literal["vision", "aligner", "language", "generation"]] = []
    weights: Literal["fp32", "bf16"] = "fp32"
    optimizer: Literal["adamw", "adamw_8bit"] = "adamw"
    recompute: Literal["none", "selective", "layers"] = "none"
    shard: Literal["none", "full"] | None = None
    validation: int = Field(0, ge=0)
    validate_every: int = Field(100, ge=1)
    spike: float = Field(3.0, gt=1)
    tracker: Literal["tensorboard", "trackio"] | None = None
    samples: list[str] = Field([], max_length=64)

    @model_validator(mode="after")
    def _fit_together(self) -> Train:
        if self.weights == "bf16" and self.lora is None and self.optimizer != "adamw_8bit":
            raise ValueError(
                "weights: bf16 rounds small updates away; add lora, or optimizer: adamw_8bit, "
                "which rounds by chance"
            )
        if self.weights == "bf16" and self.precision != "bf16":
            raise ValueError("weights: bf16 needs precision: bf16")
        if self.lora is not None and "language" in self.freeze:
            raise ValueError("lora learns beside the language model; take it out of freeze")
        if self.packing is not None and self.micro_batch is not None:
            raise ValueError("packing takes the place of micro_batch; give one of them")
        if self.packing is not None and self.accumulation == "micro_means":
            raise ValueError("packing needs accumulation: exact")
        return self

    @model_validator(mode="before")
    @classmethod
    def _lists_are_betas(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("betas"), list):
            return {**value, "betas": tuple(value["betas"])}
        return value


class Evaluate(_Strict):
    """Scoring on held-out prompts, one sample a prompt.

    guidance: scales tried on a validation set; the best by mean score is used for the test.
    semantic_weights: the same for edits' `semantic_weight`.
    """

    prompts_per_task: int = Field(120, ge=1)
    validation_per_task: int = Field(24, ge=1)
    guidance: list[float] = Field(default_factory=lambda: [1.0, 2.0, 3.0])
    semantic_weights: list[float] = Field(default_factory=lambda: [0.0, 1.0])
    seed: int = 1_000_000


KEPT = "recipe.yaml"
"""In a run folder: the recipe each part of it was made by."""


def _content_of_server(server: Any) -> Any:
    """A teacher without what does not determine its answers."""
    if isinstance(server, dict):
        return {key: value for key, value in server.items() if key not in NOT_CONTENT}
    return server


class Recipe(_Strict):
    """The whole run. See `recipes/` for complete commented examples."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    seed: int = 0
    output: str | None = Field(None, description="run folder; default runs/<name>")
    store: str | None = Field(
        None,
        pattern=r"^postgres(ql)?://\S+$",
        description="postgresql://user@host/database that several workers share, which also share "
        "the run folder; None is a file in the run folder. A password comes from PGPASSWORD or "
        "~/.pgpass, never from here",
    )
    teachers: Teachers = Teachers()
    synthesis: Synthesis = Synthesis()
    checks: Checks = Checks()
    model: Model = Model()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()

    @field_validator("store")
    @classmethod
    def _no_password(cls, value: str | None) -> str | None:
        given = urlsplit(value or "")
        if given.password or "password" in parse_qs(given.query):
            raise ValueError("must hold no password; export PGPASSWORD or use ~/.pgpass")
        return value

    @model_validator(mode="after")
    def _somebody_rewrites(self) -> Recipe:
        if self.checks.rewrite and self.teachers.judge is None:
            raise ValueError("checks.rewrite: nobody is there to rewrite; name a teachers.judge")
        return self

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.output) if self.output else Path("runs") / self.name

    def starting_from(self, init: str) -> Recipe:
        """The same recipe with another model to start from."""
        return self.model_copy(update={"model": self.model.model_copy(update={"init": init})})

    def content(self) -> dict[str, Any]:
        """What determines the samples: teachers, seed, and of synthesis all but counts and limits."""
        synthesis = self.synthesis.model_dump(mode="json")
        # Files count by what is in them, not by where they lie; pipelines besides the first two
        # by themselves, so that one can be added to a run.
        for key in (
            "concurrency",
            "budget_usd",
            "vocabulary",
            "prompts",
            "image_first",
            "document",
        ):
            synthesis.pop(key)
        synthesis["text_to_image"].pop("count")
        synthesis.pop("shares")
        if self.synthesis.planned:
            synthesis["shares"] = "planned"
        for key in ("count", "pictures", "turns"):
            synthesis["editing"].pop(key)
        defaults = Editing().model_dump(mode="json")
        for key in ("instruction", "sources", "two_sources", "conditions"):
            if synthesis["editing"][key] == defaults[key]:
                synthesis["editing"].pop(key)  # as it was before there was a choice
        teachers = self.teachers.model_dump(mode="json", exclude={"judge"})
        for role in ("writer", "painter"):
            teachers[role] = _content_of_server(teachers[role])
        return {
            "seed": self.seed,
            "teachers": teachers,
            "synthesis": synthesis,
        }

    def content_of_checks(self) -> dict[str, Any]:
        """What determines, besides the checks' limits, which samples are accepted; {} where nothing does."""
        judge, tries = self.teachers.judge, self.checks.tries
        if judge is None:
            return {"tries": tries} if tries > 1 else {}
        dumped = _content_of_server(self.teachers.model_dump(mode="json")["judge"])
        return {"judge": dumped, "tries": tries, "rewrite": self.checks.rewrite}

    def content_of(self, pipeline: Literal["image_first", "document"]) -> dict[str, Any]:
        """What determines the samples of this pipeline besides."""
        section: dict[str, Any] = getattr(self.synthesis, pipeline).model_dump(mode="json")
        for key in ("count", "pictures", "vocabulary"):
            section.pop(key, None)
        return section


_SHORT_FLOAT = ("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"))


class _Loader(yaml.SafeLoader):
    """Safe YAML in which 2e-3 is a number; YAML 1.1 wants a point in it and makes it text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        **yaml.SafeLoader.yaml_implicit_resolvers,
        **{
            first: [*yaml.SafeLoader.yaml_implicit_resolvers.get(first, []), _SHORT_FLOAT]
            for first in "-+0123456789"
        },
    }


def load(path: str | Path, overrides: list[str] | None = None) -> Recipe:
    """Reads and checks a recipe.

    Args:
        path: a YAML file.
        overrides: `dotted.key=value` strings; values are YAML.

    Raises:
        RecipeError: missing file, not YAML, unknown key, wrong type. Names the key.
    """
    return parse({"name": Path(path).stem, **read_mapping(path, overrides)}, str(path))


def read_mapping(path: str | Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """A YAML file as a mapping that `check` has yet to see; raises RecipeError as `load` does."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"recipe {str(path)!r} does not exist", "give a YAML file such as recipes/sketch.yaml"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {str(path)!r} cannot be read: {error}") from error
    try:
        data = yaml.load(_from_environment(text, path), _Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" at line {where.line + 1}" if where else ""
        raise RecipeError(f"recipe {str(path)!r} is not valid YAML{line}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"recipe {str(path)!r} must be a mapping of keys to values")
    for override in overrides or []:
        _apply(data, override)
    return data


def parse(data: dict[str, Any], where: str = "recipe") -> Recipe:
    """Checks a recipe given as a mapping; raises RecipeError naming the first wrong key."""
    return check(Recipe, data, where)


Checked = TypeVar("Checked", bound=BaseModel)


def check(kind: type[Checked], data: dict[str, Any], where: str) -> Checked:
    """Checks a mapping that should be a `kind`; raises RecipeError naming the first wrong key."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        # A misspelt key first: what is missing is then most likely this one.
        first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
        key = ".".join(str(part) for part in first["loc"] if part not in _KINDS)
        if key.endswith(".key"):  # it may be the key itself, which must not be shown
            raise RecipeError(
                f"{where}: {key} is not the NAME of an environment variable",
                "export the key under a name such as OPENAI_API_KEY and give that name",
            ) from None
        if first["type"] == "extra_forbidden":
            known = _known_keys(kind, first["loc"][:-1])
            close = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            raise RecipeError(f"{where}: unknown key {key!r}", hint) from None
        if first["type"] == "missing":
            raise RecipeError(f"{where}: {key} is missing", "add this key") from None
        hidden = key.endswith((".base_url", "store"))
        given = "(not shown)" if hidden else repr(first.get("input"))
        given = given if len(given) <= 60 else given[:57] + "..."
        raise RecipeError(f"{where}: {key} = {given}: {first['msg']}", "correct this key") from None


def keep(recipe: Recipe, folder: Path, *parts: str) -> None:
    """Writes `folder/recipe.yaml`; of one that is there only `parts` (top-level keys) are replaced.

    Each stage keeps its own parts in step, so that the file always says what the folder was made by.
    """
    path = folder / KEPT
    data = recipe.model_dump(mode="json")
    try:
        kept = yaml.load(path.read_text("utf-8"), _Loader)
        data |= {key: kept[key] for key in data if key in kept and key not in parts}
    except (OSError, ValueError, TypeError, yaml.YAMLError):
        pass  # there is none, or it is damaged: this recipe is the best there is
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True).encode()
    if not path.is_file() or path.read_bytes() != text:
        write_atomic(path, text)


def json_schema() -> dict[str, Any]:
    """The JSON schema of a recipe file (draft 2020-12); `recipes/schema.json` is a copy of it."""
    schema = Recipe.model_json_schema()
    # A file may leave its name out; it is then called like the file.
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Recipe of janus4o",
    }


def _known_keys(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    model: Any = kind
    for part in loc:
        if part in _KINDS:
            continue
        annotation = model.model_fields[str(part)].annotation
        options = [annotation]
        for option in options:  # also what is inside unions and annotations
            options += getattr(option, "__args__", ())
        model = next(o for o in options if isinstance(o, type) and issubclass(o, BaseModel))
    return sorted(model.model_fields)


def _from_environment(text: str, path: Path) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise RecipeError(f"recipe {str(path)!r} needs ${{{name}}}", f"export {name}=...")
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", value, text)


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"override {override!r} is not KEY=VALUE", "for example train.steps=200")
    *parents, last = key.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"override {override!r}: {parent!r} is not a mapping")
    try:
        data[last] = yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise RecipeError(f"override {override!r}: the value is not valid YAML") from error
