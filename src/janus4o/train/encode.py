"""Turns the pictures of a data set into codes, once.

Each distinct picture is read, fitted and encoded one time, however many rows use it; of sources the
fitted pixels are kept as well, because the understanding tower is trained and must see them. A killed
run goes on after its last whole shard; rows added to the data set cost only their own pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from janus4o.errors import BadInput, DataError, Interrupted
from janus4o.files import write_atomic
from janus4o.images import open_image
from janus4o.model import codebook
from janus4o.model.loading import JanusModel
from janus4o.model.preprocess import fit_image, to_pixel_values
from janus4o.rows import Rows, pictures_of
from janus4o.signals import draining
from janus4o.train.codes import (
    INDEX,
    ROWS,
    UNREADABLE,
    CodedRow,
    Codes,
    Shard,
    codes_folder,
    count_shards,
    open_codes,
    read_index,
    read_shard,
    tokenizer_hash,
    write_shard,
)

Progress = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""

AT_ONCE = 64
SHARD_BYTES = 96_000_000
"""Pixels a shard may hold: what a kill can cost, and the most memory encoding takes."""


def encode_rows(
    rows: Rows,
    model: JanusModel,
    folder: str | Path,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> Codes:
    """Encodes the pictures of `rows` for `model` and returns the encoded data set.

    Args:
        folder: the run's `codes` folder; the codes get a folder of their own in it.
        stop: asked between pictures; True keeps what is encoded and ends with Interrupted, and the
            next call goes on. So does a SIGINT or SIGTERM (where this is the main thread).

    Raises:
        DataError: no row is usable, or earlier shards are damaged.
        Interrupted: stopped; what is encoded is kept.
    """
    folder = codes_folder(folder, model)
    index = read_index(folder)
    if index is not None and index["digest"] == rows.digest:
        if progress:
            progress(index["pictures"], index["pictures"])
        return open_codes(folder)
    folder.mkdir(parents=True, exist_ok=True)

    numbers: dict[str, int] = {}
    pictured: set[str] = set()
    shards, pictures = count_shards(folder), 0

    def note(shard: Shard) -> None:
        nonlocal pictures
        numbers.update({name: pictures + i for i, name in enumerate(shard.names)})
        pictured.update(shard.names[place] for place in shard.pictured)
        pictures += len(shard.names)

    for number in range(shards):
        note(read_shard(folder, number))
    wanted = dict.fromkeys(name for row in rows for name in pictures_of(row))
    sources = {name for row in rows for name in row.input_image}
    todo = [n for n in wanted if n not in numbers or (n in sources and n not in pictured)]
    unreadable: dict[str, str] = {}
    done = len(wanted) - len(todo)

    def show(fresh: int) -> None:
        if progress:
            progress(done + fresh + len(unreadable), len(wanted))

    show(0)
    with _channels_last(model), draining() as interrupted:

        def stopped() -> bool:
            return interrupted() or (stop is not None and stop())

        for shard in _encode(rows, todo, sources, model, unreadable, show, stopped):
            write_shard(folder, shards, shard)
            shards += 1
            note(shard)
            done += len(shard.names)
            show(0)
        if done + len(unreadable) < len(wanted):
            raise Interrupted(
                f"stopped after {done:,} of {len(wanted):,} pictures", "run again to go on"
            )

    usable = [
        CodedRow(
            row.input_prompt,
            numbers[row.output_image],
            tuple(numbers[name] for name in row.input_image),
            row.provenance.task if row.provenance else "",
        )
        for row in rows
        if not any(name in unreadable for name in pictures_of(row))
    ]
    if not usable:
        first = next(iter(unreadable.items()), None)
        why = f": {first[0]!r}: {first[1]}" if first else ""
        raise DataError(f"{str(rows.folder)!r} has no usable row{why}", "see `janus4o status`")
    write_atomic(
        folder / UNREADABLE, _lines({"picture": n, "why": w} for n, w in unreadable.items())
    )
    write_atomic(folder / ROWS, _lines(map(asdict, usable)))
    about = {
        "version": 1,
        "tokenizer": tokenizer_hash(model),
        "fit": model.fit,
        "model": model.name,
        "digest": rows.digest,
        "image_size": model.geometry.image_size,
        "tokens": model.geometry.tokens,
        "codebook": model.geometry.codebook,
        "rows": len(usable),
        "pictures": pictures,
        "shards": shards,
        "unreadable": len(unreadable),
        "skipped": len(rows) - len(usable),
    }
    write_atomic(folder / INDEX, (json.dumps(about, indent=2) + "\n").encode())
    return open_codes(folder)


@contextmanager
def _channels_last(model: JanusModel) -> Iterator[None]:
    """Convolutions run up to half as fast again with this layout of the tokenizer's weights."""
    vq: nn.Module = model.network.model.vqmodel
    vq.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    try:
        yield
    finally:
        vq.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _encode(
    rows: Rows,
    names: Sequence[str],
    sources: set[str],
    model: JanusModel,
    unreadable: dict[str, str],
    show: Callable[[int], None],
    stopped: Callable[[], bool],
) -> Iterator[Shard]:
    """Shards of the pictures called `names`; those that cannot be read go to `unreadable`.

    Args:
        show: told how many pictures of the shard in hand are encoded.
        stopped: asked between pictures; True makes the shard in hand the last one, with what of it
            is encoded.
    """
    side, dtype = model.geometry.image_size, _dtype(model.geometry.codebook)
    limit = max(AT_ONCE, min(4096, SHARD_BYTES // (side * side * 3)))
    seen: dict[str, NDArray[np.int64]] = {}
    ready: list[tuple[str, str, NDArray[np.uint8]]] = []

    def shard() -> Shard:
        fresh = {digest: pixels for _, digest, pixels in ready if digest not in seen}
        for start in range(0, len(fresh), AT_ONCE):
            group = list(fresh)[start : start + AT_ONCE]
            values = to_pixel_values(np.stack([fresh[digest] for digest in group]))
            found = codebook.encode(model.network, values).numpy()
            seen.update(zip(group, found, strict=True))
            show(start + len(group))
            if stopped():
                ready[:] = [one for one in ready if one[1] in seen]
                break
        kept = [place for place, (name, _, _) in enumerate(ready) if name in sources]
        made = Shard(
            names=tuple(name for name, _, _ in ready),
            codes_nT=np.stack([seen[digest] for _, digest, _ in ready]).astype(dtype),
            pictured=tuple(kept),
            pixels=np.stack([ready[place][2] for place in kept])
            if kept
            else np.empty((0, side, side, 3), np.uint8),
        )
        ready.clear()
        return made

    for name, result in _read_ahead(rows, names, model):
        try:
            ready.append((name, *result.result()))
        except BadInput as error:
            unreadable[name] = error.message
        if not stopped() and len(ready) == limit:
            yield shard()
        if stopped():
            break
    if ready:
        yield shard()


def _read_ahead(
    rows: Rows, names: Sequence[str], model: JanusModel
) -> Iterator[tuple[str, Future[tuple[str, NDArray[np.uint8]]]]]:
    """Each picture's digest and fitted pixels, read by a few threads a little ahead of use."""

    def load(name: str) -> tuple[str, NDArray[np.uint8]]:
        data = rows.read(name)
        return hashlib.sha256(data).hexdigest(), fit_image(
            open_image(data), model.geometry, model.fit
        )

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        pending: deque[tuple[str, Future[tuple[str, NDArray[np.uint8]]]]] = deque()
        for name in names:
            pending.append((name, pool.submit(load, name)))
            if len(pending) >= 2 * AT_ONCE:
                yield pending.popleft()
        while pending:
            yield pending.popleft()


def _dtype(codebook_size: int) -> type[np.integer]:
    return (
        np.int16 if codebook_size <= 32_767 else np.uint16 if codebook_size <= 65_535 else np.int32
    )


def _lines(objects: Iterator[dict[str, object]]) -> bytes:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects).encode()
