"""Where commands do work that wants many cores or GPUs."""

from __future__ import annotations

from typing import Annotated

import typer

from janus4o.cluster import Backend

BackendOption = Annotated[
    Backend,
    typer.Option(
        "--backend",
        help="plain: this machine; ray: the Ray cluster at RAY_ADDRESS or of this machine.",
    ),
]
