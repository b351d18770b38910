"""Words to ids and back. What a user wrote can never become a special token.

The official code tokenises the whole formatted chat as one string, in which the special tokens cut
the text into pieces that are tokenised on their own. So tokenising each piece with the special
tokens taken out of the vocabulary gives the same ids, and a "<|User|>" inside a prompt stays text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from janus4o.errors import PromptError
from janus4o.model.geometry import BOS, EOS, PAD, SPECIALS

UNKNOWN = "<unknown>"
PUNCTUATION = (":", ",", ".", "?", "!")


class TextTokenizer:
    """A checkpoint's tokenizer, safe for text from outside.

    Attributes:
        fast: the Hugging Face tokenizer as stored, which does recognise special tokens.
    """

    def __init__(self, fast: PreTrainedTokenizerFast) -> None:
        self.fast = fast
        stored = json.loads(fast.backend_tokenizer.to_str())
        # Some checkpoints keep ordinary letters (ø, ö) among the added tokens; those stay.
        self._control = {
            token["id"]
            for token in stored["added_tokens"]
            if token["special"] or re.fullmatch(r"<.+>", token["content"])
        }
        stored["added_tokens"] = [
            token for token in stored["added_tokens"] if token["id"] not in self._control
        ]
        stored["post_processor"] = None
        self._plain = Tokenizer.from_str(json.dumps(stored))
        self._unknown = self._plain.token_to_id(UNKNOWN)
        self._one_a_word = stored["model"]["type"] == "WordLevel"

    def encode(self, text: str) -> list[int]:
        """The ids of one piece of text; raises PromptError should one of them be special."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        if self._control.intersection(ids) - {self._unknown}:
            raise PromptError("the text turns into a special token", "word it differently")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; special tokens are left out."""
        text: str = self._plain.decode([i for i in ids if i not in self._control])
        if self._one_a_word:  # such a tokenizer puts a space before every token
            text = re.sub(r"\s+([:,.?!])", r"\1", text)
        return text.strip()

    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` the model has no token for, in order, each once."""
        if self._unknown is None:
            return []
        encoding = self._plain.encode(text, add_special_tokens=False)
        words = [
            text[start:end]
            for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True)
            if token == self._unknown
        ]
        return list(dict.fromkeys(words))

    def special_tokens(self, text: str) -> list[str]:
        """Special tokens whose spelling occurs in `text` (where it stays ordinary text)."""
        return [name for name in self.fast.get_added_vocab() if name in text]


def word_tokenizer(words: Sequence[str], positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word, the special tokens of Janus-Pro, and no merges.

    Args:
        words: lower-case words; ids follow this order, so a given vocabulary has given ids.
        positions: longest sequence, tokens.
    """
    entries = dict.fromkeys((*SPECIALS, UNKNOWN, *PUNCTUATION, *(word.lower() for word in words)))
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    backend.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in (*SPECIALS, UNKNOWN)]
    )
    fast: PreTrainedTokenizerFast = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
    )
    return fast
