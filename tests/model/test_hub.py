"""Hub ids against a hub on this machine: what is fetched, resumed, kept, and said when it fails."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SHA = "0123456789abcdef0123456789abcdef01234567"
SMALL_CHUNKS = "from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = 100_000"
WEIGHTS = bytes(range(256)) * 40_000  # 10 MB


class Hub:
    """One repository, `owner/name`, behind the few addresses a download uses.

    Attributes:
        files: what it holds.
        cut: names whose next transfers break off after half of what is left, and how often.
        asked: (method, file, first byte) of every request for a file.
    """

    def __init__(self) -> None:
        self.files = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"x"}
        self.cut: dict[str, int] = {}
        self.asked: list[tuple[str, str, int]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(with_body=False)

            def do_GET(self) -> None:
                self.answer(with_body=True)

            def answer(self, with_body: bool) -> None:
                path = self.path.partition("?")[0]
                if path.startswith("/api/models/owner/name/tree/"):
                    tree = [
                        {"type": "file", "path": name, "size": len(data), "oid": SHA}
                        for name, data in hub.files.items()
                    ]
                    self.send(200, json.dumps(tree).encode(), {})
                elif path.startswith("/api/models/owner/name"):
                    listed = [{"rfilename": name} for name in hub.files]
                    about = {"id": "owner/name", "modelId": "owner/name", "sha": SHA}
                    self.send(200, json.dumps({**about, "siblings": listed}).encode(), {})
                elif path.startswith("/owner/name/resolve/"):
                    self.give(path.rpartition("/")[2], with_body)
                else:
                    self.send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

            def give(self, name: str, with_body: bool) -> None:
                data = hub.files[name]
                first = int(self.headers.get("Range", "bytes=0-")[6:].partition("-")[0])
                hub.asked.append((self.command, name, first))
                headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": SHA}
                if first:
                    headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
                rest = data[first:]
                breaks = with_body and hub.cut.get(name, 0) > 0
                if breaks:
                    hub.cut[name] -= 1
                    half = rest[: len(rest) // 2]
                    self.send(206 if first else 200, half, headers, promised=len(rest))
                    self.close_connection = True
                else:
                    body = rest if with_body else b""
                    self.send(206 if first else 200, body, headers, promised=len(rest))

            def send(
                self, code: int, body: bytes, headers: dict[str, str], promised: int | None = None
            ) -> None:
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) if promised is None else promised))
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def starts(self, name: str) -> list[int]:
        return [first for method, file, first in self.asked if (method, file) == ("GET", name)]


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    thread = threading.Thread(target=made.server.serve_forever, daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def find(where: str, address: str, home: Path, setup: str = "") -> subprocess.CompletedProcess[str]:
    """What a user's process says: the folder found, or the error. Loads no torch."""
    code = f"""
{setup}
from janus4o.errors import CheckpointError
from janus4o.model.hub import find_checkpoint
try:
    print(find_checkpoint({where!r}))
except CheckpointError as problem:
    raise SystemExit(str(problem))
"""
    environment = {**os.environ, "HF_ENDPOINT": address, "HF_HOME": str(home)}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_weights_are_fetched_once_and_safetensors_alone(hub: Hub, tmp_path: Path) -> None:
    done = find("owner/name", hub.address, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert sorted(os.listdir(folder)) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert find("owner/name@main", hub.address, tmp_path).stdout == done.stdout
    assert hub.starts("model.safetensors") == [0]
    hub.server.shutdown()
    hub.server.server_close()
    again = find("owner/name", hub.address, tmp_path)
    assert again.stdout == done.stdout, again.stderr


def test_bin_is_fetched_where_there_is_nothing_else(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    folder = Path(find("owner/name", hub.address, tmp_path).stdout.strip())
    assert sorted(os.listdir(folder)) == ["config.json", "pytorch_model.bin"]


def test_a_connection_that_breaks_is_resumed(hub: Hub, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = 1
    done = find("owner/name", hub.address, tmp_path, SMALL_CHUNKS)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == WEIGHTS
    first, second = hub.starts("model.safetensors")
    assert first == 0 < second


def test_a_killed_download_goes_on_where_it_stopped(hub: Hub, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = 1
    # Killed when it would try again: what it has by then must be enough for the next process.
    dies = "import os, time, signal; time.sleep = lambda _: os.kill(os.getpid(), signal.SIGKILL)"
    assert find("owner/name", hub.address, tmp_path, f"{SMALL_CHUNKS}\n{dies}").returncode == -9
    done = find("owner/name", hub.address, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (Path(done.stdout.strip()) / "model.safetensors").read_bytes() == WEIGHTS
    first, second = hub.starts("model.safetensors")
    assert first == 0 < second


def test_a_part_that_is_not_this_file_is_thrown_away(hub: Hub, tmp_path: Path) -> None:
    etag = hashlib.sha256(WEIGHTS).hexdigest()
    part = tmp_path / "hub" / "models--owner--name" / "partial" / etag
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * 1000)
    refused = find("owner/name", hub.address, tmp_path)
    assert "not intact" in refused.stderr
    assert find("owner/name", hub.address, tmp_path).returncode == 0


@pytest.mark.parametrize("case", ["no such repository", "no network"])
def test_what_the_hub_does_not_give_is_one_line(case: str, hub: Hub, tmp_path: Path) -> None:
    address = hub.address if case == "no such repository" else "http://127.0.0.1:9"
    refused = find("owner/other", address, tmp_path)
    assert refused.returncode == 1
    last = refused.stderr.strip().splitlines()[-1]
    assert last.startswith("'owner/other' is no folder here and the hub does not give it: ")
    assert "check the name and the network" in last
