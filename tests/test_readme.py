"""What README and docs name exists: commands, options, targets, files, links, Python."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path

import pytest

from janus4o.cli import app

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
def help_of(verb: str) -> str:
    out = io.StringIO()
    with redirect_stdout(out):
        assert app.main([verb, "--help"]) == 0
    return out.getvalue()


def test_commands_exist_with_their_options() -> None:
    seen = set()
    for page, words in commands("janus4o"):
        verb, *rest = words
        assert verb in app.VERBS, f"{page}: janus4o {verb}"
        for option in (word for word in rest if re.match(r"--?[a-z]", word)):
            assert re.search(rf"{option}\b", help_of(verb)), f"{page}: janus4o {verb} {option}"
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
    assert named == there | {"recipes/", "benchmarks/", "tests/", "docs/"}


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.name)
def test_both_languages_show_the_same_commands(page: Path) -> None:
    def bare(path: Path) -> list[list[str]]:
        lines = "\n".join(blocks(path, "bash")).splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    assert bare(page) == bare(READMES[0])
    assert blocks(page, "python") == blocks(READMES[0], "python")


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(READMES[0], "python")
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "circle.png").read_bytes().startswith(b"\x89PNG")
