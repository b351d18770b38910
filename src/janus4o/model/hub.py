"""Where a checkpoint is: a folder here, the shipped base, or a Hugging Face hub id."""

from __future__ import annotations

import re
from pathlib import Path

from janus4o.errors import CheckpointError

SKETCH_BASE = "sketch-base"
SKETCH_BASE_FOLDER = Path(__file__).parent.parent / "sketch" / "base"


def find_checkpoint(where: str | Path) -> Path:
    """The folder of a checkpoint, downloaded if need be.

    Args:
        where: a folder, "sketch-base", or a hub id, "owner/name" or "owner/name@revision".

    Raises:
        CheckpointError: there is no such folder, or the hub does not give it.
    """
    if where == SKETCH_BASE:
        if not (SKETCH_BASE_FOLDER / "config.json").is_file():
            raise CheckpointError(
                "this installation has no sketch-base", "make it: janus4o sketch pretrain"
            )
        return SKETCH_BASE_FOLDER
    folder = Path(where)
    if folder.is_dir():
        return folder
    named = re.fullmatch(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", str(where))
    if named and not folder.parent.is_dir():
        return download(named[1], named[2])
    raise CheckpointError(
        f"there is no checkpoint folder {str(where)!r}",
        'give a folder with config.json, tokenizer.json and weights, a hub id, or "sketch-base"',
    )


def download(hub_id: str, revision: str | None = None) -> Path:
    """The folder of a hub repository in the local cache; what is there already is not fetched.

    A connection that breaks is resumed where it stopped; what is complete stays for the next try.
    Weights as safetensors are preferred; `.bin` files are fetched only where there are no others.

    Raises:
        CheckpointError: no network and not in the cache, no such repository, or no permission.
    """
    from huggingface_hub import HfApi, snapshot_download

    unreachable: Exception | None = None
    wanted = ["*.json", "*.safetensors", "*.bin"]
    try:
        names = HfApi().list_repo_files(hub_id, revision=revision)
        wanted.remove(
            "*.bin" if any(n.endswith(".safetensors") for n in names) else "*.safetensors"
        )
    except Exception as error:  # many kinds; with a copy in the cache none of them matters
        unreachable = error
    try:
        return Path(
            snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=wanted,
                local_files_only=unreachable is not None,
            )
        )
    except Exception as error:
        raise CheckpointError(
            f"{hub_id!r} is no folder here and the hub does not give it: "
            f"{_line(unreachable or error)}",
            "check the name and the network, or download it and give the folder",
        ) from error


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
