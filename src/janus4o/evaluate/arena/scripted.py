"""Raters that are no people: the sketch world's exact judge, voting as a person would.

They show that an arena works, and what people could at best agree on. Their votes say so on every line,
and so does every report that counts one of them.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from janus4o.errors import DataError
from janus4o.evaluate.arena.contest import PICTURES_FOLDER, VOTES_FILE, Contest, Item
from janus4o.evaluate.arena.order import order
from janus4o.evaluate.arena.votes import Choice, Vote, append_vote, read_votes
from janus4o.images import open_image
from janus4o.sketch import detect
from janus4o.sketch.captions import parse_caption
from janus4o.sketch.instructions import parse_instruction
from janus4o.sketch.judge import check_caption, check_edit
from janus4o.sketch.marks import quality
from janus4o.sketch.render import Pixels

RULE = "sketch judge 1"


def vote_by_rule(contest: Contest, folder: Path, count: int) -> int:
    """Appends the votes of `count` raters that they have not given yet; returns how many.

    "Follows" goes to the picture that the exact judge passes, "looks" to the one whose scene is drawn
    more exactly (`marks.quality`); where both pictures do, or neither, it is a tie.

    Raises:
        PromptError: an item is not of the sketch world.
        DataError: so is the picture an edit starts from, or the votes cannot be read.
    """
    path = folder / VOTES_FILE
    items = {item.item: item for item in contest.items}
    starts = contest.sources()

    @cache
    def pixels(token: str) -> Pixels:
        picture = open_image((folder / PICTURES_FOLDER / f"{token}.png").read_bytes())
        return np.asarray(picture.convert("RGB"), np.uint8)

    @cache
    def worth(item: str, token: str) -> tuple[bool, int]:
        start = pixels(starts[item]) if item in starts else None
        return _follows(items[item], start, pixels(token)), quality(detect.scene(pixels(token)))

    there = path.is_file() and path.stat().st_size
    done = {(v.rater, v.place) for v, _ in read_votes(contest, [path])[0]} if there else set()
    given = 0
    for number in range(1, count + 1):
        rater = f"{RULE}, copy {number}"
        session = hashlib.sha256(f"{contest.id} {rater}".encode()).hexdigest()[:32]
        for place, trial in enumerate(order(contest, rater)):
            if (rater, place) in done:
                continue
            left, right = worth(trial.item, trial.left), worth(trial.item, trial.right)
            vote = Vote(
                contest=contest.id,
                rater=rater,
                session=session,
                seat=rater,
                place=place,
                item=trial.item,
                left=trial.left,
                right=trial.right,
                follows=_choose(left[0], right[0]),
                looks=_choose(left[1], right[1]),
                ms=0,
                at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                scripted=RULE,
            )
            append_vote(path, vote)
            given += 1
    return given


def _follows(item: Item, start: Pixels | None, pixels: Pixels) -> bool:
    if start is None:
        return check_caption(pixels, parse_caption(item.prompt)).passed
    operation = parse_instruction(item.prompt)
    source = detect.scene(start, operation.source_view)
    if source.scene is None:
        raise DataError(
            f"{item.item}: its source shows no scene", "scripted raters know sketches only"
        )
    return check_edit(source.scene, operation, pixels).passed


def _choose(left: int, right: int) -> Choice:
    return "tie" if left == right else "left" if left > right else "right"
