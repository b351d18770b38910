"""A writer and a painter made of hashes: nothing to do with pictures of anything, but exact."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from janus4o.exchange import (
    PaintReply,
    PaintRequest,
    Picture,
    Refusal,
    Usage,
    WriteReply,
    WriteRequest,
)
from janus4o.images import save_png
from janus4o.recipe import Recipe, parse
from janus4o.rows import open_rows

SIZE = 16


def recipe(t2i: int = 6, edits: int = 4, **synthesis: object) -> Recipe:
    concurrency = synthesis.pop("concurrency", 3)
    return parse(
        {
            "name": "fake",
            "store": synthesis.pop("store", None),
            "teachers": {"size": [SIZE, SIZE]},
            "synthesis": {
                "text_to_image": {"count": t2i},
                "editing": {"count": edits},
                "concurrency": concurrency,
                **synthesis,
            },
        }
    )


def digest(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


@dataclass
class Teacher:
    """Both teachers at once, and what they were asked.

    Attributes:
        name: prices are looked up by it; "sketch-fake" is free, others are unknown.
        refuses, breaks: one in so many requests is refused, or answered by an exception.
        few: pictures and texts come in so many kinds, so that duplicates occur.
        jitter: answers take up to so many event-loop turns, in another order than asked.
    """

    name: str = "sketch-fake"
    max_categories: int = 4
    cost_usd: float | None = 0.0
    refuses: int = 5
    breaks: int = 0
    few: int = 2
    jitter: int = 0
    asked: list[str] = field(default_factory=list)

    async def write(self, request: WriteRequest) -> WriteReply | Refusal:
        hashed = await self._hear("write", request.prompt, request.seed, request.pictures)
        label = request.prompt.rpartition("\n")[2]
        if label.startswith("Attributes: "):
            objects = json.loads(label.removeprefix("Attributes: "))["objects"]
            text = " and ".join(f"{o['count']} {o['category']}" for o in objects)
        else:
            text = f"edit {hashed[1] % self.few}"
        return WriteReply(text, "fake-writer-1", Usage(3, 5, 0, self.cost_usd))

    async def paint(self, request: PaintRequest) -> PaintReply | Refusal:
        hashed = await self._hear("paint", request.prompt, request.seed, request.sources)
        if self.refuses and hashed[0] % self.refuses == 0:
            return Refusal("moderation", "not that", "fake-painter-1", Usage(cost_usd=0.0))
        rng = np.random.default_rng([hashed[2] % self.few, *request.prompt.encode()])
        assert request.size is not None
        pixels = rng.integers(0, 256, (request.size[1], request.size[0], 3), np.uint8)
        png = save_png(Image.fromarray(pixels))
        return PaintReply(Picture(png), "fake-painter-1", Usage(7, 11, 1, self.cost_usd))

    async def _hear(self, *request: object) -> bytes:
        hashed = digest(*request)
        self.asked.append(hashed.hex())
        for _ in range(hashed[3] % (self.jitter + 1)):
            await asyncio.sleep(0)
        if self.breaks and hashed[4] % self.breaks == 0:
            raise ConnectionError("reset by peer")
        return hashed


@pytest.fixture
def make_recipe() -> Callable[..., Recipe]:
    return recipe


@pytest.fixture
def teacher() -> type[Teacher]:
    return Teacher


def result(folder: Path) -> tuple[bytes, dict[str, bytes]]:
    """rows.jsonl and every picture its rows name."""
    rows = open_rows(folder)
    assert rows.problems == ()
    names = {name for row in rows for name in (*row.input_image, row.output_image)}
    return (folder / "dataset" / "rows.jsonl").read_bytes(), {n: rows.read(n) for n in names}
