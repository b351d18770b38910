"""What the offline writer answers about documents: their content, and the prompt of their look.

Both are JSON objects, as a language model would be asked for. The painter reads the look back out
of the template's sentence: the type of document and the accent colour.
"""

from __future__ import annotations

import json
import re

import numpy as np

from janus4o.errors import PromptError
from janus4o.exchange import Declined
from janus4o.sketch.document import Document, DocumentType
from janus4o.sketch.scene import Colour

MERGED_MARK = " and is exactly: "
"""In a painter's prompt that merges a template with its content; what follows are the texts."""
CATEGORIES = {
    "Slide": DocumentType.SLIDE,
    "Paper": DocumentType.PAPER,
    "Document": DocumentType.DOCUMENT,
    "Infographic/Chart": DocumentType.INFOGRAPHIC,
    "Poster": DocumentType.POSTER,
}
LAYOUTS = {
    DocumentType.SLIDE: "a large title above short bullet points",
    DocumentType.PAPER: "a centred title above two columns",
    DocumentType.DOCUMENT: "a title above full-width paragraphs",
    DocumentType.INFOGRAPHIC: "a centred title above horizontal bars",
    DocumentType.POSTER: "centred text within a frame",
}
PLACES = {
    DocumentType.SLIDE: "a title and its bullet points",
    DocumentType.PAPER: "a title, an abstract and sections",
    DocumentType.DOCUMENT: "a title and paragraphs",
    DocumentType.INFOGRAPHIC: "a title and bars",
    DocumentType.POSTER: "a headline and a few lines",
}
SPECIFIC = {
    DocumentType.SLIDE: ("Overview Slide", "Summary Slide"),
    DocumentType.PAPER: ("First Page of a Short Paper", "Conference Paper"),
    DocumentType.DOCUMENT: ("One-page Report", "Information Letter"),
    DocumentType.INFOGRAPHIC: ("Bar Chart", "Comparison Chart"),
    DocumentType.POSTER: ("Event Poster", "Notice Poster"),
}
LINES = (
    "what it is", "how it works", "why it matters", "who takes part", "where it began",
    "what comes next", "what it costs", "when to come", "how to help", "what we found",
)  # fmt: skip
LABELS = ("spring", "summer", "autumn", "winter", "first", "second", "third", "now")
_LOOK = re.compile(rf"\b({'|'.join(DocumentType)}) template with ({'|'.join(Colour)}) accents")
_TEXT = re.compile(r"(title|paragraph|entry) “([^”]*)”")
_ENTRY = re.compile(r"(.+): (\d+(?:\.\d+)?)")


def write_content(category: str, theme: str, rng: np.random.Generator) -> str:
    """Stage 1: a title that is the theme, short lines, and figures for a chart."""
    kind = _type_of(category)
    bars = kind is DocumentType.INFOGRAPHIC
    picked = rng.permutation(len(LINES))[: 1 if bars else int(rng.integers(2, 4))]
    labels = rng.permutation(len(LABELS))[: 3 if bars else 0]
    data = [{"label": LABELS[i], "value": str(int(rng.integers(1, 100)))} for i in labels]
    title = theme[:1].upper() + theme[1:]
    paragraphs = [LINES[i][:1].upper() + LINES[i][1:] for i in picked]
    return json.dumps({"title": title, "paragraphs": paragraphs, "data": data})


def write_template(categories: str, font: str, theme: str, rng: np.random.Generator) -> str:
    """Stage 2: one of the categories, a specific type of it, and a look."""
    names = categories.split(", ")
    name = names[rng.integers(len(names))]
    kind, colours = _type_of(name), tuple(Colour)
    colour = colours[rng.integers(len(colours))].value
    specific = SPECIFIC[kind][rng.integers(len(SPECIFIC[kind]))]
    prompt = (
        f"A clean and clear {kind.value} template with {colour} accents, a layout of "
        f"{LAYOUTS[kind]}, a palette of {colour}, black and white, no texture, and placeholders for "
        f"{PLACES[kind]} in {font}."
    )
    return json.dumps(
        {
            "visual_template_prompt": prompt,
            "theme": theme,
            "document_type": f"{name} - {specific}",
        }
    )


def _type_of(category: str) -> DocumentType:
    if category not in CATEGORIES:
        raise Declined("unsupported_task", f"unknown kind of document {category!r}")
    return CATEGORIES[category]


def read_merged(prompt: str) -> Document:
    """What a merged prompt asks for; PromptError where its look is not of our own words."""
    look, _, listed = prompt.partition(MERGED_MARK)
    found = _LOOK.search(look)
    texts = _TEXT.findall(listed)
    titles = [text for kind, text in texts if kind == "title"]
    if not found or len(titles) != 1:
        raise PromptError(
            "the document prompt has no look this painter knows, or not one title",
            "have its template written by the offline teacher",
        )
    kind = DocumentType(found[1])
    lines = [text for name, text in texts if name == "paragraph"]
    bars: list[tuple[str, float]] = []
    for name, text in texts:
        if name == "entry":
            entry = _ENTRY.fullmatch(text)
            if entry and kind is DocumentType.INFOGRAPHIC:
                bars.append((entry[1], float(entry[2])))
            else:
                lines.append(text)
    return Document(kind, titles[0], tuple(lines), tuple(bars), Colour(found[2]))
