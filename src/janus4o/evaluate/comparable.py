"""Which scores may stand beside published ones: one rule, for score files and for the leaderboard.

A score may only if the published networks answered, the published mode and options were used, and what
was asked is the whole official prompt set, by number and by hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Official:
    """How published scores of a benchmark were made.

    Attributes:
        networks: role → name.
        mode: of the rules; empty where there is one only.
        prompts: least and largest number of prompts that are scored.
        hashed, hash: entry of a score file's `prompt_set`, and its official value.
        tiles: of each picture; None where pictures have none.
    """

    networks: Mapping[str, str]
    mode: str
    prompts: tuple[int, int]
    hashed: str
    hash: str
    tiles: int | None = None


OFFICIAL: dict[str, Official] = {
    "GenEval": Official(
        networks={
            "detector": "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco",
            "classifier": "open_clip ViT-L-14 openai",
        },
        mode="",
        prompts=(553, 553),
        hashed="sha256",
        hash="486e0459b573ba092058a35ef4bd2cd234e70a620cac8394a4aef94bba8551e3",
    ),
    # The published code loses one prompt. Its csv is not ours to read, so the items' names are hashed.
    "DPG-Bench": Official(
        networks={"vqa": "damo/mplug_visual-question-answering_coco_large_en"},
        mode="official",
        prompts=(1064, 1065),
        hashed="items_sha256",
        hash="7ef6507d796a25429b691e78c598a37e8b5576469417657e273290c2f03d8cab",
        tiles=4,
    ),
}
"""Benchmarks whose published rows agree on how they were made; ImgEdit-Bench's do not."""


def doubt(
    benchmark: str,
    networks: Mapping[str, str],
    mode: str,
    prompt_set: Mapping[str, Any],
    prompts: int,
    tiles: int | None = None,
) -> str:
    """Why a score may not stand beside published ones; empty where it may.

    Args:
        networks: role → name; empty where nobody said.
        prompt_set: as a score file holds it.
        prompts: how many prompts were scored.
    """
    official = OFFICIAL.get(benchmark)
    if name := prompt_set.get("name"):
        return f"{name} prompts, not the benchmark's"
    if official is None:
        return "published rows agree neither on a judge nor on the mean"
    unnamed = [role for role, name in networks.items() if not name]
    if unnamed:
        return f"{' and '.join(unnamed)} not named"
    if dict(networks) != dict(official.networks) or mode != official.mode:
        return "other networks or options than the official ones"
    if tiles != official.tiles:
        return f"{tiles} tiles a picture, not {official.tiles}"
    if prompt_set.get(official.hashed) != official.hash:
        return "other prompts than the official ones"
    low, high = official.prompts
    if not low <= prompts <= high:
        return f"{prompts:,} of the {high:,} official prompts were scored"
    return ""
