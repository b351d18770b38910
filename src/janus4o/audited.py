"""What `janus4o audit` keeps in a run folder: its words, its targets, and what pictures were seen to show.

Cards and reports count prompts anew by these words and against these targets, because rows come later and
exports leave some out. What pictures show was asked of certain rows and is told of them alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import FiniteFloat, TypeAdapter

from janus4o.errors import DataError
from janus4o.people import (
    ASKED_FOR,
    GIVEN,
    Audit,
    Targets,
    Told,
    Words,
    asked_for,
    parse_words,
    read_words,
    tally,
)

AUDIT_FILE = "audit.json"
SHIPPED_WORDS, GIVEN_WORDS = "the English words of people.yaml", "the words given to janus4o audit"

_AUDIT = TypeAdapter(Audit)
_TARGETS = TypeAdapter(dict[str, dict[str, FiniteFloat]])


@dataclass(frozen=True, slots=True)
class Portrayed:
    """What a vision model saw on pictures.

    Attributes:
        model: as its server named it.
        chosen: pictures it was asked about.
        shown: heading → shares.
    """

    model: str
    chosen: int
    shown: Mapping[str, Audit]


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit was made with, and what it saw; as it stands where there was none.

    Attributes:
        vocabulary: the text of a changed people.yaml; empty for the shipped one.
        words: the same, read.
        targets: those given; None holds shares against what the recipe asks for.
        portrayed: of the data set as it is; None where no picture of it was asked about.
    """

    vocabulary: str = ""
    words: Words = field(default_factory=read_words)
    targets: Targets | None = None
    portrayed: Portrayed | None = None

    @property
    def source(self) -> str:
        """Whose words they are."""
        return GIVEN_WORDS if self.vocabulary else SHIPPED_WORDS

    def count(self, told: Iterable[Told | None], law: Mapping[str, float]) -> Audit:
        """Shares of what prompts tell.

        Args:
            told: what `words` tell of each prompt.
            law: as for `people.asked_for`.
        """
        if self.targets is not None:
            return tally(told, self.words, self.targets, GIVEN)
        return tally(told, self.words, asked_for(law, self.words), ASKED_FOR)


def read_audit(path: Path, digest: str) -> Audited:
    """What `janus4o audit` wrote there; a file that is not there or is damaged counts as none.

    Args:
        digest: of the data set that is told of; pictures of another one do not count.
    """
    try:
        found = json.loads(path.read_bytes())
        text, targets = found.get("words") or "", found.get("targets")
        words = parse_words(text, f"{path}: words") if text else read_words()
        law = None if targets is None else _TARGETS.validate_python(targets, strict=True)
        said = found.get("pictures") if found["digest"] == digest else None
        return Audited(text, words, law, None if said is None else _portrayed(said))
    except (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError,
            RecursionError, DataError):  # fmt: skip
        return Audited()


def _portrayed(said: Any) -> Portrayed:
    shown = {str(k): _AUDIT.validate_python(one) for k, one in said["shown"].items()}
    return Portrayed(str(said["served"]), int(said["chosen"]), shown)
