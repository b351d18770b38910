"""The fault server and recipes that ask it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from janus4o.recipe import Recipe, parse

CANARY = "sk-canary-5a1f0e77c2d94b3f"


@pytest.fixture(scope="session")
def wire() -> ModuleType:
    """The module of the fault server."""
    path = Path(__file__).with_name("fault_server.py")
    spec = importlib.util.spec_from_file_location("fault_server", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fault_server"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve(wire: ModuleType) -> Iterator[Callable[..., Any]]:
    """Starts fault servers; they end with the test."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(wire.FaultServer(**settings).running())


@pytest.fixture
def canary(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key in the environment; must be found nowhere else."""
    monkeypatch.setenv("JANUS4O_TEST_KEY", CANARY)
    return CANARY


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("janus4o.ledger.calling.FIRST_PAUSE", 0.01)


def served(
    url: str,
    t2i: int = 4,
    edits: int = 3,
    *,
    api: str = "openai",
    writer: dict[str, Any] | None = None,
    painter: dict[str, Any] | None = None,
    limits: dict[str, int] | None = None,
    **synthesis: Any,
) -> Recipe:
    """A small recipe whose teachers are a server's."""
    server = {
        "api": api,
        # Google's package adds the version of the API itself.
        "base_url": url if api == "openai" else url.removesuffix("/v1"),
        "key": "JANUS4O_TEST_KEY",
        "seed": True,
        "timeout": 5.0,
        "price": {"input": 2.0, "image_input": 4.0, "output": 10.0, "picture": {"any": 0.01}},
        "limits": limits or {},
    }
    return parse(
        {
            "name": "served",
            "teachers": {
                "writer": {**server, "model": "scribe-1", **(writer or {})},
                "painter": {**server, "model": "brush-1", **(painter or {})},
                "size": [64, 64],
                "max_categories": 2,
            },
            "synthesis": {
                "text_to_image": {"count": t2i},
                "editing": {"count": edits},
                "concurrency": 4,
                **synthesis,
            },
        }
    )


@pytest.fixture
def ask(canary: str) -> Callable[..., Recipe]:
    """Makes recipes whose teachers are a server's; the key is in the environment."""
    return served
