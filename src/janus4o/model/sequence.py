"""The one place that lays out tokens, for training and for inference alike.

    text-to-image   <bos> <|User|>": " prompt "\\n\\n"<|Assistant|>":" <begin_of_image> [T codes]
    edit            <bos> <|User|>": " { <begin_of_image> [T semantic] <end_of_image>
                                         <begin_of_image> [T source]   <end_of_image> } × sources
                                       instruction "\\n\\n"<|Assistant|>":" <begin_of_image> [T codes]
    describe        <bos> [system "\\n\\n"] <|User|>": " <begin_of_image> [T semantic] <end_of_image>
                          "\\n" question "\\n\\n"<|Assistant|>":" [answer <eos>]

A sequence always holds its target; what inference starts from is `prompt_ids`, everything before.
Positions that are filled with codes or features carry the placeholder or the pad id, as in the
official code, so that leaving one unfilled (`hide_sources`) is what the model was trained with.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from janus4o.errors import PromptError
from janus4o.model.geometry import Geometry
from janus4o.model.text import TextTokenizer
from janus4o.prompt import check

MOST_SOURCES = 16
"""Of one edit. Long before it, Janus-Pro's 16,384 positions are full."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Named stretches of a sequence.

    Attributes:
        prompt: what is hidden when the condition is dropped: all between <bos> and the last
            token before the target, both excluded.
        semantic: T positions for each source's understanding features; empty when hidden.
        source: T positions for each source's codes; empty when hidden.
        target: T codes, or the answer with its <eos>.
    """

    prompt: slice
    semantic: tuple[slice, ...]
    source: tuple[slice, ...]
    target: slice


@dataclass(frozen=True, slots=True)
class Sequence:
    """One laid-out sample.

    Attributes:
        ids: int64 [L]; pad id at source and target codes, placeholder id at semantic positions.
        spans: its parts.
        loss_mask: bool [L], True at every token that is learnt. The token at position p is
            predicted from the hidden state at p - 1.
    """

    ids: Tensor
    spans: Spans
    loss_mask: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def prompt_ids(self) -> Tensor:
        """What inference starts from: everything before the target."""
        return self.ids[: self.spans.target.start]


def text_to_image(prompt: str, geometry: Geometry, tokenizer: TextTokenizer) -> Sequence:
    """The sequence of a picture from words.

    Raises:
        PromptError: the prompt cannot be used (see janus4o.prompt) or is too long.
    """
    text = check(prompt, "prompt").strip()
    ids = [geometry.bos, geometry.user, *tokenizer.encode(f": {text}\n\n")]
    ids += [geometry.assistant, *tokenizer.encode(":"), geometry.begin_of_image]
    return _with_codes(ids, (), (), geometry)


def edit(
    instruction: str, geometry: Geometry, tokenizer: TextTokenizer, sources: int = 1
) -> Sequence:
    """The sequence of an edit of one or more source pictures.

    White space before the instruction stays and white space after it goes, as officially.

    Raises:
        PromptError: the instruction cannot be used, there is no source, or it is all too long.
    """
    check(instruction, "instruction")
    if not 1 <= sources <= MOST_SOURCES:
        what = f"{sources} source pictures" if sources else "an edit without a source picture"
        raise PromptError(what, f"give 1 to {MOST_SOURCES}")
    ids = [geometry.bos, geometry.user, *tokenizer.encode(": ")]
    semantic: list[slice] = []
    source: list[slice] = []
    for _ in range(sources):
        for spans, filler in ((semantic, geometry.image), (source, geometry.pad)):
            ids.append(geometry.begin_of_image)
            spans.append(slice(len(ids), len(ids) + geometry.tokens))
            ids += [filler] * geometry.tokens
            ids.append(geometry.end_of_image)
    ids += tokenizer.encode(f"{instruction.rstrip()}\n\n")
    ids += [geometry.assistant, *tokenizer.encode(":"), geometry.begin_of_image]
    return _with_codes(ids, tuple(semantic), tuple(source), geometry)


def describe(
    question: str,
    geometry: Geometry,
    tokenizer: TextTokenizer,
    answer: str | None = None,
    system: str = "",
) -> Sequence:
    """The sequence of a question about one picture, with its answer when training.

    White space before the question stays and white space after it goes, as officially.

    Args:
        system: what the checkpoint expects before it all; see `JanusModel.system_prompt`.

    Raises:
        PromptError: the question cannot be used or is too long.
    """
    check(question, "question")
    ids = [geometry.bos, *(tokenizer.encode(f"{system}\n\n") if system else ())]
    ids += [geometry.user, *tokenizer.encode(": "), geometry.begin_of_image]
    semantic = slice(len(ids), len(ids) + geometry.tokens)
    ids += [geometry.image] * geometry.tokens
    ids += [geometry.end_of_image, *tokenizer.encode(f"\n{question.rstrip()}\n\n")]
    ids += [geometry.assistant, *tokenizer.encode(":")]
    target = [] if answer is None else [*tokenizer.encode(f" {answer.strip()}"), geometry.eos]
    return _checked(ids, target, (semantic,), (), geometry)


def hide_prompt(sequence: Sequence, geometry: Geometry) -> Sequence:
    """The sequence with no condition at all: pads from after <bos> to before the last token.

    It is the branch guidance subtracts. The pads are attended, as officially.
    """
    ids = sequence.ids.clone()
    ids[sequence.spans.prompt] = geometry.pad
    return replace(sequence, ids=ids, spans=replace(sequence.spans, semantic=(), source=()))


def hide_sources(sequence: Sequence) -> Sequence:
    """The sequence without its sources' codes (pads stay there); their features are kept."""
    return replace(sequence, spans=replace(sequence.spans, source=()))


def _with_codes(
    ids: list[int],
    semantic: tuple[slice, ...],
    source: tuple[slice, ...],
    geometry: Geometry,
) -> Sequence:
    return _checked(ids, [geometry.pad] * geometry.tokens, semantic, source, geometry)


def _checked(
    ids: list[int],
    target: list[int],
    semantic: tuple[slice, ...],
    source: tuple[slice, ...],
    geometry: Geometry,
) -> Sequence:
    length = len(ids) + len(target)
    if length > geometry.positions:
        raise PromptError(
            f"{length} tokens, picture included, and the model takes {geometry.positions}",
            f"shorten the text by {length - geometry.positions} tokens or give fewer sources",
        )
    loss_mask = torch.zeros(length, dtype=torch.bool)
    loss_mask[len(ids) :] = True
    spans = Spans(slice(1, len(ids) - 1), semantic, source, slice(len(ids), length))
    return Sequence(torch.tensor(ids + target, dtype=torch.int64), spans, loss_mask)
