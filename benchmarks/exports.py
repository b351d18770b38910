"""How long a data set of the published size takes to index and export, and the memory it takes.

    python benchmarks/exports.py make        write the stand-in once
    python benchmarks/exports.py index       open it and read a picture of every thousandth row
    python benchmarks/exports.py sharegpt    export it; also parquet, webdataset
    python benchmarks/exports.py back        open each export

The stand-in has the published layout to the row: 45,717 text-to-image rows and 46,539 edits in tars, every
picture another one, but small (--side), and provenance as our own rows have it (--bare leaves it out).
Each measurement is a process of its own; memory is the highest it ever had resident.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

T2I, EDITS = 45_717, 46_539
PARTS = 10
ASKED = (
    "Write one prompt for an image generation model: a single coherent English description. " * 4
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument(
        "what", choices=("make", "index", "sharegpt", "parquet", "webdataset", "back")
    )
    asked.add_argument("--folder", type=Path, default=Path("runs/stand-in"))
    asked.add_argument("--share", type=float, default=1.0, help="of the rows, for a quick look")
    asked.add_argument("--side", type=int, default=24, help="pixels of a picture, each way")
    asked.add_argument("--bare", action="store_true", help="without provenance")
    options = asked.parse_args()
    began = time.perf_counter()
    if options.what == "make":
        make(options.folder / "published", options.share, options.side, options.bare)
        found = {}
    elif options.what == "back":
        found = {
            form: index(options.folder / form) for form in ("sharegpt", "parquet", "webdataset")
        }
    elif options.what == "index":
        found = index(options.folder / "published")
    else:
        from janus4o.synth.export import export

        done = export(
            options.folder / "published", options.folder / options.what, options.what,
            provenance=not options.bare,
        )  # fmt: skip
        found = {"rows": done.rows, "parts": done.parts, "problems": len(done.problems)}
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {"what": options.what, "seconds": round(seconds, 1), "peak_mb": round(peak)} | found
        )
    )


def index(folder: Path) -> dict[str, object]:
    from janus4o.rows import open_rows

    began = time.perf_counter()
    rows = open_rows(folder)
    opened = time.perf_counter() - began
    some = rows[:: max(1, len(rows) // 100)]
    read = [len(rows.read(row.output_image)) for row in some]
    return {
        "rows": len(rows),
        "problems": len(rows.problems),
        "opened_s": round(opened, 1),
        "read_ms": round(1000 * (time.perf_counter() - began - opened) / len(read), 2),
    }


def make(folder: Path, share: float, side: int, bare: bool) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for family, count, prefix in (
        ("text_to_image", T2I, "image/"),
        ("text_and_image_to_image", EDITS, "image/v2v_"),
    ):
        count = int(count * share)
        rows, member = [], 0
        for part in range(PARTS):
            with tarfile.open(folder / f"{family}_part_{part}.tar", "w") as tar:
                for number in range(count * part // PARTS, count * (part + 1) // PARTS):
                    names = []
                    for _ in range(1 + (family != "text_to_image")):
                        names.append(f"{prefix}{member}.png")
                        data = picture(rng, side)
                        info = tarfile.TarInfo(names[-1])
                        info.size = len(data)
                        tar.addfile(info, io.BytesIO(data))
                        member += 1
                    tar.members = []
                    rows.append(row(family, number, names, side, bare))
        (folder / f"{family}.json").write_text(json.dumps(rows))


def picture(rng: np.random.Generator, side: int) -> bytes:
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def row(family: str, number: int, names: list[str], side: int, bare: bool) -> dict[str, object]:
    edit = family != "text_to_image"
    found: dict[str, object] = {"input_prompt": f"{number} " + "a prompt of the usual length, " * 6}
    if edit:
        found |= {"input_image": names[:1], "input_image_resolution": [side, side]}
    found |= {"output_image": names[-1], "output_image_resolution": [side, side]}
    if not bare:
        thing = {"category": f"thing {number % 1000}", "count": 1, "colour": None}
        found["provenance"] = {
            "id": f"{int(edit)}{number:031x}",
            "pipeline": "editing" if edit else "prompt_first",
            "task": "style_medium" if edit else "single_object",
            "attributes": {
                "objects": [thing],
                "background": None,
                "style": "oil paint",
                "layout": None,
            },
            "write_prompt": f"{ASKED}{number}",
            "writer": "gemini-2.5-pro",
            "painter": "gpt-image-1",
            "seed": number,
            "checks": {"decodes": True, "size": True, "not_flat": True, "shows_prompt": True},
            "templates": {"prompt_first": "1/0123456789abcdef"},
        }
    return found


if __name__ == "__main__":
    main()
