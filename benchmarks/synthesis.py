"""How fast synthesis is where teachers cost nothing, and how its memory grows: `python benchmarks/synthesis.py`.

Writer and painter are in the process and answer at once, so what is measured is everything else: drawing
attributes, decoding and checking pictures of 16 kB, blobs, journal, commits, the finished data set. Memory
is this process's resident set: what it had after the first tenth, and the most it had later, the writing of
the data set included.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np

from janus4o.exchange import PaintReply, PaintRequest, Picture, WriteReply, WriteRequest
from janus4o.recipe import parse
from janus4o.synth.runner import Tally, run

SIDE = 72
"""Pixels; as noise, uncompressed, a picture has 15.6 kB."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


class Instant:
    """Both teachers: every text and every picture is another."""

    name = "sketch-instant"
    max_categories = 4

    def __init__(self) -> None:
        rows = np.random.default_rng(0).integers(0, 256, (SIDE, 1 + 3 * SIDE), np.uint8)
        rows[:, 0] = 0  # no filter
        self._pixels = bytearray(rows.tobytes())
        head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
        self._head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)

    async def write(self, request: WriteRequest) -> WriteReply:
        return WriteReply(f"a picture of number {request.seed}", self.name)

    async def paint(self, request: PaintRequest) -> PaintReply:
        self._pixels[1:9] = struct.pack(">Q", request.seed)
        data = self._head + chunk(b"IDAT", zlib.compress(self._pixels, 0)) + chunk(b"IEND", b"")
        return PaintReply(Picture(data), self.name)


def resident() -> float:
    """Megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--samples", type=int, default=100_000)
    asked.add_argument("--folder", type=Path, help="where the run is made; default a temporary one")
    options = asked.parse_args()
    recipe = parse(
        {
            "name": "instant",
            "teachers": {"size": [SIDE, SIDE]},
            "synthesis": {
                "hold_out": False,
                "concurrency": 32,
                "text_to_image": {"count": options.samples},
                "editing": {"count": 0},
            },
        }
    )
    seen: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as place:
        begun = time.perf_counter()

        def progress(tally: Tally) -> None:
            seen.append((tally.done, resident()))

        teacher = Instant()
        outcome = run(recipe, Path(place) / "run", teacher, teacher, progress)
        seconds = time.perf_counter() - begun
        seen.append((outcome.tally.done, resident()))
        rows = (Path(place) / "run" / "dataset" / "rows.jsonl").read_bytes().count(b"\n")
    assert rows == options.samples
    early = max(size for done, size in seen if done <= options.samples // 10)
    late = max(size for _, size in seen)
    print(f"{rows:,} samples in {seconds:.1f} s: {rows / seconds:.0f} samples/s")
    print(f"{early:.0f} MB after a tenth, {late:.0f} MB at most: {late - early:+.0f} MB")


if __name__ == "__main__":
    main()
