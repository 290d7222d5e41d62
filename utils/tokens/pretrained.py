"""The tokenizer of a pretrained model, with the same calls as the course's own.

The ids are those of the library `tokenizers`, which reads the model's tokenizer.json. Text never
becomes a special token: what spells "<|im_end|>" is encoded as the characters that it is, also
inside a chat, so that no user can open or close a turn.

Left out on purpose: training, padding, truncation, tools and documents in a chat.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer as Encoder

from utils.tokens.chat import ChatTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class PretrainedTokenizer:
    """A folder's tokenizer: text to ids and back, and chats by the model's own template.

    Args:
        folder: holds tokenizer.json, tokenizer_config.json and, for chats, a template.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: where no end token is named.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if not (self.folder / name).is_file():
                raise FileNotFoundError(f"{self.folder} holds no {name}: is it a model's folder?")
        self._encoder = Encoder.from_file(str(self.folder / "tokenizer.json"))
        self._encoder.encode_special_tokens = True  # text that spells one stays text
        self._encoder.no_padding()
        self._encoder.no_truncation()
        added = self._encoder.get_added_tokens_decoder()
        self.special_ids = frozenset(k for k, token in added.items() if token.special)
        settings = json.loads((self.folder / "tokenizer_config.json").read_text("utf-8"))
        end = token_text(settings.get("eos_token"))
        if end is None or self._encoder.token_to_id(end) is None:
            raise ValueError(f"{self.folder}: tokenizer_config.json names no eos_token it knows")
        self.end_id = self._encoder.token_to_id(end)
        pad = token_text(settings.get("pad_token"))
        self.pad_id = self.end_id if pad is None else self._encoder.token_to_id(pad)

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens included."""
        return self._encoder.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text; none of them is special.

        Raises:
            ValueError: for a lone surrogate, with its position.
        """
        return self._encode(text).ids

    def _encode(self, text: str):
        try:
            return self._encoder.encode(text, add_special_tokens=False)
        except (UnicodeEncodeError, TypeError):
            place = next((k for k, sign in enumerate(text) if 0xD800 <= ord(sign) < 0xE000), None)
            if place is None:
                raise
            raise ValueError(
                f"text has a lone surrogate {text[place]!r} at position {place}, half of a "
                "character: read the source with errors='replace', or take it out"
            ) from None

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the token ids of each text."""
        return [self.encode(text) for text in texts]

    def decode(self, token_ids: Iterable[int], skip_special: bool = False) -> str:
        """Return the text of token ids; special tokens are spelt, or left out on demand.

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
        return self._encoder.decode(ids, skip_special_tokens=skip_special)

    def tokens(self, token_ids: Iterable[int]) -> list[str]:
        """Return each token as a text of its own; pieces of a character become U+FFFD."""
        return [self.decode([token_id]) for token_id in token_ids]

    def token_id(self, token: str) -> int:
        """Return the id of a token as the vocabulary spells it, special ones included.

        Raises:
            KeyError: where there is no such token.
        """
        found = self._encoder.token_to_id(token)
        if found is None:
            raise KeyError(f"{token!r} is no token of {self.folder.name}")
        return found

    @cached_property
    def _twin(self) -> PreTrainedTokenizerFast:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.folder)

    def to_hugging_face(self) -> PreTrainedTokenizerFast:
        """Return the same tokenizer as `transformers` reads it."""
        return self._twin

    def chat(self, messages: Sequence[dict[str, str]], add_prompt: bool = False) -> ChatTokens:
        """Return a chat as token ids with its response mask, by the model's own template.

        The ids are those of `apply_chat_template`, except that what a message spells like a special
        token stays text. The mask is True for the assistant's text and the end token after it.

        Args:
            messages: [{"role": ..., "content": text}, ...], with the template's roles.
            add_prompt: end with what opens the assistant's turn, so that the model answers next.

        Raises:
            ValueError: for an empty chat, a message without role or content, no template, or a
                template that refuses the messages or changes what they say.
        """
        text, spans = self._render(messages, add_prompt)
        token_ids, response_mask, start = [], [], 0
        contents = [span for _, span in spans]
        for special, token_id in self._specials(text, contents):
            self._add_text(text, start, special[0], spans, token_ids, response_mask)
            token_ids.append(token_id)
            response_mask.append(any(r == "assistant" and s[1] == special[0] for r, s in spans))
            start = special[1]
        self._add_text(text, start, len(text), spans, token_ids, response_mask)
        return ChatTokens(token_ids, response_mask)

    def _add_text(self, text, start, stop, spans, token_ids, response_mask) -> None:
        """Append the tokens of text[start:stop], and which of them the assistant says."""
        if start == stop:
            return
        encoding = self._encode(text[start:stop])
        token_ids += encoding.ids
        for a, b in encoding.offsets:
            response_mask.append(
                any(
                    role == "assistant" and start + b > first and start + a < last
                    for role, (first, last) in spans
                )
            )

    def _specials(self, text: str, contents: list[tuple[int, int]]):
        """Yield ((start, stop), id) of the template's own special tokens, in order."""
        by_text = {
            token.content: k
            for k, token in self._encoder.get_added_tokens_decoder().items()
            if token.special
        }
        place = 0
        while place < len(text):
            inside = next((stop for start, stop in contents if start <= place < stop), None)
            if inside is not None:
                place = inside
                continue
            found = max(
                (token for token in by_text if text.startswith(token, place)), key=len, default=None
            )
            if found is None:
                place += 1
            else:
                yield (place, place + len(found)), by_text[found]
                place += len(found)

    def _render(
        self, messages: Sequence[dict[str, str]], add_prompt: bool
    ) -> tuple[str, list[tuple[str, tuple[int, int]]]]:
        """Return the chat as text, and for each message its role and where its content stands."""
        if not messages:
            raise ValueError("messages is empty: a chat has one message at least")
        for number, message in enumerate(messages):
            if not all(isinstance(message.get(key), str) for key in ("role", "content")):
                raise ValueError(f"message {number} must have a role and a text, got {message!r}")
        marks = [f"\ufdd0{number}\ufdd1" for number in range(len(messages))]
        marked = [
            {**message, "content": mark} for message, mark in zip(messages, marks, strict=True)
        ]
        shape = self._apply(marked, add_prompt)
        text, spans, start = "", [], 0
        for number, (message, mark) in enumerate(zip(messages, marks, strict=True)):
            place = shape.find(mark, start)
            if place < 0 or shape.count(mark) != 1:
                raise ValueError(f"the template does not show message {number} once, where it is")
            text += shape[start:place]
            spans.append((message["role"], (len(text), len(text) + len(message["content"]))))
            text += message["content"]
            start = place + len(mark)
        text += shape[start:]
        if self._apply(messages, add_prompt) != text:
            if any(message["content"] != message["content"].strip() for message in messages):
                stripped = [{**m, "content": m["content"].strip()} for m in messages]
                return self._render(stripped, add_prompt)
            raise ValueError("the template changes what the messages say: render them yourself")
        return text, spans

    def _apply(self, messages: Sequence[dict[str, str]], add_prompt: bool) -> str:
        """Return the template's text for messages."""
        import jinja2

        if not self._twin.chat_template:
            raise ValueError(f"{self.folder.name} has no chat template: it is a base model")
        try:
            return self._twin.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_prompt
            )
        except jinja2.exceptions.TemplateError as error:
            raise ValueError(f"the template refuses these messages: {error}") from None


def token_text(token: str | dict | None) -> str | None:
    """Return a token as tokenizer_config.json spells it: a text, or a dictionary with one.

    >>> token_text({"content": "</s>"}), token_text(None)
    ('</s>', None)
    """
    return token.get("content") if isinstance(token, dict) else token
