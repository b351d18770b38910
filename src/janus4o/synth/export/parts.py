"""Files of an export: each appears under its name when it is complete, with its size and hash known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import IO, Any, Generic, Protocol, TypeVar

from janus4o import files

Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)


@dataclass(frozen=True, slots=True)
class Part:
    """A finished file of an export."""

    name: str
    size: int
    sha256: str


class Hashed(RawIOBase):
    """A file that is written from its beginning to its end and knows what has gone into it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._file.write(view)
        self._hash.update(view)
        self.size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self.size

    def part(self, name: str) -> Part:
        return Part(name, self.size, self._hash.hexdigest())


class Sink(Protocol, Generic[Item_contra]):
    """Fills one part. `size`: bytes it holds so far, those not written yet included."""

    @property
    def size(self) -> int: ...

    def add(self, item: Item_contra) -> None: ...

    def close(self) -> None:
        """Writes what is left and the end; not called when something went wrong."""

    def abandon(self) -> None:
        """Lets go of everything; the file is thrown away."""


@contextmanager
def writing(out: Path, name: str, made: list[Part]) -> Iterator[Hashed]:
    """One file of an export, which joins `made` when it is in its place."""
    with files.writing(out / name) as file:
        hashed = Hashed(file)
        yield hashed
    made.append(hashed.part(name))


def write_parts(
    out: Path,
    pattern: str,
    limit: int,
    sink_of: Callable[[Hashed], Sink[Item]],
    items: Iterable[Item],
) -> list[Part]:
    """Writes items into as many parts as it takes; a part is closed when it holds `limit` bytes.

    Args:
        pattern: name of a part, with {} for its number.
    """
    made: list[Part] = []
    waiting = iter(items)
    for first in waiting:
        with writing(out, pattern.format(len(made)), made) as file:
            sink = sink_of(file)
            try:
                sink.add(first)
                while sink.size < limit and (item := next(waiting, None)) is not None:
                    sink.add(item)
                sink.close()
            except BaseException:
                sink.abandon()
                raise
    return made
