"""The base is the Janus-Pro of the offline world: single objects only, no edits."""

import numpy as np
import pytest
from numpy.typing import NDArray

from janus4o.model.loading import TinyConfig, new_model
from janus4o.sketch import grammar
from janus4o.sketch.grammar import VOCABULARY, parse_caption
from janus4o.train import pretrain
from janus4o.train.batch import Kind
from janus4o.train.pretrain import BaseData, BaseOptions, base_scenes
from janus4o.train.tokenizer import PatchLabels, random_scene, shrink


@pytest.fixture(scope="module")
def data() -> BaseData:
    """Of every seventh scene: all shapes, colours, places and backgrounds are among them."""
    model = new_model(VOCABULARY, TinyConfig(vq_latent=32, vq_multipliers=(1, 1, 1, 1, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain, "base_scenes", lambda: base_scenes()[::7])
        return BaseData(model, BaseOptions(painted=64))


def test_every_scene_of_the_base_holds_one_object() -> None:
    scenes = base_scenes()
    assert len(scenes) == len(set(scenes)) == 10 * 8 * 9 * 3
    assert all(len(scene.items) == 1 and scene.learnable for scene in scenes)


def test_no_caption_of_the_base_names_two_things() -> None:
    rng = np.random.default_rng(0)
    scenes = base_scenes()
    for _ in range(3000):
        scene = scenes[rng.integers(len(scenes))]
        wanted = parse_caption(grammar.base_caption(scene, rng))
        assert wanted.total == 1
        assert wanted.relation is None


def test_the_base_never_sees_an_edit(data: BaseData) -> None:
    rng = np.random.default_rng(0)
    for kind in (Kind.TEXT_TO_IMAGE, Kind.DESCRIBE):
        for _ in range(50):
            example = data.draw(kind, rng)
            assert example.kind is kind
            assert not len(example.source_at), "codes of a source picture are an edit's"
            # A picture is either looked at or drawn, never both.
            assert bool(len(example.pictures)) != bool(len(example.target_codes))
    with pytest.raises(ValueError, match="edit"):
        data.draw(Kind.EDIT, rng)


def test_the_same_seed_draws_the_same_examples(data: BaseData) -> None:
    first, second = (
        [data.draw(Kind.TEXT_TO_IMAGE, np.random.default_rng(3)).ids.tolist() for _ in range(5)]
        for _ in range(2)
    )
    assert first == second


def test_patches_are_named_the_same_wherever_they_stand() -> None:
    labels = PatchLabels(painted=128, size=64, patch=16)
    # 10 shapes × 8 colours × 3 backgrounds × 4 quarters, and the bare backgrounds.
    assert len(labels) == 10 * 8 * 3 * 4 + 3
    rng = np.random.default_rng(1)
    bare = {int(labels.of(shrink(scene, 128, 64)[None])[0, 0]) for scene in base_scenes()[:3]}
    assert len(bare) == 3
    for _ in range(50):
        scene = random_scene(rng, fewest=4)
        named = labels.of(shrink(scene, 128, 64)[None])[0]
        assert int((named >= 0).sum()) == 16
        assert sum(int(n) not in bare for n in named) == 4 * len(scene.items)


def test_what_is_said_in_any_conversation_is_captions_of_one_object(
    data: BaseData, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    lay_out = pretrain.sequence.text_to_image

    def listen(prompt: str, *rest: object) -> object:
        said.append(prompt)
        return lay_out(prompt, *rest)

    monkeypatch.setattr(pretrain.sequence, "text_to_image", listen)
    rng = np.random.default_rng(2)
    for make in (data.listing, data.redraw, data.mosaic):
        for _ in range(40):
            example = make(rng)
            assert len(example.target_codes) == data.model.geometry.tokens
            assert len(example.source_at) == len(example.source_codes)
    assert len(said) > 70
    for prompt in said:
        for caption in prompt.split(". "):
            assert parse_caption(caption).total == 1


def tiles(picture: NDArray[np.uint8]) -> list[bytes]:
    rows = picture.reshape(4, 16, 4, 16, 3).transpose(0, 2, 1, 3, 4).reshape(16, 16, 16, 3)
    return [tile.tobytes() for tile in rows]


def test_what_is_shown_and_drawn_again_is_never_changed(data: BaseData) -> None:
    codes = data.codes.reshape(len(data.scenes), -1)
    known = {
        pair
        for picture, row in zip(data.pictures, codes, strict=True)
        for pair in zip(tiles(picture), row.tolist(), strict=True)
    }
    whole = {picture.tobytes(): row for picture, row in zip(data.pictures, codes, strict=True)}
    rng = np.random.default_rng(3)
    for make in (data.redraw, data.mosaic):
        for _ in range(40):
            example = make(rng)
            (picture,) = example.pictures
            drawn = example.target_codes.tolist()
            assert set(zip(tiles(picture), drawn, strict=True)) <= known
            if make == data.redraw:
                assert whole[picture.tobytes()].tolist() == drawn
            assert (example.ids[example.picture_at] == data.model.geometry.image).all()
            assert not len(example.source_at), "codes of a picture that is shown are an edit's"
