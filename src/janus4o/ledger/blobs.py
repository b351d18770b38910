"""Pictures named by their content, so that equal ones are kept once and none can change."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from janus4o import images
from janus4o.errors import DataError
from janus4o.files import sync_filesystem, sync_folder, write_atomic


class Blobs:
    """`<folder>/<first two letters>/<sha256>.<ext>`, the provider's original bytes.

    `put` then `barrier` then the row that names the picture: in this order a row never names a
    picture that a power cut could take away.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._folders: set[str] = set()
        self._waiting = False
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, data: bytes, *, durable: bool = True) -> str:
        """Stores a picture and returns its name.

        Args:
            durable: on disk when this returns. Otherwise on disk after the next `barrier`, which
                costs one sync for any number of pictures.

        Raises:
            ImageError: not a PNG, JPEG or WebP.
        """
        name = f"{hashlib.sha256(data).hexdigest()}.{images.kind_of(data)}"
        folder = os.path.join(self.folder, name[:2])
        path = os.path.join(folder, name)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
            if durable:
                sync_folder(self.folder)
        # A power cut may have left an empty file under the right name: trust only the bytes.
        if not (os.path.isfile(path) and Path(path).read_bytes() == data):
            write_atomic(path, data, durable=durable)
        elif durable:
            sync_folder(folder)
        self._waiting = self._waiting or not durable
        return name

    def barrier(self) -> None:
        """Makes everything put so far survive a power cut."""
        if self._waiting:
            sync_filesystem(self.folder)
            self._waiting = False

    def has(self, name: str) -> bool:
        return os.path.isfile(self.path(name))

    def path(self, name: str) -> Path:
        return self.folder / name[:2] / name

    def read(self, name: str) -> bytes:
        """Raises DataError where the picture is gone."""
        try:
            return self.path(name).read_bytes()
        except OSError as error:
            raise DataError(
                f"picture {name} of {str(self.folder)!r} cannot be read: {error.strerror}"
            ) from error
