"""The sizes and special ids of one checkpoint. Nothing about them is assumed anywhere else."""

from __future__ import annotations

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


def read_geometry(config: Any, tokenizer: PreTrainedTokenizerFast, where: str) -> Geometry:
    """The geometry of a checkpoint.

    Args:
        config: its `JanusConfig`.
        tokenizer: its tokenizer.
        where: what to call the checkpoint in an error.

    Raises:
        CheckpointError: a special token is missing, or the sizes contradict each other.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [name for name in SPECIALS if name not in vocabulary]
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
        image=vocabulary[IMAGE],
    )
