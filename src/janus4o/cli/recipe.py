"""`janus4o recipe`: looks at recipes; runs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from janus4o.cli import console

app = typer.Typer(no_args_is_help=True, help="Check a recipe, or print the schema for an editor.")


@app.callback()
def _verbs() -> None:
    """Check a recipe, or print the schema for an editor."""


@app.command("check")
def check(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe (YAML).")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes to the recipe.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Print RECIPE whole, defaults included; where something is wrong, say what, with exit code 3."""
    import yaml

    from janus4o.recipe import load

    whole = load(recipe, overrides).model_dump(mode="json")
    if as_json:
        console.json(whole)
    else:
        console.say(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).rstrip())


@app.command("schema")
def schema() -> None:
    """Print the JSON schema of recipes, for editors that complete and check YAML."""
    from janus4o.recipe import json_schema

    console.json(json_schema())
