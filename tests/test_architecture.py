"""The layers of the package: who may import whom, and what may be loaded where.

    cli
     └─► serve
          └─► generate · train · evaluate · synth · report
                generate, train ─► model
                all of them     ─► teachers · sketch
                                     └─► core

Packages on one line never import one another. The rules are checked on the source with `ast`, so an
import inside a function counts as well; the rules themselves are tested on small wrong examples.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "janus4o"

CORE = {
    "errors", "exchange", "records", "recipe", "files", "images", "prompt", "rows", "scored", "signals",
    "ledger", "boards", "asked", "intervals", "people", "audited", "cluster",
}  # fmt: skip
WORLDS = {"teachers", "sketch"}
STAGES = {"generate", "train", "evaluate", "synth", "report"}

MAY_IMPORT = {
    **dict.fromkeys(CORE, CORE),
    **dict.fromkeys(WORLDS, CORE),
    "model": CORE | WORLDS,
    "generate": CORE | WORLDS | {"model"},
    "train": CORE | WORLDS | {"model"},
    "evaluate": CORE | WORLDS,
    "synth": CORE | WORLDS,
    "report": CORE | WORLDS,
    "serve": CORE | WORLDS | STAGES | {"model"},
    "cli": CORE | WORLDS | STAGES | {"model", "serve", ""},
    "": CORE | {"model", "generate"},  # janus4o/__init__.py, the Python API
}
"""Part → the other parts it may import. A part always may import itself."""

TORCH = {"torch", "transformers", "safetensors", "tokenizers", "peft", "accelerate", "torchao"}
HTTP = {"httpx", "httpx2", "requests", "aiohttp", "openai", "google", "anthropic", "urllib3"}
WEB = {"fastapi", "uvicorn", "gradio", "starlette"}

TORCH_PARTS = {"model", "generate", "train"}
TORCH_FILES = {
    "janus4o.cli.convert": "the dtype asked for",
    "janus4o.cli.doctor": "which devices there are",
    "janus4o.cli.train": "whether the device asked for is there",
    "janus4o.cli.sketch": "its version, kept beside the base it made",
    "janus4o.evaluate.geneval.mask2former": "the detector",
    "janus4o.evaluate.geneval.clip": "the colour classifier",
    "janus4o.evaluate.geneval.open_words": "the detectors that are told classes in words",
}
"""Files outside `TORCH_PARTS` that may import torch, and what they ask it."""

VAGUE = {"utils", "util", "common", "base", "manager", "helpers", "misc"}


@dataclass(frozen=True)
class Import:
    """`name` is absolute and dotted; `line` is where it stands; `at_top` means it runs at import."""

    name: str
    line: int
    at_top: bool


def imports(module: str, source: str, is_package: bool = False) -> list[Import]:
    """Every import of a file, also those inside functions; TYPE_CHECKING blocks are not `at_top`."""
    found: list[Import] = []

    def visit(node: ast.AST, at_top: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = node.module or ""
            if node.level:
                package = module.split(".")[: None if is_package else -1]
                package = package[: len(package) - (node.level - 1)]
                parent = ".".join([*package, *([node.module] if node.module else [])])
            found.extend(
                Import(f"{parent}.{alias.name}", node.lineno, at_top) for alias in node.names
            )
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            visit(child, at_top and not inside and not typing_only)

    visit(ast.parse(source), True)
    return found


def part(module: str) -> str:
    """ "janus4o.train.loop" → "train"; the package itself → ""."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def violations(module: str, source: str, is_package: bool = False) -> list[str]:
    """What this file may not do, one line each."""
    own = part(module)
    wrong = []
    if own not in MAY_IMPORT:
        return [f"{module}: part {own!r} has no place in the layers"]
    for found in imports(module, source, is_package):
        top, where = found.name.partition(".")[0], f"{module}:{found.line}"
        if top == "janus4o":
            other = part(found.name)
            # `from janus4o import errors` names a part, `from janus4o import load` does not.
            if other in MAY_IMPORT and other not in MAY_IMPORT[own] | {own}:
                wrong.append(f"{where}: {own or 'janus4o'} may not import {other}")
        if top in TORCH and own not in TORCH_PARTS and module not in TORCH_FILES:
            wrong.append(f"{where}: {top} has no place in {own or 'janus4o'}")
        if top in HTTP and own != "teachers":
            wrong.append(f"{where}: {top} belongs in teachers")
        if top in WEB and own != "serve":
            wrong.append(f"{where}: {top} belongs in serve")
    tree = ast.parse(source)
    if module != "janus4o.cli.console":
        wrong += [
            f"{module}:{node.lineno}: only cli/console.py prints"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
    wrong += [
        f"{module}:{node.lineno}: something happens at import"
        for node in tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    return wrong


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(SOURCE.rglob("*.py")):
        pieces = path.relative_to(SOURCE.parent).with_suffix("").parts
        yield ".".join(pieces[:-1] if pieces[-1] == "__init__" else pieces), path


def test_every_file_keeps_to_its_layer() -> None:
    found = list(modules())
    assert len(found) > 20, "the source was not found"
    wrong = [
        line
        for module, path in found
        for line in violations(module, path.read_text("utf-8"), path.name == "__init__.py")
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("janus4o.train.loop", "from janus4o.generate import engine", "may not import generate"),
        ("janus4o.train.loop", "def f():\n    import janus4o.synth.store", "may not import synth"),
        ("janus4o.train.loop", "from ..evaluate import scores", "may not import evaluate"),
        ("janus4o.evaluate.scores", "from janus4o import model", "may not import model"),
        ("janus4o.sketch.scene", "from janus4o.teachers import x", "may not import teachers"),
        ("janus4o.records", "from janus4o.sketch import scene", "may not import sketch"),
        ("janus4o.model.loading", "from janus4o.cli import console", "may not import cli"),
        ("janus4o.synth.runner", "import torch.nn", "torch has no place in synth"),
        ("janus4o.synth.runner", "import httpx", "belongs in teachers"),
        ("janus4o.cli.status", "import fastapi", "belongs in serve"),
        ("janus4o.report.build", "print('x')", "only cli/console.py prints"),
        ("janus4o.report.build", "register(1)", "happens at import"),
        ("janus4o.helpers", "x = 1", "has no place"),
    ],
)
def test_the_rules_see_what_is_wrong(module: str, source: str, expected: str) -> None:
    assert any(expected in line for line in violations(module, source)), violations(module, source)


def test_the_rules_let_through_what_is_right() -> None:
    source = "import torch\nfrom janus4o.model import sequence\nfrom janus4o.sketch import scene\n"
    assert violations("janus4o.train.loop", source + "from . import loss\n") == []


def test_modules_never_import_in_a_circle() -> None:
    names = {module for module, _ in modules()}
    graph: dict[str, set[str]] = {}
    for module, path in modules():
        is_package = path.name == "__init__.py"
        graph[module] = set()
        for found in imports(module, path.read_text("utf-8"), is_package):
            target = found.name if found.name in names else found.name.rpartition(".")[0]
            # A package's file naming its own contents is the way a public name is made.
            if found.at_top and target in names and target != module and not is_package:
                graph[module].add(target)
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "circle: " + " → ".join([*path, module])
        if module not in done:
            for other in sorted(graph[module]):
                walk(other, (*path, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())


def test_names_say_what_is_inside() -> None:
    vague = [module for module, _ in modules() if module.rpartition(".")[2] in VAGUE]
    assert not vague, vague


@pytest.mark.parametrize(
    "code",
    [
        "import janus4o",
        "import sys; from janus4o.cli.app import main; sys.argv = ['janus4o', '--help']; main()",
        # Planning and synthesis of the offline world are core work.
        "import sys; from janus4o.cli.app import main; main(['plan', '--help'])",
    ],
)
def test_no_torch_is_loaded(code: str) -> None:
    probe = f"{code}\nimport sys\nheavy = {sorted(TORCH | WEB | HTTP)!r}\n"
    probe += "sys.exit(','.join(name for name in heavy if name in sys.modules) or 0)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"loaded: {done.stderr[-500:]}"
