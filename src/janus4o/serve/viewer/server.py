"""A data set's pages on this machine. Everything is read, nothing can be changed from here.

    GET /?filters&after=KEY          a page of entries; or before=KEY, or before=-1 for the last
    GET /entries/<key>               everything known of one
    GET /small/<key>/<n>             its n-th picture, sources first, scaled down: pixels alone
    GET /pictures/<key>/<n>          the stored bytes, where they are a picture that decodes
    GET /page.css

No page has a script, and the policy that goes with each lets none run. A picture is decoded here before a
browser gets it, under the media type of its first bytes; what is no PNG, JPEG or WebP is never sent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

from janus4o.errors import BadInput, DataError, ImageError
from janus4o.serve.local import LocalHandler, LocalServer
from janus4o.serve.viewer import pictures
from janus4o.serve.viewer.album import Album
from janus4o.serve.viewer.index import Index, parse
from janus4o.serve.viewer.page import Pages, style

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
PICTURE_POLICY = "default-src 'none'; sandbox"
HTML = "text/html; charset=utf-8"
AT_ONCE = 4
"""Pictures decoded at the same time; one of 32 megapixels takes 200 MB meanwhile."""


class Handler(LocalHandler):
    server: Server

    def do_GET(self) -> None:
        place, _, said = self.path.partition("?")
        pages = self.server.pages
        if not self.is_ours():
            return self.send(
                403, "text/plain", b"ask for this page by the address it was given with"
            )
        parts = place.removeprefix("/").split("/")
        try:
            if place == "/page.css":
                return self.send(200, "text/css; charset=utf-8", style().encode())
            if parts[0] in ("small", "pictures") and len(parts) == 3:
                return self._picture(parts[0], _number(parts[1]), _number(parts[2]))
            query = parse(dict(parse_qsl(said, errors="replace", max_num_fields=20)))
            if place == "/":
                return self._page(200, pages.page(query))
            if parts[0] == "entries" and len(parts) == 2:
                return self._page(200, pages.entry(_number(parts[1]), query))
            self._page(404, pages.trouble("There is no such address."))
        except IndexError:
            self._page(404, pages.trouble("There is no such row in this data set."))
        except (BadInput, ValueError) as error:
            words = error.message if isinstance(error, BadInput) else "This cannot be looked for."
            self._page(400, pages.trouble(words))

    def _page(self, status: int, text: str) -> None:
        body = text.encode("utf-8", "replace")
        more = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
        self.send(status, HTML, body, more)

    def _picture(self, size: str, key: int, number: int) -> None:
        album = self.server.album
        entry = album[key]
        name = entry.pictures[number]
        make: Callable[[bytes], tuple[str, bytes]] = (
            pictures.small if size == "small" else pictures.whole
        )
        try:
            with self.server.decoding:
                kind, body = make(album.read(entry, name))
            status = 200
        except ImageError as error:
            status, (kind, body) = 404, pictures.placeholder(f"no picture: {error.message}")
        except DataError:
            status, (kind, body) = 404, pictures.placeholder("the picture is gone")
        more = {"Content-Security-Policy": PICTURE_POLICY}
        self.send(status, kind, body, {**more, "Cross-Origin-Resource-Policy": "same-origin"})


class Server(LocalServer):
    """Listens at once; `show` gives it what to answer with, before `serve_forever`."""

    album: Album
    pages: Pages

    def __init__(self, host: str, port: int) -> None:
        super().__init__(Handler, host, port)
        self.decoding = threading.BoundedSemaphore(AT_ONCE)

    def show(self, album: Album, path: Path) -> None:
        self.album = album
        self.pages = Pages(album, Index(album), path)


def _number(text: str) -> int:
    """Raises IndexError for what is none, as for one that is not there."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise IndexError(text)
    return int(text)
