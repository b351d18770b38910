"""What `generate`, `edit` and `describe` share: the model, warnings about words, files written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus4o.cli import console
from janus4o.errors import BadInput, Refused

if TYPE_CHECKING:
    from janus4o.generate.api import Generation, Janus
    from janus4o.generate.options import GenerateOptions

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="sketch-base, a checkpoint folder, or a hub id.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
DtypeOption = Annotated[str, typer.Option(help="auto, float32, bfloat16, float16.")]
WeightsOption = Annotated[
    str,
    typer.Option(
        help="compiled or packed (the same numbers; faster), int8 or int4 (smaller, others), plain."
    ),
]
SpeculateOption = Annotated[
    int, typer.Option(help="Guess and verify up to so many codes a pass; one picture at a time.")
]
CountOption = Annotated[int, typer.Option("-n", help="Pictures of each.")]
SeedOption = Annotated[int, typer.Option(help="Picture j of each uses seed + j.")]
GuidanceOption = Annotated[
    float | None,
    typer.Option(help="How strongly the words pull; 1 is not at all. Default: the model's own."),
]
TemperatureOption = Annotated[float, typer.Option(help="0 is greedy.")]
TopKOption = Annotated[int | None, typer.Option(help="Draw only from the k likeliest codes.")]
OutOption = Annotated[Path, typer.Option(help="Folder for the pictures.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print what was made as JSON.")]


def load(name: str, device: str, dtype: str, weights: str = "auto") -> Janus:
    """The model; Refused where torch or transformers is not installed."""
    try:
        import janus4o

        return janus4o.load(name, device, dtype, weights)
    except ModuleNotFoundError as problem:
        raise Refused(
            f"a model needs {problem.name}, which is not installed",
            "pip install 'janus4o[model]' (or make setup)",
        ) from None


def warn_about_words(model: Janus, texts: Iterable[str]) -> None:
    """Names special tokens, which are read as plain text, and words the model never learnt."""
    tokenizer = model.model.tokenizer
    texts = list(texts)
    special = sorted({name for text in texts for name in tokenizer.special_tokens(text)})
    if special:
        console.warn(f"special tokens in the text are read as ordinary text: {' '.join(special)}")
    plain = texts
    for name in special:
        plain = [text.replace(name, " ") for text in plain]
    unknown = sorted({word for text in plain for word in tokenizer.unknown_words(text)})
    if unknown:
        shown = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        console.warn(f"{model.name} does not know the words: {shown}")


def write(
    made: Sequence[Generation],
    model: Janus,
    options: GenerateOptions,
    out: Path,
    *,
    as_json: bool,
    weights: str = "auto",
    sources: Sequence[str] = (),
) -> None:
    """Saves pictures, each with how it was made inside, and prints where they are."""
    from janus4o.images import save_png

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"cannot make the folder {str(out)!r}: {error.strerror}", "name another"
        ) from error
    listed = []
    for one in made:
        path = _free(out, f"{_slug(one.prompt)}-{one.seed}")
        metadata = {
            "prompt": one.prompt,
            "seed": str(one.seed),
            "model": model.name,
            "guidance": f"{options.guidance:g}",
            "temperature": f"{options.temperature:g}",
        }
        if weights not in ("auto", "compiled", "packed", "plain"):
            metadata["weights"] = weights  # the others draw what the model does
        if options.top_k is not None:
            metadata["top_k"] = str(options.top_k)
        if sources:
            metadata["semantic_weight"] = f"{options.semantic_weight:g}"
            metadata["sources"] = "\n".join(Path(source).name for source in sources)
        save_png(one.image, path, metadata)
        listed.append({"file": str(path), **metadata, "seed": one.seed})
        if not as_json:
            console.say(str(path))
    if as_json:
        console.json(listed)


def _slug(prompt: str) -> str:
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60]
    # A file's name may have 255 bytes, and a letter of some scripts takes four.
    return words.encode()[:120].decode("utf-8", "ignore").rstrip("-") or "picture"


def _free(folder: Path, stem: str) -> Path:
    """A name not taken yet: an earlier picture is never overwritten."""
    path, count = folder / f"{stem}.png", 1
    while path.exists():
        count += 1
        path = folder / f"{stem}.{count}.png"
    return path
