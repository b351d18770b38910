"""Several codes a pass: speculative Jacobi decoding with coupled draws, off unless asked for.

A pass is fed the last certain code and guesses of those after it, and says what each position should
be drawn from if the guesses before it are right. Those that hold are kept, the others guessed again.
One picture is made at a time, because pictures keep different numbers of codes a pass.

Sources: speculative Jacobi decoding (arXiv 2410.01699), coupling (SCD, arXiv 2510.24211).

Why the codes are distributed as without it. Write p for a position's distribution given the codes
before it, and q for the one its guess was drawn from in an earlier pass, given other codes before it.
Each position has one Gumbel noise of its own for all passes; a guess is argmax(log q + noise), so it is
distributed as q. Everything that happens before a position is verified (guesses, passes, p, q, whether
those before it held) is decided by the noises of earlier positions alone: a guess is context only for
the positions after it. So when it is verified its noise is independent of p and q, its guess is a
draw from q, and

    ratio   keep it with probability min(1, p(guess) / q(guess)), else draw from max(p - q, 0)

makes a draw from p: code x comes with min(q(x), p(x)) by being kept, and what is missing of p(x) by the
other draw. That draw and the coin have their own randomness, since the noise is spent. The rule

    match   draw argmax(log p + noise); go on if it is the guess

is a draw from p because the noise is independent of p. It is the very draw of plain sampling, so a
seed's picture stays (up to rounding: a pass of many rows rounds differently), but it holds less often.
The shared noise is what makes guesses hold at all: where p barely changed between passes the guess does
not either, and the positions after it were computed in the right context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from janus4o.generate.options import GenerateOptions
from janus4o.generate.sampling import gumbel, likely

Forward = Callable[[Tensor, int], Tensor]
"""(codes [N] to feed, how many of the last ones fed to keep first) → guided logits [N, V], the i-th
for the position after the i-th code."""


COINS = 0x5EED_C015
"""What a picture's seed is combined with for the randomness that is not its noise."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A code not certain yet; `drawn_from` is its q, None where it is anything but a draw."""

    code: int
    drawn_from: Tensor | None


def speculate(
    first_V: Tensor,
    forward: Forward,
    generator: torch.Generator,
    options: GenerateOptions,
    tokens: int,
    grid: int,
) -> Iterator[Tensor]:
    """One picture's codes, as many at once as a pass made certain: int64 [1..window].

    Args:
        first_V: guided logits of the first code.
        generator: of the picture; it gives every position its noise, in order.
        tokens: codes a picture.
        grid: codes a row of it.
    """
    coins = torch.Generator("cpu").manual_seed(generator.initial_seed() ^ COINS)
    noises: dict[int, Tensor] = {}
    guesses: dict[int, Guess] = {}

    def drawn(scores_V: Tensor, position: int) -> int:
        """argmax(log p + noise); greedy has no noise."""
        if options.temperature == 0:
            return int(scores_V.argmax())
        while len(noises) <= position:
            noises[len(noises)] = gumbel(scores_V.shape[-1], generator)
        return int((scores_V + noises[position].to(scores_V)).argmax())

    codes = [drawn(likely(first_V[None], options.temperature, options.top_k)[0], 0)]
    yield torch.tensor(codes)
    kept = 0
    while len(codes) < tokens:
        start = len(codes)
        window = min(options.speculate, tokens - start)
        for position in range(start, start + window - 1):
            if position not in guesses:  # like the one above it, or before it
                above = position - grid
                known = codes[above] if 0 <= above < start else codes[-1]
                guesses[position] = Guess(known, None)
        fed = [codes[-1], *(guesses[p].code for p in range(start, start + window - 1))]
        scores_NV = likely(forward(torch.tensor(fed), kept), options.temperature, options.top_k)
        kept = 0
        for position, scores_V in enumerate(scores_NV, start):
            guess = guesses.get(position)
            plain = options.rule == "match" or options.temperature == 0
            if plain or guess is None or guess.drawn_from is None:
                code = drawn(scores_V, position)
            else:
                code = keep_or_redraw(guess, torch.softmax(scores_V, -1), coins)
            codes.append(code)
            kept += 1
            if guess is None or code != guess.code:
                break
        probabilities = torch.softmax(scores_NV, -1) if options.temperature else scores_NV
        for position in range(start + kept, start + window):
            code = drawn(scores_NV[position - start], position)
            guesses[position] = Guess(code, probabilities[position - start])
        for position in range(start, start + kept):
            guesses.pop(position, None)
            if position in noises:
                noises[position] = noises[position][:0]  # spent
        yield torch.tensor(codes[start:])


def keep_or_redraw(guess: Guess, wanted_V: Tensor, coins: torch.Generator) -> int:
    """The guess, or a draw from what is missing of the wanted probabilities."""
    assert guess.drawn_from is not None
    ratio = wanted_V[guess.code] / guess.drawn_from[guess.code]
    if torch.rand((), generator=coins) < ratio.cpu():
        return guess.code
    missing = (wanted_V - guess.drawn_from).clamp(min=0)
    return int((missing.log() + gumbel(len(missing), coins).to(missing)).argmax())
