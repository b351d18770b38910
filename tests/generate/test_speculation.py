"""Several codes a pass, drawn as one at a time would be: by count of many, and code for code."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import pytest
import torch
from PIL import Image

from janus4o.errors import UsageError
from janus4o.generate import speculation
from janus4o.generate.api import Janus
from janus4o.generate.options import GenerateOptions, Rule
from janus4o.generate.sampling import new_generator, sample
from janus4o.generate.speculation import Guess, speculate

CODES, TOKENS, DRAWS = 3, 4, 4000
EVERY = list(itertools.product(range(CODES), repeat=TOKENS))


class Table:
    """A model small enough to know the probability of every picture: logits of every beginning."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.logits = {
            beginning: 1.5 * torch.randn(CODES, generator=generator)
            for length in range(TOKENS)
            for beginning in itertools.product(range(CODES), repeat=length)
        }

    def probability(self, picture: tuple[int, ...]) -> float:
        shares = (
            torch.softmax(self.logits[picture[:at]].double(), 0)[code]
            for at, code in enumerate(picture)
        )
        return math.prod(float(share) for share in shares)

    def forward(self) -> Callable[[torch.Tensor, int], torch.Tensor]:
        """Keeps what was fed as a cache does: only as much of it as the next pass says was right."""
        fed: list[int] = []
        filled = 0

        def run(codes: torch.Tensor, kept: int) -> torch.Tensor:
            nonlocal filled, fed
            filled += kept
            fed = [*fed[:filled], *codes.tolist()]
            ends = range(filled + 1, len(fed) + 1)
            return torch.stack([self.logits[tuple(fed[:end])] for end in ends])

        return run


def draw(table: Table, seed: int, options: GenerateOptions) -> tuple[tuple[int, ...], int]:
    """A picture and the passes it took."""
    parts = list(
        speculate(table.logits[()], table.forward(), new_generator(seed), options, TOKENS, 2)
    )
    return tuple(torch.cat(parts).tolist()), len(parts) - 1


def surprise(table: Table, rule: Rule, window: int) -> float:
    """Chi-square of `DRAWS` pictures against their probabilities, in deviations from its mean."""
    options = GenerateOptions(speculate=window, rule=rule)
    seen = Counter(draw(table, seed, options)[0] for seed in range(DRAWS))
    expected = {picture: DRAWS * table.probability(picture) for picture in EVERY}
    common = [picture for picture in EVERY if expected[picture] >= 5]
    terms = [(seen[picture] - expected[picture]) ** 2 / expected[picture] for picture in common]
    rest = DRAWS - sum(expected[picture] for picture in common)
    terms.append((DRAWS - sum(seen[picture] for picture in common) - rest) ** 2 / rest)
    freedom = len(terms) - 1
    return (sum(terms) - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("rule", ["match", "ratio"])
@pytest.mark.parametrize("window", [2, 4])
def test_pictures_come_as_often_as_they_should(rule: Rule, window: int) -> None:
    assert abs(surprise(Table(), rule, window)) < 4


@pytest.mark.parametrize("wrong", ["every guess held", "redrawn from all", "coupled redraw"])
def test_the_count_notices_a_wrong_rule(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = speculation.keep_or_redraw

    def keep(guess: Guess, wanted: torch.Tensor, coins: torch.Generator) -> int:
        if wrong == "every guess held":
            return guess.code
        found = right(guess, wanted, coins)
        if found == guess.code:
            return found
        if wrong == "redrawn from all":
            return int(torch.multinomial(wanted, 1, generator=coins))
        return int(wanted.argmax())

    monkeypatch.setattr(speculation, "keep_or_redraw", keep)
    assert surprise(Table(), "ratio", 4) > 6


def test_matching_leaves_every_seed_its_picture() -> None:
    table = Table()
    options = GenerateOptions(speculate=4, rule="match")
    for seed in range(200):
        plain: list[int] = []
        generator = new_generator(seed)
        for _ in range(TOKENS):
            logits = table.logits[tuple(plain)]
            plain.append(int(sample(logits[None], [generator], 1.0)))
        assert draw(table, seed, options)[0] == tuple(plain)


def test_more_guesses_hold_by_ratio_and_passes_are_saved() -> None:
    table = Table()
    passes = {
        rule: sum(
            draw(table, seed, GenerateOptions(speculate=4, rule=rule))[1] for seed in range(400)
        )
        for rule in ("match", "ratio")
    }
    assert passes["ratio"] < passes["match"] < 400 * (TOKENS - 1)


@pytest.mark.parametrize("window", [2, 5, 16, 40])
def test_the_engine_speculates_to_the_same_pictures(
    janus: Janus, pictures: list[Image.Image], window: int
) -> None:
    prompts = ["a red circle", "the square on the left"]
    for shared in ({"temperature": 0.0}, {"temperature": 1.0, "top_k": 50}, {"guidance": 1.0}):
        plain = janus.generate_with(prompts, GenerateOptions(seed=5, **shared))
        options = GenerateOptions(seed=5, speculate=window, rule="match", **shared)
        guessed = janus.generate_with(prompts, options)
        assert [a.codes.tolist() for a in guessed] == [b.codes.tolist() for b in plain]
    request = [(pictures[:1], "make it blue")]
    options = GenerateOptions(speculate=window, rule="match")
    guessed, plain = janus.edit_with(request, options), janus.edit_with(request, GenerateOptions())
    assert guessed[0].codes.tolist() == plain[0].codes.tolist()
    assert guessed[0].timings.passes <= plain[0].timings.passes == 15


def test_by_ratio_a_seed_still_means_one_picture(janus: Janus) -> None:
    options = GenerateOptions(seed=5, speculate=6, n=2, rule="ratio")
    once, again = (janus.generate_with(["a red circle"], options) for _ in range(2))
    assert [one.codes.tolist() for one in once] == [one.codes.tolist() for one in again]


@pytest.mark.parametrize("window", [0, -1, 1000])
def test_windows_out_of_range_are_refused(window: int) -> None:
    with pytest.raises(UsageError, match="speculate"):
        GenerateOptions(speculate=window)
