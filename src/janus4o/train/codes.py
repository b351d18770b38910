"""A data set as the model trains on it: codes of every picture, pixels of the sources, the prompts.

    codes/<tokenizer hash>-<fit>/
      00000.codes.npy     int16 [n, T] (uint16 for codebooks over 32,767)
      00000.pixels.npy    uint8 [m, S, S, 3], the pictures that are sources of edits, fitted
      00000.json          their names; written last, so a shard without it does not exist
      rows.jsonl          one row a line: prompt, number of the target picture, numbers of the sources
      unreadable.jsonl    pictures left out, and why
      index.json          what made this folder, counts; written last

Pictures are numbered through all shards. Shards are only ever added.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from janus4o.errors import DataError
from janus4o.files import write_atomic
from janus4o.model.loading import JanusModel
from janus4o.model.preprocess import Fit

INDEX, ROWS, UNREADABLE = "index.json", "rows.jsonl", "unreadable.jsonl"
_REMEDY = "delete this folder and run `janus4o encode` again"


@dataclass(frozen=True, slots=True)
class CodedRow:
    """One row; pictures by number. Without sources it is text-to-image.

    `task` is what was asked for, where the data set says so.
    """

    prompt: str
    target: int
    sources: tuple[int, ...] = ()
    task: str = ""


@dataclass(frozen=True, slots=True)
class Codes:
    """An encoded data set.

    Attributes:
        folder: where it lies.
        tokenizer: hash of the picture tokenizer that made the codes.
        fit: how pictures were made square.
        digest: of the rows it was made from (rows.Rows.digest).
        rows: the usable rows, in the order of the data set.
        codes_PT: codes of picture p, int16 or uint16.
        unreadable: pictures left out; `skipped` rows with them.
        skipped: rows left out.
    """

    folder: Path
    tokenizer: str
    fit: Fit
    digest: str
    rows: tuple[CodedRow, ...]
    codes_PT: NDArray[np.integer[Any]] = field(repr=False)
    unreadable: int
    skipped: int
    _pixels: dict[int, tuple[NDArray[np.uint8], int]] = field(repr=False)

    def picture(self, number: int) -> NDArray[np.uint8]:
        """A source picture as the model sees it, uint8 [S, S, 3]."""
        shard, place = self._pixels[number]
        return np.asarray(shard[place])


@dataclass(frozen=True, slots=True)
class Shard:
    """Some pictures, all encoded at once.

    Attributes:
        names: their names in the data set.
        codes_nT: their codes.
        pictured: which of them have pixels, by place in `names`.
        pixels: those, [m, S, S, 3].
    """

    names: tuple[str, ...]
    codes_nT: NDArray[np.integer[Any]]
    pictured: tuple[int, ...]
    pixels: NDArray[np.uint8]


def tokenizer_hash(model: JanusModel) -> str:
    """16 hex digits that name everything the codes of a picture depend on, save the fit.

    Of the codebook only signs count: rows are made unit vectors whenever a checkpoint is loaded,
    which may change the last bit.
    """
    vq, geometry = model.network.model.vqmodel, model.geometry
    digest = hashlib.sha256(f"{geometry.image_size} {geometry.grid} {geometry.codebook}".encode())
    for part in (vq.encoder, vq.quant_conv):
        for name, tensor in sorted(part.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    codebook = vq.quantize.embedding.weight.detach().float().cpu().numpy()
    digest.update(np.packbits(codebook < 0).tobytes())
    return digest.hexdigest()[:16]


def codes_folder(folder: str | Path, model: JanusModel) -> Path:
    """Where under `folder` (the run's `codes`) the codes for this model lie."""
    return Path(folder) / f"{tokenizer_hash(model)}-{model.fit}"


def open_codes(folder: str | Path) -> Codes:
    """Opens an encoded data set; pixels stay on disk until asked for.

    Raises:
        DataError: there is none, or a file of it is missing or damaged.
    """
    folder = Path(folder)
    index = read_index(folder)
    if index is None:
        raise DataError(f"{str(folder)!r} holds no finished codes", "run `janus4o encode`")
    shards = [read_shard(folder, number) for number in range(index["shards"])]
    pixels: dict[int, tuple[NDArray[np.uint8], int]] = {}
    first = 0
    for shard in shards:
        pixels.update({first + p: (shard.pixels, i) for i, p in enumerate(shard.pictured)})
        first += len(shard.names)
    codes = [shard.codes_nT for shard in shards]
    empty = np.empty((0, index["tokens"]), np.int16)
    try:
        rows = tuple(
            CodedRow(one["prompt"], one["target"], tuple(one["sources"]), one.get("task", ""))
            for one in map(json.loads, (folder / ROWS).read_text("utf-8").splitlines())
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / ROWS} is damaged", _REMEDY) from error
    if len(rows) != index["rows"] or any(
        row.target >= first or any(s not in pixels for s in row.sources) for row in rows
    ):
        raise DataError(f"{folder / ROWS} does not fit its shards", _REMEDY)
    return Codes(
        folder=folder,
        tokenizer=index["tokenizer"],
        fit=index["fit"],
        digest=index["digest"],
        rows=rows,
        codes_PT=np.concatenate(codes) if codes else empty,
        unreadable=index["unreadable"],
        skipped=index["skipped"],
        _pixels=pixels,
    )


def read_index(folder: Path) -> dict[str, Any] | None:
    """What index.json says; None where encoding has not finished."""
    try:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        wanted = {
            "tokenizer": str, "fit": str, "digest": str, "tokens": int,
            "rows": int, "pictures": int, "shards": int, "unreadable": int, "skipped": int,
        }  # fmt: skip
        if index["fit"] in get_args(Fit) and all(
            isinstance(index[key], kind) for key, kind in wanted.items()
        ):
            return dict(index)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{folder / INDEX} is damaged", _REMEDY)


def count_shards(folder: Path) -> int:
    """Complete shards; they are numbered without gaps."""
    number = 0
    while (folder / f"{number:05}.json").is_file():
        number += 1
    return number


def read_shard(folder: Path, number: int) -> Shard:
    """One shard; raises DataError where it is damaged."""
    stem = folder / f"{number:05}"
    try:
        about = json.loads(stem.with_suffix(".json").read_text("utf-8"))
        codes = np.load(f"{stem}.codes.npy", allow_pickle=False)
        pixels = np.load(f"{stem}.pixels.npy", mmap_mode="r", allow_pickle=False)
        shard = Shard(tuple(about["names"]), codes, tuple(about["pictured"]), pixels)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{stem}.* is damaged", _REMEDY) from error
    if len(shard.names) != len(codes) or len(shard.pictured) != len(pixels):
        raise DataError(f"{stem}.* do not belong together", _REMEDY)
    return shard


def write_shard(folder: Path, number: int, shard: Shard) -> None:
    """Writes one shard; it counts once its last file, the .json, is there."""
    stem = folder / f"{number:05}"
    for suffix, array in ((".codes.npy", shard.codes_nT), (".pixels.npy", shard.pixels)):
        data = io.BytesIO()
        np.save(data, array, allow_pickle=False)
        write_atomic(f"{stem}{suffix}", data.getvalue())
    about = {"names": shard.names, "pictured": shard.pictured}
    write_atomic(stem.with_suffix(".json"), json.dumps(about).encode())
