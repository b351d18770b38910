"""How `janus4o eval` fills a benchmark's folder and puts its pictures before a vision model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from janus4o.cli import console, pictures
from janus4o.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

    from janus4o.evaluate.evidence import Problem
    from janus4o.evaluate.making import Made, Wanted
    from janus4o.evaluate.servers import JudgeServer
    from janus4o.ledger.journal import Spend

BATCH = 16
"""Pictures between two looks at the clock; a run that is stopped loses at most these."""

MakeOption = Annotated[
    Path | None,
    typer.Option(help="Fill this folder with the benchmark's pictures; with --model or --server."),
]
ModelOption = Annotated[
    str | None, typer.Option("--model", "-m", help="With --make: sketch-base, a folder, a hub id.")
]
ServerOption = Annotated[
    Path | None, typer.Option(help="With --make: an image server (YAML; see docs/scoring.md).")
]
GuidanceOption = Annotated[
    float | None, typer.Option(help="With --make and --model; default the model's own.")
]
SeedOption = Annotated[int, typer.Option(help="With --make: picture j of a prompt uses seed + j.")]
CountOption = Annotated[int, typer.Option("-n", help="With --make: pictures a prompt.")]
AskOption = Annotated[
    Path | None,
    typer.Option(help="With --images: a vision model to ask (YAML; see docs/scoring.md)."),
]
LedgerOption = Annotated[
    Path | None,
    typer.Option(help="Folder where answers are kept as they come; default beside the output."),
]


def fill(
    wanted: Sequence[Wanted],
    folder: Path,
    who: tuple[str | None, Path | None],
    how: dict[str, Any],
    ledger: Path | None = None,
    problems: Sequence[Problem] = (),
) -> None:
    """Makes the pictures that are missing in `folder`, with a model of ours or at a server.

    Args:
        who: (model, a server's YAML file), exactly one of them.
        how: seed, n and what else a score file should say; "guidance" and "semantic_weight" may be
            None, which is the model's own.
    """
    from janus4o.cli.benchmarks import report
    from janus4o.evaluate.evidence import write_object
    from janus4o.evaluate.score_file import made_path
    from janus4o.files import lock

    model, server = who
    if (model is None) == (server is None):
        raise UsageError("--make needs --model or --server, one of them", "see --help")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock(folder.with_name(f"{folder.name}.asked")):
        with console.progress(len(wanted), "make", "pictures") as progress:
            if model is not None:
                made, facts = _with_model(model, wanted, how, progress.update)
            else:
                assert server is not None
                where = ledger or folder.with_name(f"{folder.name}.asked")
                made, facts = _at_server(server, wanted, where, progress.update)
        write_object(made_path(folder), {**how, **facts, "pictures": made.there})
    report([*problems, *made.problems])
    console.say(f"{made.there} of {len(wanted)} pictures in {folder}{_spent(made.spend)}")


def _with_model(
    name: str, wanted: Sequence[Wanted], how: dict[str, Any], update: Any
) -> tuple[Made, dict[str, Any]]:
    from janus4o.cli.eval import digest_of
    from janus4o.evaluate.making import make

    janus = pictures.load(name, "auto", "auto")
    from janus4o.generate.options import GenerateOptions

    edits = any(one.source is not None for one in wanted)
    weight = janus.semantic_weight_or(how.get("semantic_weight"))
    options = GenerateOptions(
        guidance=janus.guidance_or(how.get("guidance")), semantic_weight=weight
    )

    def draw(batch: Sequence[Wanted]) -> list[Image.Image]:
        seeds = [one.seed for one in batch]
        if edits:
            asked = [([one.source], one.prompt) for one in batch if one.source is not None]
            return [one.image for one in janus.edit_with(asked, options, seeds=seeds)]
        prompts = [one.prompt for one in batch]
        return [one.image for one in janus.generate_with(prompts, options, seeds=seeds)]

    digest = digest_of(name)
    facts = {"model": name, "digest": digest, "guidance": options.guidance}
    facts |= {"temperature": options.temperature, "top_k": options.top_k}
    setting = f"s={options.guidance:g}"
    if edits:
        facts["semantic_weight"] = weight
        setting += f" s2={weight:g}"
    return make(wanted, f"{name} {digest[:16]} {setting}", draw, BATCH, update), facts


def _at_server(
    file: Path, wanted: Sequence[Wanted], ledger: Path, update: Any
) -> tuple[Made, dict[str, Any]]:
    from janus4o.evaluate.making import make_at_server
    from janus4o.evaluate.servers import ImageServer, read_server

    server = read_server(file, ImageServer)
    from janus4o.teachers.openai import OpenAIPainter

    painter = OpenAIPainter(server)
    if reason := painter.refuses(server.size):
        raise UsageError(f"{painter.name!r} does not paint {server.size}", reason)
    made = make_at_server(wanted, painter, server.size, ledger, server.manner, update)
    facts = {"model": server.model, "size": list(server.size), "quality": server.quality}
    return made, {**facts, "seed_sent": server.seed}


def hire(file: Path) -> tuple[JudgeServer, Any]:
    """The vision model of a YAML file; Refused where its key is not there."""
    from janus4o.evaluate.servers import JudgeServer, read_server

    server = read_server(file, JudgeServer)
    from janus4o.teachers.openai import OpenAIWriter

    return server, OpenAIWriter(server)


def asked_facts(server: JudgeServer, models: str, spend: Spend) -> dict[str, Any]:
    """What a score file says of who answered."""
    return {
        "asked_for": server.model,
        "served": models,
        "max_output_tokens": server.max_output_tokens,
        "effort": server.effort,
        "calls": spend.calls,
        "cost_usd": round(spend.cost_usd, 6),
        "unpriced": spend.unpriced,
        "maybe_billed": spend.uncertain,
    }


def say_spend(spend: Spend) -> None:
    """One line about the money, where there is any to speak of."""
    if spend.calls:
        console.note(f"{spend.calls:,} calls so far{_spent(spend)}")


def _spent(spend: Spend | None) -> str:
    if spend is None:
        return ""
    unknown = f", {spend.unpriced:,} of unknown price" if spend.unpriced else ""
    maybe = f", {spend.uncertain:,} perhaps billed without an answer" if spend.uncertain else ""
    return f" (${spend.cost_usd:.2f}{unknown}{maybe})"
