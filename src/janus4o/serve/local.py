"""A server for pages of this machine: one host, one port, nothing to be led here by another name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from janus4o.errors import Refused

LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}


class LocalHandler(BaseHTTPRequestHandler):
    """Answers with whole bodies whose type is never guessed, and says nothing on the terminal."""

    server: LocalServer
    server_version, sys_version = "janus4o", ""
    timeout = 30

    def is_ours(self) -> bool:
        """Whether the page was asked for by an address of ours, and not by a name led here."""
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        return not self.server.is_local or host in LOOPBACK

    def send(
        self, status: int, kind: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cache-Control", "no-store")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class LocalServer(ThreadingHTTPServer):
    """Listens from the moment it is made; `serve_forever` answers.

    Raises:
        Refused: nothing can listen there.
    """

    daemon_threads = True

    def __init__(self, handler: type[LocalHandler], host: str, port: int) -> None:
        try:
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            said = error.strerror if isinstance(error, OSError) else "no such port"
            raise Refused(
                f"cannot listen on {host}:{port}: {said}", "give another --port"
            ) from error
        self.is_local = host in LOOPBACK

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that turned the page before all had come is no error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    @property
    def address(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_address[1]}/"
