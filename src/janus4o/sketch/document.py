"""Lays out the paper's five document types with real text: slide, paper, document, infographic, poster.

A document prompt is lines of `key: value`, the first of which says the type:

    document: slide
    title: Tides
    line: The moon pulls the sea
    line: Twice a day the water rises
    value: high 4.2
    colour: blue

`line` and `value` may be repeated. The same prompt and size give the same pixels; text is never
dropped silently: what does not fit is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from janus4o.errors import PromptError
from janus4o.sketch.render import COLOUR_RGB
from janus4o.sketch.scene import Colour

MARK = "document:"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


class DocumentType(StrEnum):
    SLIDE = "slide"
    PAPER = "paper"
    DOCUMENT = "document"
    INFOGRAPHIC = "infographic"
    POSTER = "poster"


@dataclass(frozen=True, slots=True)
class Document:
    """What a document says.

    Attributes:
        values: (label, number ≥ 0) pairs; an infographic draws them as bars, others as lines.
        colour: of the title, bars and decoration.
    """

    type: DocumentType
    title: str
    lines: tuple[str, ...] = ()
    values: tuple[tuple[str, float], ...] = ()
    colour: Colour = Colour.BLUE


def is_document(prompt: str) -> bool:
    """Whether a prompt asks for a document rather than a scene."""
    return prompt.lstrip().lower().startswith(MARK)


def parse_document(prompt: str) -> Document:
    """Reads a document prompt; PromptError quotes the first line that makes no sense."""
    found: dict[str, list[str]] = {}
    for line in filter(None, (line.strip() for line in prompt.splitlines())):
        key, colon, value = (part.strip() for part in line.partition(":"))
        if not colon or key not in {"document", "title", "line", "value", "colour"} or not value:
            raise PromptError(
                f"document line {line!r} is not 'key: value'",
                "keys are document, title, line, value and colour",
            )
        found.setdefault(key, []).append(value)
    for key in ("document", "title"):
        if len(found.get(key, [])) != 1:
            raise PromptError(f"a document has one line {key!r}", f"write '{key}: ...' once")
    colours = found.get("colour", [Colour.BLUE.value])
    try:
        kind, colour = DocumentType(found["document"][0]), Colour(colours[-1])
    except ValueError as error:
        known = ", ".join(DocumentType)
        raise PromptError(f"document: {error}", f"types are {known}") from None
    values = tuple(_value(text) for text in found.get("value", []))
    return Document(kind, found["title"][0], tuple(found.get("line", [])), values, colour)


def _value(text: str) -> tuple[str, float]:
    label, _, number = text.rpartition(" ")
    try:
        amount = float(number)
    except ValueError:
        amount = -1.0
    if not label or not 0 <= amount < 1e9:
        raise PromptError(f"value {text!r} is not a label and a number", "e.g. 'value: high 4.2'")
    return label, amount


def draw_document(document: Document, size: tuple[int, int]) -> Image.Image:
    """Lays out a document.

    Args:
        size: (width, height) in pixels, at least 128 each.

    Raises:
        PromptError: the text does not fit the page at a readable size.
    """
    if min(size) < 128:
        raise PromptError(f"a document of {size[0]}×{size[1]} pixels is too small to read")
    # The largest type that fits; below 8 pixels nobody can read it.
    for height in range(max(8, min(size) // 14), 7, -1):
        page = _Page(document, size, height)
        if page.fits:
            return page.image
    raise PromptError("the text does not fit the page", "shorten it or ask for a larger picture")


class _Page:
    """One attempt to lay a document out with body type of a given height."""

    def __init__(self, document: Document, size: tuple[int, int], height: int) -> None:
        self.width, self.height = size
        self.body = height
        self.accent = COLOUR_RGB[document.colour]
        poster = document.type is DocumentType.POSTER
        self.paper = self.accent if poster else (255, 255, 255)
        self.ink = (250, 250, 250) if _luma(self.paper) < 140 else (30, 32, 36)
        # What is written in the accent must stand out from the paper.
        stands_out = abs(_luma(self.paper) - _luma(self.accent)) > 50
        self.strong = self.accent if stands_out else self.ink
        self.image = Image.new("RGB", size, self.paper)
        self.draw = ImageDraw.Draw(self.image)
        self.margin = max(8, self.width // 16)
        self.left, self.right = self.margin, self.width - self.margin
        self.y = self.margin
        self.fits = True
        match document.type:
            case DocumentType.SLIDE:
                self._slide(document)
            case DocumentType.PAPER:
                self._paper(document)
            case DocumentType.DOCUMENT:
                self._document(document)
            case DocumentType.INFOGRAPHIC:
                self._infographic(document)
            case DocumentType.POSTER:
                self._poster(document)

    def _slide(self, document: Document) -> None:
        self._title(document.title, 1.6)
        self.draw.rectangle((self.left, self.y, self.right, self.y + 2), fill=self.strong)
        self.y += self.body
        for line in (*document.lines, *_as_lines(document)):
            top = self.y + self.body // 3
            dot = self.body // 3
            self.draw.ellipse((self.left, top, self.left + dot, top + dot), fill=self.strong)
            self._text(line, indent=self.body)
            self.y += self.body // 2

    def _paper(self, document: Document) -> None:
        self._title(document.title, 1.3, centred=True)
        self.y += self.body // 2
        top, middle, gap = self.y, self.width // 2, self.margin // 2
        lines = [*document.lines, *_as_lines(document)]
        half = (len(lines) + 1) // 2
        columns = ((self.left, middle - gap), (middle + gap, self.right))
        for (left, right), column in zip(columns, (lines[:half], lines[half:]), strict=True):
            self.y, self.left, self.right = top, left, right
            for line in column:
                self._text(line)
                self.y += self.body // 2

    def _document(self, document: Document) -> None:
        self._title(document.title, 1.3)
        for line in (*document.lines, *_as_lines(document)):
            self.y += self.body // 2
            self._text(line)

    def _infographic(self, document: Document) -> None:
        self._title(document.title, 1.4, centred=True)
        for line in document.lines:
            self._text(line, centred=True)
        self.y += self.body // 2
        most = max((amount for _, amount in document.values), default=0.0)
        for label, amount in document.values:
            self._text(f"{label}: {amount:g}")
            length = round((self.right - self.left) * amount / most) if most else 0
            if length:
                bar = (self.left, self.y, self.left + length - 1, self.y + self.body - 1)
                self.draw.rectangle(bar, fill=self.strong)
            self.y += self.body + self.body // 2
        self.fits &= self.y <= self.height - self.margin // 2

    def _poster(self, document: Document) -> None:
        frame = self.margin // 2
        edge = (frame, frame, self.width - 1 - frame, self.height - 1 - frame)
        self.draw.rectangle(edge, outline=self.ink, width=2)
        self.y = self.height // 6
        self._title(document.title, 2.2, centred=True)
        self.y += self.body
        for line in (*document.lines, *_as_lines(document)):
            self._text(line, centred=True)
            self.y += self.body // 2

    def _title(self, text: str, scale: float, centred: bool = False) -> None:
        self._text(text, scale=scale, centred=centred, fill=self.strong)
        self.y += self.body // 3

    def _text(
        self,
        text: str,
        indent: int = 0,
        scale: float = 1.0,
        centred: bool = False,
        fill: tuple[int, int, int] | None = None,
    ) -> None:
        """Writes a paragraph from `self.y` down, broken at spaces."""
        font = _font(round(self.body * scale))
        room = self.right - self.left - indent
        for row in self._broken(text, font, room):
            wide = self.draw.textlength(row, font=font)
            x = self.left + indent + ((room - wide) / 2 if centred else 0)
            self.draw.text((round(x), self.y), row, font=font, fill=fill or self.ink)
            self.y += round(self.body * scale * 1.25)
        self.fits &= self.y <= self.height - self.margin // 2

    def _broken(self, text: str, font: Font, room: int) -> list[str]:
        rows: list[str] = []
        for word in text.split():
            longer = f"{rows[-1]} {word}" if rows else word
            if rows and self.draw.textlength(longer, font=font) <= room:
                rows[-1] = longer
            else:
                rows.append(word)
        self.fits &= all(self.draw.textlength(row, font=font) <= room for row in rows)
        return rows


def _as_lines(document: Document) -> tuple[str, ...]:
    return tuple(f"{label}: {amount:g}" for label, amount in document.values)


def _luma(rgb: tuple[int, int, int]) -> float:
    """How bright a colour looks, 0–255."""
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


@lru_cache(maxsize=64)
def _font(height: int) -> Font:
    return ImageFont.load_default(height)
