"""Chats as token ids: who speaks is a special token, and a mask says which tokens are the response.

A turn of the user is <|user|> and the text; a turn of the assistant is <|assistant|>, the text and
<|end|>. The mask is aligned to the ids: True for the assistant's text and its end token, which are
what a model is trained to write. The markup has no marker of its own for a system text, which base
models have never seen: it is said at the beginning of the first user's turn, before an empty line.
So a user can imitate a system text, as in any markup without a marker; no text can open a turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from utils.tokens.tokenizer import Tokenizer

if TYPE_CHECKING:
    from utils.tokens.pretrained import PretrainedTokenizer

ROLES = ("user", "assistant")
AFTER_SYSTEM = "\n\n"  # between the system's text and the user's


class ChatTokens(NamedTuple):
    """Token ids of a chat and, for each, whether the model should learn to write it."""

    token_ids: list[int]
    response_mask: list[bool]


def render_chat(
    messages: Sequence[dict[str, str]], tokenizer: Tokenizer, add_prompt: bool = False
) -> ChatTokens:
    """Return a chat as token ids with its response mask.

    A turn of the user is <|user|> and the text; a turn of the assistant is <|assistant|>, the text
    and <|end|>. Whatever a text spells stays text: one that reads "<|end|>" closes nothing.

    Args:
        messages: [{"role": "user" or "assistant", "content": text}, ...] of any number of turns; a
            message of the role "system" may come first (see `fold_system`).
        add_prompt: end with <|assistant|>, so that the model answers next.

    Raises:
        ValueError: for an empty chat, an unknown role, a message whose content is missing or no
            text (an empty one is), or a system text that is not followed by a user's message.

    >>> tokenizer = Tokenizer([])
    >>> chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    >>> ids, mask = render_chat(chat, tokenizer)
    >>> tokenizer.decode(ids), mask
    ('<|user|>a<|assistant|>b<|end|>', [False, False, False, True, True])
    """
    if not messages:
        raise ValueError("messages is empty: a chat has one message at least")
    token_ids: list[int] = []
    folded = fold_system(messages)
    for number, message in enumerate(folded, start=len(messages) - len(folded)):
        role, content = message.get("role"), message.get("content")
        if role not in ROLES or not isinstance(content, str):
            raise ValueError(
                f"message {number} must have a role in {ROLES} and a text as content, got "
                f"role {role!r} and content {content!r}"
            )
        if role == "user":
            token_ids += [tokenizer.user_id, *tokenizer.encode(content)]
        else:
            token_ids += [tokenizer.assistant_id, *tokenizer.encode(content), tokenizer.end_id]
    if add_prompt:
        token_ids.append(tokenizer.assistant_id)
    mask = response_mask(token_ids, tokenizer.assistant_id, tokenizer.end_id)
    return ChatTokens(token_ids, mask)


def response_mask(token_ids: Sequence[int], assistant_id: int, end_id: int) -> list[bool]:
    """Return which tokens of a chat the assistant wrote, and so a model should learn to write.

    Those are the tokens after each <|assistant|> up to and with the <|end|> that closes its turn.
    The user's turns, the markers that open a turn, and all that follows an <|end|>, such as padding
    with the same token, are not among them.

    Args:
        token_ids: of a chat; special tokens are only where the markup put them.
        assistant_id: the token that opens a turn of the assistant.
        end_id: the token that closes it.

    Returns:
        One bool for each token. An answer without its end token counts up to the last token.

    >>> response_mask([1, 50, 2, 60, 61, 0, 0, 1, 51, 2, 62, 0], assistant_id=2, end_id=0)
    [False, False, False, True, True, True, False, False, False, False, True, True]

    Source: Touvron et al. 2023, "Llama 2", section 3.1 (loss on answer tokens only).
    """
    mask, is_answer = [], False
    for token_id in token_ids:
        mask.append(is_answer)
        if token_id == assistant_id:
            is_answer = True
        elif token_id == end_id:
            is_answer = False
    return mask


def fold_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return a chat whose system text, if it has one, begins the first user's message.

    Args:
        messages: a chat; a message of the role "system" is the first and a user's follows it.

    Raises:
        ValueError: for a system text at another place, or without a user's message after it.

    >>> fold_system([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}])
    [{'role': 'user', 'content': 'Be kind.\\n\\nHi'}]

    Source: Touvron et al. 2023, "Llama 2", section 3.3 (instructions put into the user's turns).
    """
    places = [k for k, message in enumerate(messages) if message.get("role") == "system"]
    if not places:
        return list(messages)
    system, *rest = messages
    if places != [0] or not rest or rest[0].get("role") != "user":
        raise ValueError(
            f"message {places[-1]} has the role 'system': a chat has one system text at most, as "
            "its first message, and a user's message follows it. Move it there, or leave it out"
        )
    for number, message in enumerate(messages[:2]):
        if not isinstance(message.get("content"), str):
            raise ValueError(
                f"message {number} must have a text as content, got role {message['role']!r} and "
                f"content {message.get('content')!r}"
            )
    if not system["content"]:
        return rest
    first = {**rest[0], "content": system["content"] + AFTER_SYSTEM + rest[0]["content"]}
    return [first, *rest[1:]]


