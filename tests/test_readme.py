"""What README and docs say is true: commands and Python run, targets, files and links exist.

Commands run in a folder of their own where `recipes/sketch.yaml` is the shipped recipe, made very small.
`NOT_RUN` lists what is only read by its program, and why.
"""

from __future__ import annotations

import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest
import yaml

from janus4o.cli import app
from janus4o.errors import BudgetStop
from janus4o.train import pretrain
from janus4o.train.pretrain import base_scenes

ROOT = Path(__file__).parent.parent
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
PAGES = [*READMES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    found: list[str] = []
    inside: str | None = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line[3:] if inside is None else None
            if inside == language:
                found.append("")
        elif inside == language:
            found[-1] += line + "\n"
    return found


def commands(program: str) -> Iterator[tuple[str, list[str]]]:
    """(page, words) of every command line of `program` in a shell block."""
    for page in PAGES:
        for line in "\n".join(blocks(page, "bash")).splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == [program]:
                yield page.name, words[1:]


@cache
def help_of(*verbs: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert app.main([*verbs, "--help"]) == 0
    return out.getvalue()


def test_commands_exist_with_their_options() -> None:
    seen = set()
    for page, words in commands("janus4o"):
        verb, *rest = words
        assert verb in app.VERBS, f"{page}: janus4o {verb}"
        for option in (word for word in rest if re.match(r"--?[a-z]", word)):
            verbs = (verb, rest[0]) if verb in ("eval", "sketch") else (verb,)
            assert re.search(rf"{option}\b", help_of(*verbs)), f"{page}: janus4o {verb} {option}"
        seen.add((page, verb))
    for page in READMES:
        assert {"run", "generate", "edit"} <= {verb for name, verb in seen if name == page.name}


def test_recipes_named_exist() -> None:
    for page in PAGES:
        for recipe in re.findall(r"recipes/[\w.-]+\.yaml", page.read_text(encoding="utf-8")):
            assert (ROOT / recipe).is_file(), f"{page.name}: {recipe}"


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    named = {(page, word) for page, words in commands("make") for word in words if "=" not in word}
    assert {("README.md", "demo"), ("README.md", "test")} <= named
    for page, target in named:
        assert target in targets, f"{page}: make {target}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)", text):
            if not link.startswith("http"):
                assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_the_map_is_the_code(page: Path) -> None:
    text = next(block for block in blocks(page, "") if "src/janus4o/\n" in block)
    named = set(re.findall(r"(?:^| {2,})([a-z0-9_]+(?:\.py|/))(?= )", text, flags=re.MULTILINE))
    package = ROOT / "src" / "janus4o"
    there = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    there |= {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert named == there | {"recipes/", "examples/", "benchmarks/", "tests/", "docs/"}


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_both_languages_show_the_same_commands(page: Path) -> None:
    def bare(path: Path) -> list[list[str]]:
        lines = "\n".join(blocks(path, "bash")).splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    assert bare(page) == bare(READMES[0])
    assert blocks(page, "python") == blocks(READMES[0], "python")


SMALL = {
    "synthesis": {"text_to_image": {"count": 6}, "editing": {"count": 6}},
    "train": {"steps": 2, "batch": 4, "micro_batch": 4, "workers": 1, "precision": "fp32"},
    "evaluate": {
        "prompts_per_task": 1,
        "validation_per_task": 1,
        "guidance": [1.0],
        "semantic_weights": [1.0],
    },
}
NOT_RUN = {
    "make setup": "needs a package index",
    "make demo": "takes minutes; it is `janus4o run`, which does run",
    "make test": "is this very suite",
    "make check": "is run by .ci/run",
    "make format": "changes the sources",
    "make hooks": "changes the checkout, needs a package index",
    "python3 -m venv": "is filled by the next line",
    "pip install": "needs a package index",
    "export OPENAI_API_KEY": "is the reader's own key",
    "janus4o doctor --live": "needs a key; tests/teachers asks a local server",
    "janus4o synth recipes/first_dollar.yaml": "needs a key; tests/teachers asks a local server",
    "hf download": "needs the network",
    "janus4o synth recipe.yaml checks.tries=3": "needs a painter that fails; tests/synth/test_painting.py has one",
    "janus4o export runs/recipe --format pairs": "as above",
    "janus4o check published": "needs a key; tests/synth/test_judging.py asks a local server",
    "janus4o import ShareGPT-4o-Image": "is run by tests/train/test_one_gpu.py, as the next four are",
    "janus4o plan recipes/24gb_lora.yaml": "as above",
    "janus4o encode recipes/24gb_lora.yaml": "as above",
    "janus4o train recipes/24gb_lora.yaml": "as above",
    "janus4o edit photo.png": "as above",
    "python benchmarks/training.py": "takes minutes; tests/test_benchmarks.py runs a small one",
    "python benchmarks/paths.py": "lies in no sandbox; tests/test_benchmarks.py runs it",
    "python benchmarks/generation.py": "takes minutes; tests/test_benchmarks.py runs a small one",
    "janus4o view": "serves until it is stopped; tests/serve/test_viewer.py asks it for its pages",
    "janus4o status runs/first_dollar": "shows what the line before it would have made",
}
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a checkout, with small recipes and what the README makes in it."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "examples", folder / "examples")
    (folder / "recipes").mkdir()
    for path in (ROOT / "recipes").glob("*.yaml"):
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
        (folder / "recipes" / path.name).write_text(yaml.safe_dump(_merge(recipe, SMALL)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_page(ROOT / "README.md")
    return folder


def _merge(recipe: dict[str, object], small: dict[str, object]) -> dict[str, object]:
    merged = dict(recipe)
    for key, value in small.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        merged[key] = _merge(old, value) if both else value
    return merged


def run_page(page: Path) -> None:
    """Runs a page's Python, then its shell commands in their order, in the working directory."""
    for code in blocks(page, "python"):
        exec(compile(code, page.name, "exec"), {"__name__": "__page__"})
    for block in blocks(page, "bash"):
        for line in block.splitlines():
            if shlex.split(line, comments=True):
                run_line(line)


def run_line(line: str) -> None:
    words = shlex.split(line, comments=True)
    stops = words[-2:] == ["||", "true"]  # the page says that it ends with a stop
    words = words[:-2] if stops else words
    if any(" ".join(words).startswith(known) for known in NOT_RUN):
        if words[0] == "make":
            dry = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True)
            assert dry.returncode == 0, line
    elif words[0] == "janus4o":
        code = app.main(words[1:])
        assert code == (BudgetStop.exit_code if stops else 0), f"{line}: exit code {code}"
    else:
        assert words[0] == "python", f"{line}: the test does not know how to run this"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words[1:])
            runpy.run_path(words[1], run_name="__main__")


def test_the_commands_of_the_readme_run(sandbox: Path) -> None:
    assert (sandbox / "circle.png").read_bytes().startswith(b"\x89PNG")
    assert (sandbox / "runs" / "sketch" / "report.html").is_file()
    assert len(list((sandbox / "drawn").glob("*.png"))) == 6
    assert len(list((sandbox / "edited").glob("*.png"))) == 3


@pytest.mark.parametrize("page", DOCS[1:], ids=lambda page: page.name)
def test_the_commands_of_a_page_run(
    page: Path, sandbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sandbox)
    # A base of every seventh scene: the whole world takes half a minute to draw and encode.
    monkeypatch.setattr(pretrain, "base_scenes", lambda: base_scenes()[::7])
    run_page(page)


def test_nothing_is_excused_in_vain() -> None:
    lines = [
        " ".join(shlex.split(line, comments=True))
        for page in DOCS
        for block in blocks(page, "bash")
        for line in block.splitlines()
    ]
    for known in NOT_RUN:
        assert any(line.startswith(known) for line in lines), f"no page has {known!r} any more"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_are_short_and_named_in_both_readmes(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40
    for page in READMES:
        assert f"python examples/{path.name}" in "\n".join(blocks(page, "bash"))
