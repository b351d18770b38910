"""What documents are about and look like, and what writers answer about them.

The paper's five types in two stages: content that could stand on such a page, and the prompt of a
visual template that has room for it. `merge` says how the two become what the painter is asked.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from janus4o.errors import RecipeError
from janus4o.synth.forms import Form, Malformed, closed, line, sentence, strings

VOCABULARY = Path(__file__).with_name("documents.yaml")

CATEGORIES = {
    "slide": "Slide",
    "paper": "Paper",
    "document": "Document",
    "infographic": "Infographic/Chart",
    "poster": "Poster",
}
"""Type → the core category as the paper writes it."""
MAX_LINE, MAX_PARAGRAPH = 200, 1200
"""Characters of a title, theme, label or value, and of a paragraph."""
DESCRIBED = {
    "layout": r"\blay(?:out|outs|ed out)\b",
    "palette": r"\bpalettes?\b",
    "texture": r"\b(?:un)?textur(?:e|es|ed|eless)\b",
    "placeholders": r"\bplaceholders?\b",
}
"""What a template prompt must describe → how it is told that it does."""
READABLE = re.compile(
    r"[\"“”«»„]|(?<!\w)['‘][^'’]{2,}['’](?!\w)"
    r"|\b(?:that|which) reads?\b|\breading\b|\bsaying\b|\btitled\b|\bentitled\b|\blabell?ed\b"
    r"|\bwith the (?:words?|text|title|heading|caption)\b",
    re.IGNORECASE,
)
"""Words that are to be read on the page, which a template must not hold."""
OLD_PAPER = re.compile(
    r"\b(?:parchment|vellum|papyrus|(?:old|aged|antique|yellowed|weathered)[ -]paper)\b",
    re.IGNORECASE,
)
HISTORICAL = re.compile(
    r"\b(?:histor\w*|medieval|ancient|antiqu\w*|old|archiv\w*|heritage|chronicle|expedition|vintage"
    r"|castle|renaissance|century)\b",
    re.IGNORECASE,
)
"""Themes and types that parchment may be right for."""


@dataclass(frozen=True, slots=True)
class DocumentWords:
    """What pages may be about, and the fonts they may be set in."""

    themes: tuple[str, ...]
    fonts: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True)
class Content:
    """Stage 1: what stands on the page; `data` are (label, value) pairs."""

    title: str
    paragraphs: tuple[str, ...]
    data: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        pairs = [{"label": label, "value": value} for label, value in self.data]
        return {"title": self.title, "paragraphs": list(self.paragraphs), "data": pairs}


@dataclass(frozen=True, slots=True)
class Template:
    """Stage 2: the look; `type` is a key of `CATEGORIES`, `specific` what kind of it."""

    prompt: str
    theme: str
    type: str
    specific: str

    @property
    def document_type(self) -> str:
        """ "Category - Specific type"."""
        return f"{CATEGORIES[self.type]} - {self.specific}"

    def to_json(self) -> dict[str, str]:
        return {
            "visual_template_prompt": self.prompt,
            "theme": self.theme,
            "document_type": self.document_type,
        }


def merge(template: Template, content: Content, font: str) -> str:
    """What the painter is asked: the template's sentence, then every text of the content, in order.

    Double quotation marks within the content become single ones, so that each text ends where its
    own mark does.
    """
    texts = [("title", content.title), *(("paragraph", text) for text in content.paragraphs)]
    texts += [("entry", f"{label}: {value}") for label, value in content.data]
    listed = "; ".join(f"{kind} “{_single(text)}”" for kind, text in texts)
    return f"{template.prompt.rstrip('.!')}. All text is set in {font} and is exactly: {listed}."


def _single(text: str) -> str:
    return re.sub(r"[“„«]", "‘", re.sub(r"[”»]", "’", text)).replace('"', "'")


# forms


def content_form(kind: str) -> Form[Content]:
    """What stage 1 answers for a type."""
    pair = strings("label", "value")
    schema = closed(
        {
            "title": {"type": "string"},
            "paragraphs": {"type": "array", "items": {"type": "string"}},
            "data": {"type": "array", "items": pair},
        }
    )
    keys = 'the keys "title", "paragraphs" and "data"'
    return Form(schema, keys, lambda found: _content(found, kind))


def _content(found: dict[str, Any], kind: str) -> Content:
    title = line(found["title"], "title", MAX_LINE)
    paragraphs, data = found["paragraphs"], found["data"]
    if not isinstance(paragraphs, list) or not 1 <= len(paragraphs) <= 8:
        raise Malformed("there are not one to eight paragraphs")
    if not isinstance(data, list) or len(data) > 8:
        raise Malformed("there are more than eight data")
    if kind == "infographic" and len(data) < 2:
        raise Malformed("an infographic needs at least two data")
    pairs = []
    for one in data:
        if not isinstance(one, dict) or one.keys() != {"label", "value"}:
            raise Malformed('data are not objects with the keys "label" and "value"')
        pairs.append((line(one["label"], "label", MAX_LINE), line(one["value"], "value", MAX_LINE)))
        if kind == "infographic" and not re.search(r"\d", pairs[-1][1]):
            raise Malformed(f"the value of {pairs[-1][0]!r} is no number")
    texts = tuple(line(text, "paragraph", MAX_PARAGRAPH) for text in paragraphs)
    for text in (title, *texts):
        if re.search(r"lorem ipsum|\[[^\]]{2,40}\]", text, re.IGNORECASE):
            raise Malformed(f"{text[:60]!r} holds filler to be replaced later")
    return Content(title, texts, tuple(pairs))


def template_form(theme: str, kinds: tuple[str, ...]) -> Form[Template]:
    """What stage 2 answers for a theme, choosing one of some types."""
    names = ("visual_template_prompt", "theme", "document_type")
    keys = 'the keys "visual_template_prompt", "theme" and "document_type"'
    return Form(strings(*names), keys, lambda found: _template(found, theme, kinds))


def _template(found: dict[str, Any], theme: str, kinds: tuple[str, ...]) -> Template:
    said = line(found["theme"], "theme", MAX_LINE)
    if said.casefold() != theme.casefold():
        raise Malformed(f"the theme is not the one given, {theme!r}")
    document_type = line(found["document_type"], "document type", MAX_LINE)
    category, dash, specific = (part.strip() for part in document_type.partition(" - "))
    named = {CATEGORIES[kind].casefold(): kind for kind in kinds}
    if not dash or not specific or category.casefold() not in named:
        known = ", ".join(CATEGORIES[kind] for kind in kinds)
        raise Malformed(f'the document type is not "Category - Specific type" with one of {known}')
    prompt = sentence(found["visual_template_prompt"], "visual template prompt", 2000)
    lacking = [what for what, words in DESCRIBED.items() if not re.search(words, prompt, re.I)]
    if lacking:
        raise Malformed(f"the visual template prompt does not speak of {', '.join(lacking)}")
    if text := READABLE.search(prompt):
        raise Malformed(f"the visual template prompt holds text to be read, at {text[0]!r}")
    old = OLD_PAPER.search(prompt)
    if old and not HISTORICAL.search(f"{theme} {specific}"):
        raise Malformed(f"{old[0]} does not suit a theme and type that are not historical")
    return Template(prompt, theme, named[category.casefold()], specific)


# vocabulary


@cache
def read(path: str | None = None) -> DocumentWords:
    """Themes and fonts, the shipped ones if None.

    Raises:
        RecipeError: the file is not there, not YAML, or lacks one of the two.
    """
    where = f"synthesis.document.vocabulary: {path or VOCABULARY.name!r}"
    try:
        data = yaml.safe_load((Path(path) if path else VOCABULARY).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).partition("\n")[0]
        raise RecipeError(f"{where} cannot be read: {first}", "copy documents.yaml") from None
    if not isinstance(data, dict) or data.keys() != {"themes", "fonts"}:
        raise RecipeError(f"{where} has not the keys wanted", "they are themes and fonts")
    groups = data["themes"]
    lists = [*groups.values(), data["fonts"]] if isinstance(groups, dict) else [None]
    for words in lists:
        if not words or not isinstance(words, list) or not all(isinstance(w, str) for w in words):
            raise RecipeError(f"{where} holds something that is no list of words", "quote them")
    themes = tuple(theme for words in groups.values() for theme in words)
    digest = hashlib.sha256(repr(data).encode()).hexdigest()[:16]
    return DocumentWords(themes, tuple(data["fonts"]), digest)
