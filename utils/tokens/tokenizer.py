"""A trained byte-pair vocabulary with special tokens: text to ids and back, saved as one JSON file.

Ids: bytes, merges, then the special tokens. Text never becomes a special token: a text that spells
"<|end|>" is encoded as those seven characters, so that no user can open or close a turn of a chat.
Words repeat, so each is merged once and remembered; the ids are those of `bpe.encode`, which goes
through all merges for each text and so is the slower way with a large vocabulary.
"""

from __future__ import annotations

import heapq
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import regex

from utils.tokens.bpe import count_words, train_bpe
from utils.tokens.pretokenize import WORD_PATTERN, split_words
from utils.tokens.special import ASSISTANT, END, PAD, SPECIAL_TOKENS, USER

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from utils.tokens.chat import ChatTokens

MAX_REMEMBERED_BYTES = 100_000_000  # of words and their ids; a page without spaces is one word

# Unicode keeps this code point free of any meaning. The template breaks what a message spells like
# a marker with it, and the twin's normaliser, which comes after the search for markers, drops it.
GUARD = "\ufdd0"
CONTENT = "message['content'] | replace('<|', '<" + GUARD + "|')"

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}"
    + USER
    + "{{ "
    + CONTENT
    + " }}"
    + "{% elif message['role'] == 'assistant' %}"
    + ASSISTANT
    + "{% generation %}{{ ("
    + CONTENT
    + ") + '"
    + END
    + "' }}{% endgeneration %}"
    + "{% else %}{{ raise_exception('role must be user or assistant') }}{% endif %}"
    + "{% endfor %}{% if add_generation_prompt %}"
    + ASSISTANT
    + "{% endif %}"
)


