"""The open ShareGPT-4o-Image → Janus-4o loop.

import janus4o

model = janus4o.load("sketch-base")
model.generate(["a red circle"])[0].image.save("circle.png")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from janus4o.generate.api import Generation, Janus, load

__all__ = ["Generation", "Janus", "load"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import, so it waits for the first use (PEP 562).
    if name in __all__:
        from janus4o.generate import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
