"""`janus4o encode`: a data set's pictures into codes, once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from janus4o.cli import console
from janus4o.cli.backend import BackendOption
from janus4o.cluster import Backend
from janus4o.errors import UsageError

if TYPE_CHECKING:
    from janus4o.recipe import Recipe
    from janus4o.train.codes import Codes


def command(
    recipe: Annotated[Path, typer.Argument(help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes, such as model.fit=letterbox.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Model whose picture tokenizer to use; default model.init.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto (every GPU there is, or the CPU), cpu, cuda or cuda:N.")
    ] = "auto",
    backend: BackendOption = Backend.PLAIN,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Turn the pictures of RECIPE's data set into codes. A second run does nothing."""
    from janus4o.recipe import load

    read = load(recipe, overrides)
    codes = encode(read, init or read.model.init, device, backend)
    if as_json:
        console.json(
            {
                "folder": str(codes.folder),
                "rows": len(codes.rows),
                "unreadable": codes.unreadable,
                "skipped": codes.skipped,
            }
        )
    else:
        console.say(f"{len(codes.rows):,} rows in {codes.folder}")


def encode(
    recipe: Recipe, init: str, device: str = "auto", backend: Backend = Backend.PLAIN
) -> Codes:
    """The stage itself, in the recipe's run folder."""
    from janus4o import files
    from janus4o.model.device import pick_devices
    from janus4o.rows import open_rows
    from janus4o.train.encode import encode_rows
    from janus4o.train.presets import resolve_fit
    from janus4o.train.start import start_tokenizer

    if backend is Backend.RAY and device != "auto":
        raise UsageError(f"--device {device} with --backend ray", "Ray hands out the devices there")
    devices = [] if backend is Backend.RAY else pick_devices(device)
    with files.lock(recipe.folder):
        rows = open_rows(recipe.folder)
        for problem in rows.problems[:3]:
            console.warn(problem)
        model = start_tokenizer(init, resolve_fit(recipe))
        with console.progress(None, "encode", "pictures") as progress:

            def show(done: int, total: int) -> None:
                progress.total = total
                progress.update(done)

            folder = recipe.folder / "codes"
            codes = encode_rows(rows, model, folder, show, devices=devices, backend=backend)
    if codes.unreadable:
        console.warn(
            f"{codes.unreadable} unreadable pictures cost {codes.skipped} rows; "
            f"see {codes.folder / 'unreadable.jsonl'}"
        )
    return codes
