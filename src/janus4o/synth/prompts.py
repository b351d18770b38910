"""The texts sent to writers: versioned template files, the shipped ones or a folder of one's own.

A file begins with `version: …`, a blank line follows, then the text with its placeholders in
braces. Texts count into every sample id that depends on them: changing one makes other samples.
What was drawn stands on a line of its own as JSON, so that a language model and the offline
writer read the same thing.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from janus4o.errors import RecipeError
from janus4o.synth.attributes import Attributes

FOLDER = Path(__file__).with_name("templates")

PLACEHOLDERS: dict[str, frozenset[str]] = {
    "prompt_first": frozenset({"attributes"}),
    "image_first": frozenset(),
    "document_slide": frozenset({"theme"}),
    "document_paper": frozenset({"theme"}),
    "document_document": frozenset({"theme"}),
    "document_infographic": frozenset({"theme"}),
    "document_poster": frozenset({"theme"}),
    "document_template": frozenset({"theme", "font", "categories"}),
    "editing": frozenset({"task", "meaning"}),
    "editing_descriptive": frozenset({"meaning"}),
    "editing_condition": frozenset({"task", "meaning", "condition"}),
    "editing_two_sources": frozenset({"task", "meaning"}),
    "repair": frozenset({"asked", "answer", "fault", "keys"}),
    "judge": frozenset({"asked"}),
    "judge_edit": frozenset({"asked"}),
    "rewrite": frozenset({"asked"}),
    "rewrite_edit": frozenset({"asked"}),
}
"""Template → the placeholders it must hold, each at least once, and no others."""

TASK_MEANINGS = {
    "inpainting_replacement": "replace one object by another in its place",
    "element_manipulation": "add, remove or move an object",
    "background_modification": "change what is behind the objects",
    "attribute_manipulation": "change an attribute of an object, such as its colour",
    "style_artist": "redraw the picture in the style of an artist or a school",
    "style_medium": "redraw the picture in another medium or technique",
    "style_genre": "move the picture to another genre, theme or era",
    "detail_enhancement": "make the picture sharper and richer in detail",
    "image_extension": "extend the picture beyond its borders",
    "from_line_art": "turn this sketch, line art or edge map into a finished picture",
    "from_condition_map": "make a picture that follows this pose, depth or segmentation map",
    "storyboard": "show what happens next, as a sequence of pictures",
    "concept_variation": "show another variation of the same idea",
    "hybrid": "join this picture with another concept or style",
}
"""Editing task → what it asks for, in words."""

_PLACE = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One text and its version."""

    name: str
    version: str
    text: str

    @property
    def digest(self) -> str:
        return _hash(self.text)

    @property
    def stamp(self) -> str:
        """ "version/hash", for provenance."""
        return f"{self.version}/{self.digest}"

    def fill(self, **words: str) -> str:
        """The text with its placeholders replaced; what is put in is not searched for others."""
        return _PLACE.sub(lambda found: words[found[1]], self.text)


@dataclass(frozen=True, slots=True)
class Prompts:
    """A whole set of templates; `own` says that some come from a user's folder."""

    templates: Mapping[str, Template]
    own: bool = False

    def fill(self, name: str, **words: str) -> str:
        return self.templates[name].fill(**words)

    def prompt_first(self, attributes: Attributes) -> str:
        """The request for a text-to-image prompt."""
        line = json.dumps(attributes.to_json(), ensure_ascii=False)
        return self.fill("prompt_first", attributes=line)

    def editing(self, task: str, template: str = "editing", **words: str) -> str:
        """The request for an editing instruction; the source picture goes with it."""
        return self.fill(template, task=task, meaning=TASK_MEANINGS[task], **words)

    def stamps(self, *names: str) -> dict[str, str]:
        """Template → "version/hash", for provenance."""
        return {name: self.templates[name].stamp for name in names}

    def digest(self, *names: str) -> str:
        """Of some templates and the tasks' meanings: part of the ids of samples that use them."""
        texts = [self.templates[name].text for name in names]
        return _hash(json.dumps([*texts, TASK_MEANINGS], sort_keys=True))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def read(folder: str | None = None) -> Prompts:
    """The shipped set, or a folder's files in place of those of the same name.

    Raises:
        RecipeError: no such folder, a file of an unknown name, without version, or with other
            placeholders than its name asks for.
    """
    shipped = {name: _read(FOLDER / f"{name}.txt", name) for name in PLACEHOLDERS}
    if folder is None:
        return Prompts(shipped)
    path = Path(folder)
    if not path.is_dir():
        raise RecipeError(
            f"synthesis.prompts: there is no folder {folder!r}",
            f"copy the shipped ones from {FOLDER.name}/ and change them",
        )
    own = {file.stem: _read(file, file.stem) for file in sorted(path.glob("*.txt"))}
    if not own:
        raise RecipeError(f"synthesis.prompts: {folder!r} holds no .txt file", _known(PLACEHOLDERS))
    return Prompts({**shipped, **own}, own=True)


def _read(path: Path, name: str) -> Template:
    where = f"synthesis.prompts: {path.name!r}"
    if name not in PLACEHOLDERS:
        close = difflib.get_close_matches(name, PLACEHOLDERS, 1)
        hint = f"did you mean '{close[0]}.txt'?" if close else _known(PLACEHOLDERS)
        raise RecipeError(f"{where} is no template of a known name", hint)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{where} cannot be read: {error}", "save it as UTF-8") from None
    head, _, body = text.partition("\n\n")
    key, _, version = head.partition(":")
    if key != "version" or not version.strip() or "\n" in head or not body.strip():
        raise RecipeError(
            f"{where} does not begin with a version", "first 'version: 1', a blank line, the text"
        )
    found, wanted = set(_PLACE.findall(body)), PLACEHOLDERS[name]
    if found != wanted:
        said = [f"lacks {{{one}}}" for one in sorted(wanted - found)]
        said += [f"has no use for {{{one}}}" for one in sorted(found - wanted)]
        raise RecipeError(
            f"{where} {' and '.join(said)}",
            f"its placeholders are {', '.join(f'{{{one}}}' for one in sorted(wanted)) or 'none'}",
        )
    return Template(name, version.strip(), body.rstrip("\n"))


def _known(names: Iterable[str]) -> str:
    return f"known names: {', '.join(f'{name}.txt' for name in names)}"
