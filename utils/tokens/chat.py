"""Chats as token ids: who speaks is a special token, and a mask says which tokens are the response.

A turn of the user is <|user|> and the text; a turn of the assistant is <|assistant|>, the text and
<|end|>. The mask is aligned to the ids: True for the assistant's text and its end token, which are
what a model is trained to write.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from utils.tokens.tokenizer import Tokenizer

ROLES = ("user", "assistant")


class ChatTokens(NamedTuple):
    """Token ids of a chat and, for each, whether the model should learn to write it."""

    token_ids: list[int]
    response_mask: list[bool]


def render_chat(
    messages: Sequence[dict[str, str]], tokenizer: Tokenizer, add_prompt: bool = False
) -> ChatTokens:
    """Return a chat as token ids with its response mask.

    Args:
        messages: [{"role": "user" or "assistant", "content": text}, ...].
        add_prompt: end with <|assistant|>, so that the model answers next.

    Raises:
        ValueError: for an empty chat, an unknown role or a message without content.

    >>> tokenizer = Tokenizer([])
    >>> chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    >>> ids, mask = render_chat(chat, tokenizer)
    >>> tokenizer.decode(ids), mask
    ('<|user|>a<|assistant|>b<|end|>', [False, False, False, True, True])
    """
    if not messages:
        raise ValueError("messages is empty: a chat has one message at least")
    token_ids: list[int] = []
    response_mask: list[bool] = []
    for number, message in enumerate(messages):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ValueError(
                f"message {number} must have a role in {ROLES} and a text as content, got "
                f"role {role!r} and content {content!r}"
            )
        ids = tokenizer.encode(content)
        if role == "user":
            token_ids += [tokenizer.user_id, *ids]
            response_mask += [False] * (len(ids) + 1)
        else:
            token_ids += [tokenizer.assistant_id, *ids, tokenizer.end_id]
            response_mask += [False] + [True] * (len(ids) + 1)
    if add_prompt:
        token_ids.append(tokenizer.assistant_id)
        response_mask.append(False)
    return ChatTokens(token_ids, response_mask)
