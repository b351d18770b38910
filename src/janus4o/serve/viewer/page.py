"""The viewer's pages as text. Every stored word is escaped by the templates; there is no script."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from janus4o.report import templates
from janus4o.serve.viewer.album import Album, Entry
from janus4o.serve.viewer.index import FAILED, PASSED, Index, Query
from janus4o.serve.viewer.pictures import Facts, facts

SHOWN_PROBLEMS = 200


@cache
def style() -> str:
    """The report's style, and what the viewer adds."""
    own = resources.files("janus4o.serve.viewer").joinpath("viewer.css").read_text("utf-8")
    return resources.files("janus4o.report").joinpath("page.css").read_text("utf-8") + own


class Pages:
    """Renders what an album holds.

    Raises (its methods):
        BadInput: the query asks for something that no entry has.
        IndexError: there is no such entry.
    """

    def __init__(self, album: Album, index: Index, path: Path) -> None:
        self._album, self._index = album, index
        environment = templates.environment("janus4o.serve.viewer")
        environment.filters["words"] = lambda name: str(name).replace("_", " ")
        environment.filters["figure"] = lambda value: f"{value:,.4g}"
        names = ("list", "entry", "trouble")
        self._templates = {name: environment.get_template(f"{name}.html.j2") for name in names}
        choices = index.choices
        verdicts = choices["check"]
        edited = sum(row.is_edit for row in album.rows)
        self._about: dict[str, Any] = {
            "name": path.resolve().name or str(path),
            "album": album,
            "choices": choices,
            "drawn": len(album.rows) - edited,
            "edited": edited,
            "passed": verdicts.get(PASSED, 0),
            "failed": verdicts.get(FAILED, 0),
            "checks": {k: n for k, n in verdicts.items() if k not in (PASSED, FAILED)},
            "lost": len(album) - len(album.rows),
            "problems": album.rows.problems[:SHOWN_PROBLEMS],
            "more_problems": max(0, len(album.rows.problems) - SHOWN_PROBLEMS),
        }

    def page(self, query: Query) -> str:
        """One page of what is asked for."""
        found = self._index.page(query)
        entries = [self._album[key] for key in found.keys]
        return self._render("list", query=query, page=found, entries=entries)

    def entry(self, key: int, query: Query) -> str:
        """Everything known of one entry; `query` is where its reader came from."""
        entry = self._album[key]
        provenance = entry.row.provenance if entry.row else None
        return self._render(
            "entry",
            query=query,
            entry=entry,
            files=[self._facts(entry, name) for name in entry.pictures],
            made=provenance,
            attributes=json.dumps(provenance.attributes, ensure_ascii=False, indent=1)
            if provenance
            else "",
        )

    def trouble(self, words: str) -> str:
        """A page that says what is wrong, in one line."""
        return self._render("trouble", words=words)

    def _facts(self, entry: Entry, name: str) -> Facts:
        try:
            return facts(self._album.read(entry, name))
        except Exception as error:
            return Facts(f"cannot be read: {error}", False, ())

    def _render(self, template: str, **more: Any) -> str:
        stale = self._album.is_stale()
        return self._templates[template].render(self._about, stale=stale, **more)