class Tokenizer:
    """Byte-pair merges with the course's special tokens behind them.

    >>> tokenizer = Tokenizer.train(["low lower lowest"], vocab_size=264)
    >>> tokenizer.decode(tokenizer.encode("lowest!"))
    'lowest!'
    >>> tokenizer.vocab_size, tokenizer.end_id
    (264, 261)
    """

    def __init__(self, merges: Sequence[tuple[int, int]]):
        self.merges = [(int(left), int(right)) for left, right in merges]
        self._pieces = [bytes([byte]) for byte in range(256)]  # id -> what it spells
        for k, (left, right) in enumerate(self.merges):
            if not (0 <= left < 256 + k and 0 <= right < 256 + k):
                raise ValueError(f"merge {k} joins {left} and {right}, expected ids made before it")
            self._pieces.append(self._pieces[left] + self._pieces[right])
        self.pad_id, self.end_id, self.user_id, self.assistant_id = (
            len(self._pieces) + k for k in range(len(SPECIAL_TOKENS))
        )
        self._pieces += [token.encode("utf-8") for token in SPECIAL_TOKENS]
        self._new_ids = {pair: 256 + k for k, pair in enumerate(self.merges)}
        self._remembered: dict[str, tuple[int, ...]] = {}
        self._remembered_bytes = 0

    @property
    def vocab_size(self) -> int:
        """How many ids there are: bytes, merges and special tokens."""
        return len(self._pieces)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Tokenizer:
        """Learn merges from texts; the special tokens are part of `vocab_size`.

        Where the texts hold too few pairs the vocabulary is smaller than asked for.

        Raises:
            ValueError: where the texts are empty, or `vocab_size` leaves no room for the bytes.
            TypeError: for one string instead of a list of strings.
        """
        least = 256 + len(SPECIAL_TOKENS)
        if vocab_size < least:
            raise ValueError(
                f"vocab_size must be at least {least} (256 bytes and {len(SPECIAL_TOKENS)} special "
                f"tokens), got {vocab_size}"
            )
        words = count_words(texts)
        if not words:
            raise ValueError("texts hold nothing to learn from: give one text that is not empty")
        return cls(train_bpe(words, vocab_size - len(SPECIAL_TOKENS)))

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; none of them is special.

        Raises:
            ValueError: for a lone surrogate, with its position.
        """
        token_ids: list[int] = []
        for word in split_words(text):
            ids = self._remembered.get(word)
            token_ids += self._merge(word) if ids is None else ids
        return token_ids

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, token_ids: Iterable[int], skip_special: bool = False) -> str:
        """Return the text of token ids; special tokens are spelt, or left out on demand.

        Bytes that are no valid UTF-8, such as half a character, become U+FFFD.

        Raises:
            ValueError: for an id outside the vocabulary.
        """
        ids = [int(token_id) for token_id in token_ids]
        if ids and not 0 <= min(ids) <= max(ids) < self.vocab_size:
            wrong = next(i for i in ids if not 0 <= i < self.vocab_size)
            raise ValueError(
                f"token id {wrong} is outside this vocabulary of {self.vocab_size}: the ids come "
                "from another tokenizer"
            )
        if skip_special:
            ids = [token_id for token_id in ids if token_id < self.pad_id]
        return b"".join([self._pieces[token_id] for token_id in ids]).decode("utf-8", "replace")

    def tokens(self, token_ids: Iterable[int]) -> list[str]:
        """Return each token as a text of its own; pieces of a character become U+FFFD."""
        return [self.decode([token_id]) for token_id in token_ids]

    def chat(self, messages: Sequence[dict[str, str]], add_prompt: bool = False) -> ChatTokens:
        """Return a chat as token ids with its response mask; see `utils.tokens.chat`."""
        from utils.tokens.chat import render_chat

        return render_chat(messages, self, add_prompt)

    def save(self, path: Path | str) -> None:
        """Write the vocabulary to a JSON file, whole or not at all."""
        path = Path(path)
        content = {"kind": "byte-level BPE", "special": SPECIAL_TOKENS, "merges": self.merges}
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(content) + "\n", encoding="utf-8", newline="\n")
        os.replace(new, path)

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Read a vocabulary that `save` wrote.

        Raises:
            ValueError: where the file is no such vocabulary.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            special, tokenizer = tuple(content["special"]), cls(content["merges"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is no tokenizer of the course ({type(error).__name__}: {error}): save it "
                "anew with Tokenizer.save"
            ) from None
        if special != SPECIAL_TOKENS:
            raise ValueError(f"{path} has special tokens {special}, expected {SPECIAL_TOKENS}")
        return tokenizer

    def to_hugging_face(self) -> PreTrainedTokenizerFast:
        """Return the same tokenizer for `transformers`, with a chat template.

        It gives the same ids for any text, with one difference by the design of that library: text
        that spells a special token becomes that token, unless `split_special_tokens=True`. In a
        chat it does not: the template keeps what a message spells apart from its own markers.
        (What does this, U+FDD0 between < and |, is left out of any text.)
        """
        import tokenizers
        from tokenizers import decoders, models, normalizers, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        letters = printable_bytes()
        names = ["".join(letters[byte] for byte in piece) for piece in self._pieces[: self.pad_id]]
        backend = tokenizers.Tokenizer(
            models.BPE(
                vocab={name: token_id for token_id, name in enumerate(names)},
                merges=[(names[left], names[right]) for left, right in self.merges],
            )
        )
        backend.normalizer = normalizers.Replace(tokenizers.Regex(rf"(?<=<){GUARD}(?=\|)"), "")
        words = pre_tokenizers.Split(tokenizers.Regex(portable_word_pattern()), "isolated")
        to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.pre_tokenizer = pre_tokenizers.Sequence([words, to_letters])
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens(list(SPECIAL_TOKENS))
        return PreTrainedTokenizerFast(
            tokenizer_object=backend,
            pad_token=PAD,
            eos_token=END,
            extra_special_tokens=[USER, ASSISTANT],
            chat_template=CHAT_TEMPLATE,
            clean_up_tokenization_spaces=False,
        )

    def _merge(self, word: str) -> tuple[int, ...]:
        """Return the ids of one word, and remember them where they take little room."""
        ids = merge_word(word.encode("utf-8"), self._new_ids)
        n_bytes = sys.getsizeof(word) + sys.getsizeof(ids) + 100  # and a place in the dictionary
        if n_bytes > MAX_REMEMBERED_BYTES // 100:
            return ids  # long words hardly repeat, and would push out the short ones
        if self._remembered_bytes + n_bytes > MAX_REMEMBERED_BYTES:
            self._remembered.clear()
            self._remembered_bytes = 0
        self._remembered[word] = ids
        self._remembered_bytes += n_bytes
        return ids


def merge_word(word: Sequence[int], new_ids: Mapping[tuple[int, int], int]) -> tuple[int, ...]:
    """Return the ids of a word of any length, without going over it again for each merge.

    A heap holds the pairs that can be joined, the earliest merge first and of equal ones the one on
    the left. Joining two tokens concerns their neighbours alone, so n bytes take n log n steps.

    Args:
        word: its bytes.
        new_ids: what each pair becomes; a pair of ids is joined to a larger id.

    >>> merge_word(b"abc", {(98, 99): 256, (97, 98): 257})
    (97, 256)
    """
    none = -1  # behind the last token (and so before the first), and in place of a joined one
    ids = [*word, none]
    before, after = list(range(-1, len(word))), list(range(1, len(word) + 2))
    heap = [(new_ids[pair], i) for i, pair in enumerate(pairwise(word)) if pair in new_ids]
    heapq.heapify(heap)
    while heap:
        new_id, place = heapq.heappop(heap)
        second = after[place]
        if new_ids.get((ids[place], ids[second])) != new_id:
            continue  # stale: one of the two has been joined to another token since
        first, last = before[place], after[second]
        ids[place], ids[second] = new_id, none
        after[place], before[last] = last, place
        for left, right in ((first, place), (place, last)):
            pair = ids[left], ids[right]
            if pair in new_ids:
                heapq.heappush(heap, (new_ids[pair], left))
    return tuple(token_id for token_id in ids if token_id != none)


def printable_bytes() -> list[str]:
    """Return a printable character for each byte, the ones that GPT-2's byte-level files use.

    >>> printable_bytes()[65], printable_bytes()[32]
    ('A', 'Ġ')
    """
    plain = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


@cache
def portable_word_pattern() -> str:
    """Return `WORD_PATTERN` with letters and numbers spelt as ranges of code points.

    Which characters are letters depends on the Unicode version of the regular-expression engine,
    and `regex` knows newer ones than the engine in `tokenizers`.
    """
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    pattern = WORD_PATTERN
    for name in (r"\p{L}", r"\p{N}"):
        runs = [run.group() for run in regex.finditer(f"{name}+", every)]
        ranges = "".join(rf"\x{{{ord(run[0]):x}}}-\x{{{ord(run[-1]):x}}}" for run in runs)
        pattern = pattern.replace(f"?{name}", f"?[{ranges}]").replace(name, ranges)
    return pattern
