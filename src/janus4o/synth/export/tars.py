"""Tars whose bytes depend on their members alone: times and owners are zero."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

from janus4o.synth.export.parts import Hashed

Member = tuple[str, bytes]
"""Name and content."""


class Tar:
    """Takes groups of members, none of which is spread over two parts."""

    def __init__(self, file: Hashed) -> None:
        self._file = file
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)

    @property
    def size(self) -> int:
        return self._file.size

    def add(self, item: Sequence[Member]) -> None:
        for name, data in item:
            member = tarfile.TarInfo(name)  # mode 0644; time, owner and group are zero and empty
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        self._tar.members = []  # type: ignore[attr-defined]  # it would keep them all

    def close(self) -> None:
        self._tar.close()

    def abandon(self) -> None:
        """Nothing: the file is not the tar's own."""
