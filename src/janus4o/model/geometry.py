"""The sizes and special ids of one checkpoint. Nothing about them is assumed anywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from janus4o.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
PAD = "<｜▁pad▁｜>"
USER = "<|User|>"
ASSISTANT = "<|Assistant|>"
BEGIN_OF_IMAGE = "<begin_of_image>"
END_OF_IMAGE = "<end_of_image>"
IMAGE = "<image_placeholder>"

SYSTEM_PROMPT = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
"""What Janus-Pro expects before a question about a picture (never before a prompt)."""

SPECIALS = (BOS, EOS, PAD, USER, ASSISTANT, BEGIN_OF_IMAGE, END_OF_IMAGE, IMAGE)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes and special token ids of a checkpoint.

    Attributes:
        image_size: side of the square the model sees, pixels.
        patch_size: side of the square one code stands for, pixels.
        grid: codes a side.
        tokens: codes a picture, `grid` squared, row-major.
        codebook: number of codes.
        code_width: numbers a codebook row has.
        hidden: width of the language model.
        vocabulary: text tokens.
        positions: longest sequence, tokens.
        bos, eos, pad, user, assistant, begin_of_image, end_of_image, image: token ids.
        minimum_side: letterboxing never makes a side smaller than this, pixels.
        background: the colour of letterbox bars, RGB.
    """

    image_size: int
    patch_size: int
    grid: int
    tokens: int
    codebook: int
    code_width: int
    hidden: int
    vocabulary: int
    positions: int
    bos: int
    eos: int
    pad: int
    user: int
    assistant: int
    begin_of_image: int
    end_of_image: int
    image: int
    minimum_side: int = 14
    background: tuple[int, int, int] = (127, 127, 127)


def read_geometry(
    config: Any,
    tokenizer: PreTrainedTokenizerFast,
    where: str,
    *,
    image_tag: str = IMAGE,
    pictures: Mapping[str, Any] | None = None,
) -> Geometry:
    """The geometry of a checkpoint.

    Args:
        config: its `JanusConfig`.
        tokenizer: its tokenizer.
        where: what to call the checkpoint in an error.
        image_tag: the token that stands for a picture the model looks at.
        pictures: its preprocessor_config.json, in either format.

    Raises:
        CheckpointError: a special token is missing, or the sizes contradict each other.
    """
    vocabulary = tokenizer.get_vocab()
    specials = (*SPECIALS[:-1], image_tag)
    missing = [name for name in specials if name not in vocabulary]
    if missing:
        raise CheckpointError(
            f"{where}: the tokenizer lacks the special token {missing[0]}",
            "take tokenizer.json from the same place as the weights",
        )
    vision, vq, text = config.vision_config, config.vq_config, config.text_config
    grid = vision.image_size // vision.patch_size
    shrink = 2 ** (len(vq.channel_multiplier) - 1)
    if shrink != vision.patch_size or grid * vision.patch_size != vision.image_size:
        raise CheckpointError(
            f"{where}: {vision.image_size} px in patches of {vision.patch_size} does not fit a "
            f"picture tokenizer that shrinks by {shrink}",
            "config.json is not that of a Janus checkpoint",
        )
    if max(vocabulary.values()) >= text.vocab_size:
        raise CheckpointError(
            f"{where}: the tokenizer has ids up to {max(vocabulary.values())}, "
            f"the network only {text.vocab_size} embeddings",
            "take tokenizer.json from the same place as the weights",
        )
    return Geometry(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        grid=grid,
        tokens=grid * grid,
        codebook=vq.num_embeddings,
        code_width=vq.embed_dim,
        hidden=text.hidden_size,
        vocabulary=text.vocab_size,
        positions=text.max_position_embeddings,
        bos=vocabulary[BOS],
        eos=vocabulary[EOS],
        pad=vocabulary[PAD],
        user=vocabulary[USER],
        assistant=vocabulary[ASSISTANT],
        begin_of_image=vocabulary[BEGIN_OF_IMAGE],
        end_of_image=vocabulary[END_OF_IMAGE],
        image=vocabulary[image_tag],
        **_preprocessing(pictures or {}, where),
    )


def _preprocessing(stored: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of `Geometry` a preprocessor_config.json decides; refuses other levels than ours.

    transformers' format has no background; its processor makes it of the mean.
    """
    for key, expected in (("image_mean", [0.5] * 3), ("image_std", [0.5] * 3)):
        if stored.get(key, expected) != expected:
            raise CheckpointError(
                f"{where}: preprocessor_config.json has {key} {stored[key]}",
                f"only {expected}, which every Janus has, is supported",
            )
    if abs(stored.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise CheckpointError(
            f"{where}: preprocessor_config.json has rescale_factor {stored['rescale_factor']}",
            "only 1/255, which every Janus has, is supported",
        )
    fields: dict[str, Any] = {}
    if isinstance(stored.get("min_size"), int):
        fields["minimum_side"] = stored["min_size"]
    background = stored.get("background_color")
    if isinstance(background, list | tuple) and len(background) == 3:
        fields["background"] = tuple(int(level) for level in background)
    return fields
