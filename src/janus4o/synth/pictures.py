"""Pictures that are there already: photographs to describe, or to edit.

A folder, Parquet files, WebDataset tars, ALLaVA's layout, or a data set of the hub in one of these
forms. Nothing is unpacked or copied: pictures are found where they lie, read one at a time, and
taken in an order drawn from the recipe's seed, in which adding others changes nothing between two
that were there.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from PIL import Image

from janus4o import recipe
from janus4o.errors import DataError, RecipeError
from janus4o.exchange import Picture
from janus4o.images import MAX_BYTES, MEDIA_TYPES, kind_of, open_image, save_png
from janus4o.rows import archives, parquet
from janus4o.rows.places import Span

SUFFIXES = frozenset(
    [
        ".png",
        ".jpg",
        ".jpeg",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".svg",
        ".psd",
        ".ico",
    ]
)
"""Of files that are pictures. Those of a kind we do not take are refused by name when their turn comes."""
ALLAVA_JSON = "ALLaVA-*.json"
KEPT_INFO = frozenset({"dpi", "jfif", "jfif_version", "jfif_unit", "jfif_density", "gamma", "srgb"})
"""What a picture's header may say besides its pixels without being rewritten."""


class Entry(Protocol):
    """One picture: its name within the source, how many bytes it has (0: not known before)."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self) -> bytes:
        """Its bytes; raises DataError where they are gone."""


class Pictures(Sequence[Entry]):
    """What a source holds, in the order it is taken.

    Attributes:
        left_out: one line for each thing that is no picture though it should be one.
        digest: of all names and sizes; part of the ids of samples that are made from them.
    """

    def __init__(self, entries: Iterable[Entry], left_out: Iterable[str], seed: int) -> None:
        ordered = {entry.name: entry for entry in entries}
        listing = "".join(f"{name} {ordered[name].size}\n" for name in sorted(ordered))
        self.digest = hashlib.sha256(listing.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self.left_out = tuple(left_out)
        self._entries = sorted(ordered.values(), key=lambda entry: _rank(seed, entry.name))

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: Any) -> Any:
        return self._entries[index]


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest()


@cache
def open_pictures(source: recipe.Pictures, seed: int) -> Pictures:
    """Lists a source; pictures are read later.

    Raises:
        RecipeError: nothing is there, it is of another format, or the package that reads it is
            not installed.
    """
    if source.format == "hub":
        return open_pictures(_fetched(source), seed)
    path = Path(source.path)
    if not path.exists():
        raise RecipeError(f"pictures: {source.path!r} does not exist", "check the path")
    left_out: list[str] = []
    found = list(_LISTERS[source.format](path, source, left_out))
    if not found:
        why = f"; {left_out[0]}" if left_out else ""
        raise RecipeError(
            f"pictures: {source.path!r} holds no picture as format {source.format!r}{why}",
            "formats are folder, parquet, webdataset, allava and hub",
        )
    return Pictures(found, left_out, seed)


def load(data: bytes) -> tuple[Picture, Image.Image]:
    """A picture as it may travel, and decoded: sound, upright, and without what its header tells.

    The bytes stay as they are unless the header says more than what is to be seen (where and
    with which camera, comments, a rotation); then the picture is encoded anew, as PNG.

    Raises:
        ImageError: damaged, too large, or of a kind that is not taken.
    """
    image = open_image(data)
    kind = kind_of(data)
    with Image.open(io.BytesIO(data)) as header:
        header.load()
        told = {str(key) for key, value in header.info.items() if value} - KEPT_INFO
    told -= {"transparency", "background", "loop", "duration", "timestamp", "icc_profile"}
    told -= {"progressive", "progression", "adobe", "adobe_transform", "interlace"}
    if told:
        return Picture(save_png(image)), image
    return Picture(data, MEDIA_TYPES[kind]), image


# one picture each


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    path: Path
    size: int

    def read(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                return file.read(MAX_BYTES + 1)
        except OSError as error:
            raise _gone(self.name, error) from error


@dataclass(frozen=True, slots=True)
class _Span:
    """Bytes within a tar."""

    name: str
    span: Span
    size: int

    def read(self) -> bytes:
        try:
            return self.span.read()
        except OSError as error:
            raise _gone(self.name, error) from error


@dataclass(frozen=True, slots=True)
class _Member:
    """A member of a zip."""

    name: str
    archive: Path
    member: str
    size: int

    def read(self) -> bytes:
        try:
            with zipfile.ZipFile(self.archive) as archive, archive.open(self.member) as file:
                return file.read(MAX_BYTES + 1)
        except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise _gone(self.name, error) from error


@dataclass(frozen=True, slots=True)
class _Cell:
    """A cell of a Parquet file: {bytes, path} as `datasets` writes pictures, or bytes alone."""

    name: str
    file: Path
    column: str
    group: int
    row: int
    size: int = 0

    def read(self) -> bytes:
        try:
            with _parquet().ParquetFile(self.file, pre_buffer=False) as file:
                batches = file.iter_batches(
                    batch_size=8, row_groups=[self.group], columns=[self.column]
                )
                batch = next(b for at, b in enumerate(batches) if at == self.row // 8)
                value = batch.column(0)[self.row % 8].as_py()
        except parquet.faults(StopIteration, IndexError) as error:
            raise _gone(self.name, error) from error
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            where = value.get("path") if isinstance(value, dict) else None
            said = f"only names {where!r}" if where else "is empty"
            raise DataError(f"picture {self.name!r} {said}", "use files that hold the pictures")
        return data


def _gone(name: str, error: object) -> DataError:
    return DataError(f"picture {name!r} cannot be read: {error}", "check the source")


# where they are


def _in_folder(path: Path, source: recipe.Pictures, left_out: list[str]) -> Iterator[Entry]:
    if not path.is_dir():
        left_out.append("it is no folder")
        return
    for file in sorted(path.rglob("*")):
        relative = file.relative_to(path)
        hidden = any(part.startswith(".") for part in relative.parts)
        if not hidden and file.suffix.lower() in SUFFIXES and file.is_file():
            yield _File(relative.as_posix(), file, file.stat().st_size)


def _files(path: Path, pattern: str) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob(pattern))


def _in_tars(path: Path, source: recipe.Pictures, left_out: list[str]) -> Iterator[Entry]:
    if any(_files(path, "*.tar.*")) and not any(_files(path, "*.tar")):
        left_out.append("compressed tars cannot be read in place: unpack them to plain .tar")
    for archive in _files(path, "*.tar"):
        where = archive.name if path.is_file() else archive.relative_to(path).as_posix()
        for name, span in archives.index(archive, left_out, where, SUFFIXES):
            yield _Span(f"{where}/{name}", span, span.size or 0)


def _in_parquet(path: Path, source: recipe.Pictures, left_out: list[str]) -> Iterator[Entry]:
    reader = _parquet()
    for file in _files(path, "*.parquet"):
        where = file.name if path.is_file() else file.relative_to(path).as_posix()
        try:
            metadata = reader.read_metadata(file)
            columns = reader.read_schema(file).names
        except parquet.faults() as error:
            left_out.append(f"{where}: no Parquet file: {error}")
            continue
        if source.column not in columns:
            left_out.append(f"{where}: no column {source.column!r}, but {', '.join(columns)}")
            continue
        number = 0
        for group in range(metadata.num_row_groups):
            for row in range(metadata.row_group(group).num_rows):
                yield _Cell(f"{where}/{number}", file, source.column, group, row)
                number += 1


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise RecipeError(
            "pictures: Parquet files need the package pyarrow, which is not installed",
            "pip install 'janus4o[data]'",
        ) from None
    return pyarrow.parquet


def _in_allava(path: Path, source: recipe.Pictures, left_out: list[str]) -> Iterator[Entry]:
    """ALLaVA-4V as its download scripts leave it: arrays that name pictures by their path from the
    folder, pictures unpacked or still in `images.zip` beside the array.
    """
    named: dict[str, Path] = {}
    for file in _files(path, ALLAVA_JSON):
        try:
            rows = json.loads(file.read_bytes())
            # Captions and instructions are two arrays about the same pictures.
            names = [str(row["image"]) for row in rows if "image" in row]
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            left_out.append(f"{file.name}: not an array of rows: {error}")
            continue
        named.update(dict.fromkeys(names, file.parent))
    if not named:
        left_out.append(f"no {ALLAVA_JSON} names a picture")
    root = path.parent if path.is_file() else path
    zips = {folder: _zipped(folder / "images.zip") for folder in set(named.values())}
    for name, folder in named.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            left_out.append(f"picture {name!r} points outside")
            continue
        # The folder given may be the one above, or the part's own.
        places = (root / name, folder.parent / name)
        there = next((place for place in places if place.is_file()), None)
        if there is not None:
            yield _File(name, there, there.stat().st_size)
            continue
        inside = name.removeprefix(f"{folder.name}/")
        if inside in zips[folder]:
            yield _Member(name, folder / "images.zip", inside, zips[folder][inside])
        else:
            left_out.append(f"picture {name!r} is missing")


def _zipped(path: Path) -> dict[str, int]:
    """Member → size of a zip that may not be there."""
    if not path.is_file():
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            return {one.filename: one.file_size for one in archive.infolist()}
    except (OSError, zipfile.BadZipFile):
        return {}


_LISTERS = {
    "folder": _in_folder,
    "parquet": _in_parquet,
    "webdataset": _in_tars,
    "allava": _in_allava,
}


def _fetched(source: recipe.Pictures) -> recipe.Pictures:
    """A hub data set's files in the hub's own cache, as the source they then are."""
    named = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", source.path)
    if not named:
        raise RecipeError(
            f"pictures: {source.path!r} is no data set of the hub", "give owner/name[@revision]"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise RecipeError(
            "pictures: data sets of the hub need the package huggingface_hub",
            "pip install 'janus4o[data]'",
        ) from None
    try:
        folder = snapshot_download(
            named[1], repo_type="dataset", revision=named[2], allow_patterns=[source.files]
        )
    except Exception as error:  # of many kinds, none of which this package can do anything about
        first = str(error).partition("\n")[0]
        raise RecipeError(
            f"pictures: the hub does not give {source.path!r}: {type(error).__name__}: {first}",
            "check the name, the network, and your login (`hf auth login`)",
        ) from error
    suffix = PurePosixPath(source.files).suffix
    formats = {".parquet": "parquet", ".tar": "webdataset"}
    return source.model_copy(update={"path": folder, "format": formats.get(suffix, "folder")})