def training_messages(
    messages: Sequence[dict[str, str]], user_last: str = "refuse"
) -> list[dict[str, str]]:
    """Return a chat that ends with an answer, so that its last turn is one to learn from.

    Args:
        messages: a chat.
        user_last: what happens to a chat that ends with the user: "refuse" it, or "cut" what no
            answer follows.

    Raises:
        ValueError: for a chat that ends with the user and is to be refused, for one without any
            answer, and for another word in `user_last`.

    >>> chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    >>> training_messages([*chat, {"role": "user", "content": "c"}], user_last="cut") == chat
    True
    """
    if user_last not in ("refuse", "cut"):
        raise ValueError(f'user_last must be "refuse" or "cut", got {user_last!r}')
    answers = [k for k, message in enumerate(messages) if message.get("role") == "assistant"]
    if not answers:
        raise ValueError(
            f"the chat of {len(messages)} message(s) has no answer of the assistant, so there is "
            "nothing to learn from: leave it out"
        )
    last = answers[-1] + 1
    if last < len(messages) and user_last == "refuse":
        raise ValueError(
            f"message {len(messages) - 1} of role {messages[-1].get('role')!r} ends the chat and "
            'no answer follows it: pass user_last="cut" to train on what comes before, or leave '
            "the chat out"
        )
    return list(messages[:last])


def training_example(
    messages: Sequence[dict[str, str]],
    tokenizer: Tokenizer | PretrainedTokenizer,
    user_last: str = "refuse",
) -> ChatTokens:
    """Return a chat to learn from, after a look at the borders of its answers.

    A model is tuned on the whole chat and later asked with the prompt alone, so the prompt's ids
    must be the beginning of the chat's, the first token learned must be the one after them, and the
    last one the token at which generation stops.

    Args:
        messages: a chat.
        tokenizer: the course's own or that of a pretrained model; its `chat` renders.
        user_last: as in `training_messages`.

    Raises:
        ValueError: where prompt and answer are joined in one token, an answer is not closed by the
            tokenizer's end token, or there is no answer to learn from.

    >>> chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    >>> training_example(chat, Tokenizer([])) == render_chat(chat, Tokenizer([]))
    True
    """
    messages = training_messages(messages, user_last)
    token_ids, mask = chat = tokenizer.chat(messages)
    for number, message in enumerate(messages):
        if number == 0 or message["role"] != "assistant":
            continue
        prompt = tokenizer.chat(messages[:number], add_prompt=True).token_ids
        n = len(prompt)
        if token_ids[:n] != prompt or mask[n - 1] or not mask[n]:
            raise ValueError(
                f"message {number}, which begins with {message['content'][:10]!r}, does not start "
                "with a token of its own after the prompt, so the model would be tuned on other "
                "ids than it is asked with: take blanks off the beginning of the answer, or mend "
                "the chat template"
            )
        last = mask.index(False, n) - 1 if False in mask[n:] else len(mask) - 1
        if token_ids[last] != tokenizer.end_id:
            raise ValueError(
                f"message {number} is not closed by the end token (id {tokenizer.end_id}) as a "
                "token to learn, so a tuned model would never stop: mend the chat template or the "
                "tokenizer's end token"
            )
    return chat
