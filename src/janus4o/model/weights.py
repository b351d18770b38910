"""Weight files, read tensor by tensor: safetensors or PyTorch's own, one file or many; written too.

A network is built without weights and given the tensors as they are read, so that loading takes the
memory of the weights and of one tensor more. The files are read, not mapped: mapped pages count
against the process beside their copies, and a file that changes on disk would change the weights.
Where only some tensors are wanted, a file of PyTorch's is mapped, and they are copied out of it.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections.abc import Container, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from torch import Tensor

from janus4o.errors import CheckpointError

SHARD_BYTES = 5_000_000_000
"""Weights larger than this are written as several files."""

LONGEST_HEADER = 100_000_000

# Whole numbers and 8-bit floats are here to be named in an error, not to be loaded.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

_REMEDY = "the file is truncated or damaged; copy or download it again"


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a checkpoint's weights; safetensors are preferred.

    Raises:
        CheckpointError: there are none, or an index names one that is not there.
    """
    for stem, ending in (("model", "safetensors"), ("pytorch_model", "bin")):
        index, whole = folder / f"{stem}.{ending}.index.json", folder / f"{stem}.{ending}"
        if index.is_file():
            return _indexed(index)
        if whole.is_file():
            return [whole]
    if loose := sorted(folder.glob("*.safetensors")):
        return loose
    raise CheckpointError(
        f"{folder} holds no *.safetensors and no pytorch_model.bin", "copy the whole folder"
    )


def read_tensors(folder: Path, only: Container[str] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Every stored tensor with its name, on the CPU, each with a memory of its own.

    Args:
        only: names of those wanted; the others are passed over without being read.

    Raises:
        CheckpointError: a file is missing, truncated, or holds something that is no tensor.
    """
    for path in weight_files(folder):
        read = _safetensors if path.suffix == ".safetensors" else _pickled
        yield from read(path, only)


def write_tensors(folder: Path, state: Mapping[str, Tensor], shard: int = SHARD_BYTES) -> None:
    """Writes model.safetensors, or its shards with their index where it is larger than `shard`."""
    plan = split_torch_state_dict_into_shards(dict(state), max_shard_size=shard)
    for name, tensors in plan.filename_to_tensors.items():
        save_file(
            {tensor: state[tensor].contiguous() for tensor in tensors},
            folder / name,
            metadata={"format": "pt"},
        )
        (folder / name).chmod(0o644)  # written for its owner alone
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _indexed(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{index} is not a readable index", _REMEDY) from error
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(f"{index} names {name!r}, which is no file beside it", _REMEDY)
        if not (index.parent / name).is_file():
            raise CheckpointError(
                f"{index.parent / name} is missing, one of {len(names)} files of weights",
                "copy or download the whole folder",
            )
    return [index.parent / name for name in names]


def _safetensors(path: Path, only: Container[str] | None) -> Iterator[tuple[str, Tensor]]:
    """Reads a file front to back, each tensor straight into its own memory."""
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LONGEST_HEADER, size - 8):
            raise _damaged(path, f"{size:,} bytes cannot hold its header")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            spans = sorted((*entry["data_offsets"], name) for name, entry in header.items())
            end = max((stop for _, stop, _ in spans), default=0)
            if 8 + length + end != size:
                expected = 8 + length + end
                raise _damaged(path, f"{size:,} bytes where its header says {expected:,}")
            for start, stop, name in spans:
                if only is not None and name not in only:
                    continue
                dtype = _DTYPES.get(header[name]["dtype"])
                if dtype is None:
                    raise CheckpointError(
                        f"{path}: weight {name} is stored as {header[name]['dtype']}",
                        "give the checkpoint in float32, bfloat16 or float16",
                    )
                shape = header[name]["shape"]
                if math.prod(shape) * dtype.itemsize != stop - start:
                    raise _damaged(path, f"weight {name} has {stop - start:,} bytes")
                tensor = torch.empty(shape, dtype=dtype)
                file.seek(8 + length + start)
                _read_into(file, tensor, path)
                yield name, tensor
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, "its header is not readable") from error


def _read_into(file: io.FileIO, tensor: Tensor, path: Path) -> None:
    left = tensor.view(-1).view(torch.uint8).numpy() if tensor.numel() else np.empty(0, np.uint8)
    while len(left):
        count = file.readinto(left.data)
        if not count:
            raise _damaged(path, "it ends early")
        left = left[count:]


def _pickled(path: Path, only: Container[str] | None) -> Iterator[tuple[str, Tensor]]:
    # What was saved before PyTorch 1.6 is no archive and can only be read whole.
    is_mapped = only is not None and zipfile.is_zipfile(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors, or is damaged: {_first_line(error)}",
            "give a checkpoint saved as a plain state dict; nothing in this file was run",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise _damaged(path, _first_line(error)) from error
    if not isinstance(state, dict):
        raise _damaged(path, "it does not hold a state dict")
    seen: set[int] = set()
    for name in list(state):
        tensor = state.pop(name)  # given away one by one, so that converting frees memory
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise _damaged(path, f"{name!r} is no tensor")
        if only is not None and name not in only:
            continue
        storage = tensor.untyped_storage()
        if is_mapped or storage.data_ptr() in seen or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()  # shared with another one, or a piece of a larger one or a file
        seen.add(storage.data_ptr())
        yield name, tensor.contiguous()


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} cannot be read: {why}", _REMEDY)


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [""])[0].strip() or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
