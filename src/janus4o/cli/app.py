"""`janus4o`: the verbs, and how a command ends.

Every verb is one file of this package. It is imported only when it is called, so that
`janus4o --help` stays fast and loads neither torch nor pydantic's models.

Exit codes: 0 done, 1 a defect, 2 usage, 3 bad input, 4 refused or busy, 5 budget, quota or disk stop
(resumable), 6 interrupted (resumable). See `errors.py`.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from types import FrameType
from typing import Annotated, NoReturn

import typer

from janus4o.cli import console
from janus4o.errors import Interrupted, Janus4oError, Refused, UsageError
from janus4o.files import explain


@dataclass(frozen=True, slots=True)
class Verb:
    """One command.

    Attributes:
        help: one line for `janus4o --help`.
        group: the heading it stands under.
        file: module of this package where it is not called like the verb. The module has a
            function `command`, or, for a verb with verbs of its own, a Typer `app`.
    """

    help: str
    group: str
    file: str = ""


MODEL_PACKAGES = {"torch", "transformers", "safetensors", "tokenizers", "huggingface_hub"}
"""What the extra `model` brings."""

DATA, MODEL, WHOLE = "Data", "Model", "All of it"

VERBS = {
    "run": Verb("The whole loop, stage by stage, going on where it stopped.", WHOLE),
    "doctor": Verb("What works here and what is missing.", WHOLE),
    "plan": Verb("What a recipe would ask for, take and cost. Spends nothing.", DATA),
    "recipe": Verb("Check a recipe, or print the schema for an editor.", DATA),
    "synth": Verb("Ask the teachers: prompts, pictures, edits. Goes on where it stopped.", DATA),
    "status": Verb("How far a run is.", DATA),
    "fsck": Verb("Check that everything a run says it has is there and whole.", DATA),
    "replay": Verb("Make a run's data set again from its recorded replies, and compare.", DATA),
    "check": Verb("Check every row of a data set: pictures, edits, duplicates.", DATA),
    "audit": Verb("Which people the prompts are about, and the pictures show.", DATA),
    "view": Verb("Look at a data set in the browser: pairs, filters, checks, refusals.", DATA),
    "export": Verb("Write a run's data set: published layout, Parquet or WebDataset.", DATA),
    "import": Verb("Check a data set of any of these layouts and make it ready.", DATA, "import_"),
    "encode": Verb("Turn a data set's pictures into codes, once.", MODEL),
    "train": Verb("Fine-tune. Goes on where it stopped.", MODEL),
    "generate": Verb("Pictures from prompts.", MODEL),
    "edit": Verb("Change a picture by an instruction.", MODEL),
    "describe": Verb("Ask a question about a picture.", MODEL),
    "eval": Verb("Score a model on held-out prompts and edits.", MODEL),
    "report": Verb("One page about a run: asked, made, learnt, scored.", MODEL),
    "convert": Verb("Write a checkpoint again in transformers' format or DeepSeek's own.", MODEL),
    "sketch": Verb("The offline world: how its base was made.", MODEL),
}


def main(args: Sequence[str] | None = None) -> int:
    """Runs one command line and returns its exit code; never raises for what a user did."""
    signal.signal(signal.SIGTERM, _stop)
    args = list(sys.argv[1:] if args is None else args)
    try:
        return _run(args)
    except Janus4oError as problem:
        if _wants_traceback():
            raise
        return _end(problem)
    except BrokenPipeError:
        # The reader of our output went away (`janus4o plan ... | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as problem:
        if _wants_traceback():
            raise
        if known := explain(problem):
            return _end(known)
        console.error(
            f"unexpected {type(problem).__name__}: {problem}",
            "a defect of janus4o; run again with JANUS4O_TRACEBACK=1 and report what it prints",
        )
        return 1


def _end(problem: Janus4oError) -> int:
    console.error(problem.message, problem.remedy)
    return problem.exit_code


def build(args: Sequence[str]) -> typer.Typer:
    """The command-line parser for `args`: the verb called for is loaded, the others are named."""
    app = typer.Typer(
        name="janus4o",
        help="Distil image generation and editing from a strong teacher into an open model.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    called = next((word for word in args if not word.startswith("-")), None)
    for name, verb in VERBS.items():
        file = f"janus4o.cli.{verb.file or name}"
        module = importlib.import_module(file) if name == called else None
        if isinstance(sub := getattr(module, "app", None), typer.Typer):
            app.add_typer(sub, name=name, help=verb.help, rich_help_panel=verb.group)
            continue
        function = module.command if module else _unloaded
        app.command(name, short_help=verb.help, rich_help_panel=verb.group)(function)
    return app


def _run(args: list[str]) -> int:
    try:
        code = build(args or _words_to_complete())(args, prog_name="janus4o", standalone_mode=False)
    except typer.TyperException as problem:
        message = problem.format_message().rstrip(".")
        if not message:  # called with nothing to do, which printed the help
            return UsageError.exit_code
        context = getattr(problem, "ctx", None)
        where = context.command_path if context else "janus4o"
        raise UsageError(message[:1].lower() + message[1:], f"see {where} --help") from None
    except ModuleNotFoundError as problem:
        package = (problem.name or "").partition(".")[0]
        if package not in MODEL_PACKAGES:
            raise
        raise Refused(
            f"this needs {package}, which is not installed",
            "pip install 'janus4o[model]' (or make setup)",
        ) from None
    except typer.Abort:
        raise Interrupted("stopped", "run the same command again to go on") from None
    if code == 130:  # what Typer makes of a KeyboardInterrupt
        raise Interrupted("stopped", "run the same command again to go on")
    return code if isinstance(code, int) else 0


def _words_to_complete() -> list[str]:
    """The command line a shell asks to complete; its verb must be loaded to know its options."""
    if "_JANUS4O_COMPLETE" not in os.environ:
        return []
    # bash gives the one, the other shells the other.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    return line.split()[1:]


def _version(asked: bool) -> None:
    if asked:
        try:
            console.say(f"janus4o {metadata.version('janus4o')}")
        except metadata.PackageNotFoundError:
            console.say("janus4o from source, not installed")
        raise typer.Exit


def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version and stop.", is_eager=True, callback=_version
        ),
    ] = False,
) -> None:
    """The options before the verb."""


def _unloaded() -> None:
    """Stands for a verb that was not called."""


def _stop(_signal: int, _frame: FrameType | None) -> NoReturn:
    """A polite kill ends the command as Ctrl-C does."""
    raise KeyboardInterrupt


def _wants_traceback() -> bool:
    return os.environ.get("JANUS4O_TRACEBACK", "") not in ("", "0")


if __name__ == "__main__":
    sys.exit(main())
