"""Where a checkpoint is: a folder here, the shipped base, or a Hugging Face hub id."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from janus4o.errors import CheckpointError
from janus4o.files import lock, sync_file

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
    """The folder of a hub repository in the hub's own cache; what is there already is not fetched.

    Weights as safetensors are preferred; `.bin` files are fetched only where there are no others. A
    download that was cut off, or killed, goes on where it stopped.

    Raises:
        CheckpointError: no network and not in the cache, no such repository, or no permission.
    """
    from huggingface_hub import HfApi, snapshot_download

    choices = ["*.safetensors", "*.bin"]
    failure: Exception | None = None
    try:
        about = HfApi().model_info(hub_id, revision=revision or "main")
        names = [file.rfilename for file in about.siblings or ()]
        choices = choices[:1] if any(name.endswith(".safetensors") for name in names) else ["*.bin"]
    except Exception as error:  # many kinds; with a copy in the cache none of them matters
        failure = error
        names = []
    for name in names:
        if name.endswith(choices[0][1:]):
            _fetch(hub_id, about.sha or revision or "main", name)
    for weights in choices:
        try:
            wanted = ["*.json", weights]
            # Without a network this is the cached folder, if it has all that is wanted.
            return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted))
        except Exception as error:
            failure = failure or error
    raise CheckpointError(
        f"{hub_id!r} is no folder here and the hub does not give it: "
        f"{_line(failure) if failure else 'no reason given'}",
        "check the name and the network, or download it and give the folder",
    ) from failure


def _fetch(hub_id: str, revision: str, name: str) -> None:
    """Puts one large file into the cache, going on from what an earlier process left of it.

    huggingface_hub resumes a connection that breaks, but throws the part away when it gives up or is
    killed. So the part is kept here, under the file's etag, and put where the hub looks for it.

    Raises:
        CheckpointError: it did not arrive, or not intact.
        FolderBusy: another process is fetching from this repository.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(hub_id, name, revision=revision)
    try:
        about = get_hf_file_metadata(url)
    except Exception as error:
        raise _cut_off(hub_id, name, _line(error)) from error
    cache = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model")
    if about.etag is None or (blob := cache / "blobs" / about.etag).exists():
        return
    blob.parent.mkdir(parents=True, exist_ok=True)
    with lock(cache / "partial"):
        part = cache / "partial" / about.etag
        with part.open("r+b" if part.exists() else "w+b") as file:
            done = file.seek(0, os.SEEK_END)
            try:
                http_get(
                    url,
                    file,
                    resume_size=done,
                    headers=build_hf_headers(),
                    expected_size=about.size,
                    displayed_filename=name,
                )
            except Exception as error:
                raise _cut_off(hub_id, name, _line(error)) from error
            sync_file(file)
        if done and len(about.etag) == 64 and _sha256(part) != about.etag:
            part.unlink()
            raise _cut_off(hub_id, name, "it is not intact and was thrown away")
        part.replace(blob)


def _cut_off(hub_id: str, name: str, why: str) -> CheckpointError:
    return CheckpointError(
        f"{name} of {hub_id!r} did not arrive: {why}", "run it again; it goes on where it stopped"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _line(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."
