"""Turns the pictures of a data set into codes, once.

Each distinct picture is read, fitted and encoded one time, however many rows use it; of sources the
fitted pixels are kept as well, because the understanding tower is trained and must see them. A killed
run goes on after its last whole shard; rows added to the data set cost only their own pictures.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from janus4o.cluster import Backend, RayPool
from janus4o.errors import BadInput, DataError, Interrupted
from janus4o.files import write_atomic
from janus4o.images import open_image
from janus4o.model import codebook
from janus4o.model.device import pick_device
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

if TYPE_CHECKING:
    from transformers import JanusForConditionalGeneration

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
    devices: Sequence[torch.device] = (),
    backend: Backend = Backend.PLAIN,
) -> Codes:
    """Encodes the pictures of `rows` for `model` and returns the encoded data set.

    Args:
        devices: where; each gets a copy of the picture tokenizer and works beside the others. None
            given means where the model is. How many there are changes no code.
        backend: a Ray cluster encodes on its own devices instead.
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
    with (
        _encoders(model, devices or [model.device], backend) as encoders,
        draining() as interrupted,
    ):

        def stopped() -> bool:
            return interrupted() or (stop is not None and stop())

        for shard in _encode(rows, todo, sources, model, encoders, unreadable, show, stopped):
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


Encode = Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.int64]]
"""Codes [n, T] of fitted pictures [S, S, 3]."""


class _Encoders:
    """Copies of a picture tokenizer, one a device, each busy with one group of pictures at a time."""

    def __init__(self, tokenizer: nn.Module, devices: Sequence[torch.device]) -> None:
        self.processes = len(devices)
        self._free: SimpleQueue[Encode] = SimpleQueue()
        for device in devices:
            self._free.put(_encoder(copy.deepcopy(tokenizer), str(device)))
        self._pool = ThreadPoolExecutor(len(devices), thread_name_prefix="encode")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, pixels: Sequence[NDArray[np.uint8]]) -> Future[NDArray[np.int64]]:
        def work() -> NDArray[np.int64]:
            encode = self._free.get()
            try:
                return encode(pixels)
            finally:
                self._free.put(encode)

        return self._pool.submit(work)


def _encoders(
    model: JanusModel, devices: Sequence[torch.device], backend: Backend
) -> _Encoders | RayPool[Sequence[NDArray[np.uint8]], NDArray[np.int64]]:
    tokenizer = model.network.model.vqmodel
    if backend is Backend.RAY:
        return RayPool(_encoder, tokenizer, "auto", heavy=True)
    return _Encoders(tokenizer, devices)


def _encoder(tokenizer: nn.Module, device: str) -> Encode:
    """What encodes on one device; the tokenizer is moved there."""
    # Convolutions run up to half as fast again with this layout of their weights.
    vq = tokenizer.to(pick_device(device)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network = cast(
        "JanusForConditionalGeneration", SimpleNamespace(model=SimpleNamespace(vqmodel=vq))
    )

    def encode(pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.int64]:
        # TensorFloat-32 would round otherwise than the official tokenizer.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return codebook.encode(network, to_pixel_values(np.stack(pixels))).numpy()

    return encode


def _encode(
    rows: Rows,
    names: Sequence[str],
    sources: set[str],
    model: JanusModel,
    encoders: _Encoders | RayPool[Sequence[NDArray[np.uint8]], NDArray[np.int64]],
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
    seen: dict[str, NDArray[np.integer[Any]]] = {}
    ready: list[tuple[str, str, NDArray[np.uint8]]] = []
    fresh: dict[str, NDArray[np.uint8]] = {}  # of the shard in hand, not yet on their way
    out: deque[tuple[tuple[str, ...], Future[NDArray[np.int64]]]] = deque()

    done = 0  # of the shard in hand

    def submit() -> None:
        out.append((tuple(fresh), encoders.submit(list(fresh.values()))))
        fresh.clear()
        # No more than each device's next group, or a stop would come late.
        gather(encoders.processes)

    def gather(most: int) -> None:
        """Takes in what is encoded until no more than `most` groups are on their way."""
        nonlocal done
        while len(out) > most:
            digests, future = out.popleft()
            if stopped() and future.cancel():
                continue  # nobody has begun with these
            seen.update(zip(digests, future.result().astype(dtype), strict=True))
            done += len(digests)
            show(done)

    def shard() -> Shard:
        kept = [place for place, (name, _, _) in enumerate(ready) if name in sources]
        made = Shard(
            names=tuple(name for name, _, _ in ready),
            codes_nT=np.stack([seen[digest] for _, digest, _ in ready]),
            pictured=tuple(kept),
            pixels=np.stack([ready[place][2] for place in kept])
            if kept
            else np.empty((0, side, side, 3), np.uint8),
        )
        ready.clear()
        return made

    asked: set[str] = set()
    ended = False
    reading = _read_ahead(rows, names, model)
    while not ended:
        name, result = next(reading, ("", None))
        if result is not None:
            try:
                digest, pixels = result.result()
            except BadInput as error:
                unreadable[name] = error.message
            else:
                ready.append((name, digest, pixels))
                if digest not in asked:
                    asked.add(digest)
                    fresh[digest] = pixels
        ended = result is None or stopped()
        if len(fresh) == AT_ONCE or (fresh and (ended or len(ready) == limit)):
            submit()
        if ended or len(ready) == limit:
            gather(0)
            done = 0
            ready[:] = [one for one in ready if one[1] in seen]
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
