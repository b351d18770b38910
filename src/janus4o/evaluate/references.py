"""Published scores, from `references.yaml`: whose, on which scale, read where, with what doubt."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from janus4o.errors import DataError
from janus4o.evaluate.evidence import read_text

REFERENCES = Path(__file__).with_name("references.yaml")


class Scale(BaseModel):
    """Rows that may stand in one table; see the head of `references.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    title: str
    range: tuple[float, float]
    parts: tuple[str, ...]
    caveat: str = Field(min_length=1)


class Reference(BaseModel):
    """One published row. `parts` are the benchmark's own columns, as far as they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scale: str
    system: str = Field(min_length=1)
    score: float
    parts: dict[str, float] = {}
    source: str = Field(min_length=1)
    date: str = Field(pattern=r"^20\d\d-(0[1-9]|1[0-2])$")
    read: Literal["primary", "quoted"]
    caveat: str = ""


class References(BaseModel):
    """All scales and rows; a row lies within its scale and stands there once a source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scales: dict[str, Scale]
    rows: tuple[Reference, ...]

    @model_validator(mode="after")
    def _check(self) -> References:
        seen = set()
        for row in self.rows:
            scale = self.scales.get(row.scale)
            if scale is None:
                raise ValueError(f"{row.system}: there is no scale {row.scale!r}")
            low, high = scale.range
            for name, value in {"score": row.score, **row.parts}.items():
                if not low <= value <= high:
                    raise ValueError(f"{row.system}: {name} {value} is not on {low:g}–{high:g}")
            unknown = sorted(set(row.parts) - set(scale.parts))
            if unknown:
                raise ValueError(f"{row.system}: {row.scale} has no column {', '.join(unknown)}")
            key = (row.scale, row.system, row.source)
            if key in seen:
                raise ValueError(f"{row.system} stands twice in {row.scale} from {row.source}")
            seen.add(key)
        return self


def read_references(path: Path = REFERENCES) -> References:
    """Reads published scores; raises DataError where the file is not in its form."""
    try:
        return References.model_validate(yaml.safe_load(read_text(path)))
    except yaml.YAMLError as error:
        raise DataError(f"{path.name} is not YAML: {error}".replace("\n", " ")) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path.name} {where}: {first['msg']}", "see its head") from error
