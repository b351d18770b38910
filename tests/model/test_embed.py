"""Embeddings of batches: each row as if alone, pictures where their spans are."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from janus4o.model import sequence
from janus4o.model.embed import embed_batch, embed_codes, understand
from janus4o.model.loading import JanusModel


@pytest.mark.parametrize("side", ["left", "right"])
@torch.no_grad()
def test_a_row_does_not_see_its_neighbours(
    model: JanusModel, side: Literal["left", "right"]
) -> None:
    network, geometry = model.network, model.geometry
    words = sequence.text_to_image("a red circle", geometry, model.tokenizer)
    change = sequence.edit("make it blue", geometry, model.tokenizer, sources=2)
    draw = torch.Generator().manual_seed(0)
    features = understand(network, torch.rand(2, 3, 64, 64, generator=draw))
    codes = torch.randint(0, 1024, (4, 16), generator=draw)
    both = embed_batch(
        network,
        [words, change],
        pad=geometry.pad,
        semantic=features,
        source=codes[:2],
        target=codes[2:],
        side=side,
    )
    alone = embed_batch(network, [words], pad=geometry.pad, target=codes[2:3])
    assert torch.equal(both.embeds[0][both.mask[0]], alone.embeds[0])
    assert both.positions[0][both.mask[0]].tolist() == list(range(len(words)))
    row, spans = both.embeds[1], change.spans
    assert len(row) == len(change)
    for index in range(2):
        assert torch.equal(row[spans.semantic[index]], features[index])
        torch.testing.assert_close(row[spans.source[index]], embed_codes(network, codes[index]))
    torch.testing.assert_close(row[spans.target], embed_codes(network, codes[3]))


@torch.no_grad()
def test_dropped_source_codes_leave_pads(model: JanusModel) -> None:
    network, geometry = model.network, model.geometry
    change = sequence.edit("make it blue", geometry, model.tokenizer)
    features = understand(network, torch.zeros(1, 3, 64, 64))
    codes = torch.arange(16)[None]
    kept = torch.arange(16)[None] % 2 == 0

    def embeds(**given: torch.Tensor) -> torch.Tensor:
        layout = change if given else sequence.hide_sources(change)
        return embed_batch(network, [layout], pad=geometry.pad, semantic=features, **given).embeds[
            0
        ]

    span = change.spans.source[0]
    full, none = embeds(source=codes), embeds()
    some = embeds(source=codes, source_kept=kept)
    assert torch.equal(some[span][kept[0]], full[span][kept[0]])
    assert torch.equal(some[span][~kept[0]], none[span][~kept[0]])
    assert (none[span] == network.model.language_model.embed_tokens.weight[geometry.pad]).all()


def test_pictures_without_a_place_are_an_error(model: JanusModel) -> None:
    words = sequence.text_to_image("a red circle", model.geometry, model.tokenizer)
    with pytest.raises(ValueError, match="1 pictures given for 0 places"):
        embed_batch(model.network, [words], pad=0, source=torch.zeros(1, 16, dtype=torch.int64))
