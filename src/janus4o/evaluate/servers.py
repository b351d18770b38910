"""Whom an evaluation asks: one YAML file a server, in the words a recipe's teachers are named with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, model_validator

from janus4o.ledger.jobs import Manner
from janus4o.recipe import PainterServer, WriterServer, check, read_mapping


class JudgeServer(WriterServer):
    """A language model that sees pictures: DPG-Bench's VQA, ImgEdit-Bench's judge.

    concurrency: calls in flight.
    budget_usd: stop before spending more; None means no limit.
    """

    concurrency: int = Field(4, ge=1, le=1000)
    budget_usd: float | None = Field(None, ge=0)

    @property
    def manner(self) -> Manner:
        return Manner(self.concurrency, self.budget_usd, self.limits)


class ImageServer(PainterServer):
    """An image model under test, or a baseline.

    size: pixels (width, height) asked for.
    """

    size: tuple[int, int] = (1024, 1024)
    concurrency: int = Field(4, ge=1, le=1000)
    budget_usd: float | None = Field(None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _lists_are_sizes(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("size"), list):
            return {**value, "size": tuple(value["size"])}
        return value

    @property
    def manner(self) -> Manner:
        return Manner(self.concurrency, self.budget_usd, self.limits)


ServerKind = TypeVar("ServerKind", JudgeServer, ImageServer)


def read_server(path: Path, kind: type[ServerKind]) -> ServerKind:
    """Reads a server's YAML file; raises RecipeError naming the first wrong key."""
    return check(kind, read_mapping(path), str(path))
