"""Pairs of conversations that differ in their last answer alone, as HH-RLHF writes them.

Each of the two texts is a conversation in one string, with turns that begin with "Human:" and
"Assistant:". Which answer is better was said by people, and nothing here judges that.

Source: Bai et al. 2022, "Training a Helpful and Harmless Assistant", section 2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ROLES = {"Human": "user", "Assistant": "assistant"}
TURN = re.compile(r"\n\n(Human|Assistant):")


@dataclass(frozen=True)
class Conversations:
    """Messages that two answers follow, and which of them was preferred."""

    messages: tuple[dict[str, str], ...]
    chosen: str
    rejected: str

    @property
    def about(self) -> str:
        """What a split goes by: the first message, without capitals and spaces at will."""
        return " ".join(self.messages[0]["content"].casefold().split())


def messages_of(text: str) -> list[dict[str, str]]:
    r"""Return the turns of a conversation, with the roles of chat templates.

    Raises:
        ValueError: where it does not begin with a turn of "Human:", or turns don't alternate.

    >>> messages_of("\n\nHuman: Hi\n\nAssistant: Hello.")
    [{'role': 'user', 'content': 'Hi'}, {'role': 'assistant', 'content': 'Hello.'}]
    """
    before, *parts = TURN.split(text)
    found = [
        {"role": ROLES[name], "content": content.strip()}
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]
    wanted = ["user", "assistant"] * len(found)
    if before.strip() or not found or [m["role"] for m in found] != wanted[: len(found)]:
        raise ValueError(
            f"a conversation must be turns of 'Human:' and 'Assistant:', one after the other and "
            f"the first of 'Human:', each after an empty line; got {text[:40]!r}"
        )
    return found


def conversation_pairs(
    rows: Sequence[Mapping[str, str]],
) -> tuple[list[Conversations], dict[str, int]]:
    r"""Return the pairs that can be learned from, and how many rows were left out for what.

    Args:
        rows: each with the texts `chosen` and `rejected`.

    Returns:
        Pairs in the order of the rows, and counts: "no turns" (a text that `messages_of` refuses),
        "no last answer", "other messages" (the texts differ before the last answer), "no answer"
        (a blank one) and "same answer".

    Raises:
        KeyError: for a row without `chosen` or `rejected`.

    >>> row = {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes?", "rejected": "\n\nHuman: Hi"}
    >>> conversation_pairs([row])[1]["no last answer"]
    1
    """
    pairs = []
    reasons = ("no turns", "no last answer", "other messages", "no answer", "same answer")
    left_out = dict.fromkeys(reasons, 0)
    for row in rows:
        try:
            chosen, rejected = messages_of(row["chosen"]), messages_of(row["rejected"])
        except ValueError:
            left_out["no turns"] += 1
            continue
        a, b = chosen[-1], rejected[-1]
        if {a["role"], b["role"]} != {"assistant"}:
            left_out["no last answer"] += 1
        elif chosen[:-1] != rejected[:-1]:
            left_out["other messages"] += 1
        elif not a["content"] or not b["content"]:
            left_out["no answer"] += 1
        elif a["content"] == b["content"]:
            left_out["same answer"] += 1
        else:
            pairs.append(Conversations(tuple(chosen[:-1]), a["content"], b["content"]))
    return pairs, left_out
