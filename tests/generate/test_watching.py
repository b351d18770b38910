"""Unfinished pictures, stopping between passes, and what a call took."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from janus4o.errors import Interrupted, Refused, UsageError
from janus4o.generate.api import Janus
from janus4o.generate.options import GenerateOptions
from janus4o.generate.watching import Partial, Watch


@pytest.mark.parametrize("speculate", [1, 3])
def test_unfinished_pictures_are_the_upper_part_of_the_finished(
    janus: Janus, speculate: int
) -> None:
    seen: list[list[Partial]] = []
    watch = Watch(seen.append, at=(0.5, 0.25, 0.9))
    options = GenerateOptions(n=2, seed=3, speculate=speculate)
    made = janus.generate_with(["a red circle", "a square"], options, watch=watch)
    plain = janus.generate_with(["a red circle", "a square"], GenerateOptions(n=2, seed=3))
    assert [a.codes.tolist() for a in made] == [b.codes.tolist() for b in plain]
    assert len(seen) == (3 if speculate == 1 else 3 * 4)
    by_name = {(one.prompt, one.seed): one for one in made}
    for partial in (one for batch in seen for one in batch):
        count = round(partial.done * 16)
        assert 4 <= count < 16
        pixels = np.asarray(partial.image)
        rows, columns = divmod(count, 4)
        assert (pixels[(rows + 1) * 16 :] == 127).all()
        assert (pixels[rows * 16 : (rows + 1) * 16, columns * 16 :] == 127).all()
        codes = by_name[partial.prompt, partial.seed].codes
        filled = torch.where(torch.arange(16) < count, codes, codes[count - 1])
        expected = np.asarray(janus.decode(filled[None])[0])
        assert (pixels[: rows * 16] == expected[: rows * 16]).all()


def test_a_watcher_may_stop_between_passes(janus: Janus, pictures: list[Image.Image]) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 5

    with pytest.raises(Interrupted, match="after 5 of 16 codes"):
        janus.edit(pictures[0], "make it blue", watch=Watch(stop=stop))
    assert len(asked) == 5
    with pytest.raises(UsageError, match="at = "):
        Watch(at=(1.0,))


def test_timings_say_where_the_time_went(janus: Janus, pictures: list[Image.Image]) -> None:
    drawn = janus.generate("a red circle")[0].timings
    assert drawn.encode == 0
    assert min(drawn.prefill, drawn.decode, drawn.draw) > 0
    assert (drawn.pictures, drawn.passes) == (1, 15)
    assert janus.edit(pictures[0], "make it blue")[0].timings.encode > 0


def test_a_batch_that_does_not_fit_is_refused_in_one_line(
    janus: Janus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr("janus4o.generate.api.paint", full)
    with pytest.raises(Refused, match="batch of 3 pictures does not fit") as caught:
        janus.generate("a red circle", n=3)
    assert "smaller batch" in caught.value.remedy
