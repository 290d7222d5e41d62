"""A trained byte-pair vocabulary with special tokens: text to ids and back, saved as one JSON file.

Ids: bytes, merges, then the special tokens. Text never becomes a special token: a text that spells
"<|end|>" is encoded as those seven characters. Bulk encoding runs in the `tokenizers` library, with
our merges; tests hold it equal to `bpe.encode`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from utils.tokens.bpe import N_BYTES, Pair, count_words, decode, to_bytes, train_bpe
from utils.tokens.pretokenize import WORD_PATTERN, split_words
from utils.tokens.special import ASSISTANT, END, PAD, SPECIAL_TOKENS, USER

CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    + USER
    + "{{ message['content'] }}{% else %}"
    + ASSISTANT
    + "{% generation %}{{ message['content'] + '"
    + END
    + "' }}{% endgeneration %}{% endif %}{% endfor %}"
    + "{% if add_generation_prompt %}"
    + ASSISTANT
    + "{% endif %}"
)


def printable_bytes() -> list[str]:
    """Return a printable character for each byte, the one that GPT-2's byte-level files use.

    >>> printable_bytes()[65], printable_bytes()[32]
    ('A', 'Ġ')
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(N_BYTES)]


class Tokenizer:
    """Byte-pair merges with the course's special tokens behind them.

    >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=264)
    >>> tokenizer.decode(tokenizer.encode("lowest!"))
    'lowest!'
    >>> tokenizer.vocab_size, tokenizer.end_id
    (264, 261)
    """

    def __init__(self, merges: Sequence[Pair]):
        self.merges: list[Pair] = [(int(left), int(right)) for left, right in merges]
        n_plain = N_BYTES + len(self.merges)
        for rank, pair in enumerate(self.merges):
            if not all(0 <= part < N_BYTES + rank for part in pair):
                raise ValueError(f"merge {rank} joins {pair}, which is not made before it")
        self.special = {token: n_plain + k for k, token in enumerate(SPECIAL_TOKENS)}
        self.pad_id, self.end_id = self.special[PAD], self.special[END]
        self.user_id, self.assistant_id = self.special[USER], self.special[ASSISTANT]
        self.vocab_size = n_plain + len(SPECIAL_TOKENS)
        self._backend = self._build_backend()

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn merges from texts; special tokens are part of `vocab_size`.

        Raises:
            ValueError: where the texts are empty, or vocab_size leaves no room for the bytes.
        """
        least = N_BYTES + len(SPECIAL_TOKENS)
        if vocab_size < least:
            raise ValueError(f"vocab_size must be at least {least}, got {vocab_size}")
        words = count_words(texts)
        if not words:
            raise ValueError("texts hold no word to learn from: give one text that is not empty")
        return cls(train_bpe(words, vocab_size - len(SPECIAL_TOKENS)))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; none of them is special."""
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each text.

        Raises:
            ValueError: for a lone surrogate.
        """
        words = []
        for text in texts:
            to_bytes(text)
            words.append(split_words(text))
        encodings = self._backend.encode_batch_fast(words, is_pretokenized=True)
        return [encoding.ids for encoding in encodings]

    def decode(self, token_ids: Iterable[int], skip_special: bool = True) -> str:
        """Return the text of token ids; special tokens are left out or spelt.

        Raises:
            ValueError: for an id outside the vocabulary.
        """
        first = self.pad_id
        parts: list[str] = []
        run: list[int] = []
        for token_id in [int(i) for i in token_ids]:
            if first <= token_id < self.vocab_size:
                parts += [decode(run, self.merges), SPECIAL_TOKENS[token_id - first]]
                run = []
            else:
                run.append(token_id)
        parts.append(decode(run, self.merges))
        return "".join(parts[::2] if skip_special else parts)

    def tokens(self, token_ids: Iterable[int]) -> list[str]:
        """Return each token as a short text for figures; bytes of half a character as U+FFFD."""
        return [self.decode([token_id], skip_special=False) for token_id in token_ids]

    def save(self, path: Path | str) -> None:
        """Write the vocabulary to a JSON file, whole or not at all."""
        path = Path(path)
        content = {"kind": "byte-level BPE", "special": list(SPECIAL_TOKENS), "merges": self.merges}
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(content) + "\n", encoding="utf-8")
        os.replace(new, path)

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read a vocabulary that `save` wrote.

        Raises:
            ValueError: where the file is no such vocabulary.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            special, merges = content["special"], content["merges"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is no tokenizer of the course: {error!r}") from None
        if tuple(special) != SPECIAL_TOKENS:
            raise ValueError(f"{path} has special tokens {special}, expected {SPECIAL_TOKENS}")
        return cls([tuple(pair) for pair in merges])

    def to_hugging_face(self):
        """Return a PreTrainedTokenizerFast with the same ids, specials and a chat template."""
        from transformers import PreTrainedTokenizerFast

        backend = self._build_backend(split=True)
        backend.add_special_tokens(list(SPECIAL_TOKENS))
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            pad_token=PAD,
            eos_token=END,
            extra_special_tokens=[USER, ASSISTANT],
            chat_template=CHAT_TEMPLATE,
            clean_up_tokenization_spaces=False,
        )

    def _build_backend(self, split: bool = False) -> tokenizers.Tokenizer:
        names = printable_bytes()
        vocabulary = {name: byte for byte, name in enumerate(names)}
        merges = []
        for left, right in self.merges:
            merges.append((names[left], names[right]))
            names.append(names[left] + names[right])
            vocabulary[names[-1]] = len(names) - 1
        backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        steps = [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        if split:
            steps.insert(0, pre_tokenizers.Split(tokenizers.Regex(WORD_PATTERN), "isolated"))
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
        backend.decoder = decoders.ByteLevel()
        return backend
