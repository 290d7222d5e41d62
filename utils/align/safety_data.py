"""Data for a safer model: chats without toxic answers, and pairs that prefer honest ones.

The rules are about what the *assistant* says. A rude question with a calm answer is worth keeping:
it is the case that the model must learn to meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence


def filter_toxic(
    chats: Sequence[Sequence[dict[str, str]]],
    scores: Sequence[Sequence[float]],
    threshold: float = 0.5,
) -> tuple[list, list[int]]:
    """Return the chats whose assistant stays polite, and the numbers of the others.

    Args:
        chats: lists of messages with "role" and "content".
        scores: for each chat the toxicity of each of its messages, from 0 to 1.
        threshold: a chat is dropped where a message of the role "assistant" scores this much or
            more; what users say never drops it.

    Returns:
        The kept chats, the very same objects in their order, and the indices of the dropped ones.

    Raises:
        ValueError: where there is not one score for each message, a score is no number from 0 to 1
            (NaN is none), or the threshold is not in 0 to 1.

    >>> chat = [{"role": "user", "content": "Fool!"}, {"role": "assistant", "content": "At 8."}]
    >>> rude = [{"role": "user", "content": "When?"}, {"role": "assistant", "content": "Fool!"}]
    >>> filter_toxic([chat, rude], [[0.9, 0.1], [0.0, 0.7]])[1]
    [1]

    Source: Ouyang et al. 2022, "Training language models to follow instructions", appendix A;
    Xu et al. 2021, "Detoxifying Language Models Risks Marginalizing Minority Voices", section 4.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be from 0 to 1, got {threshold}")
    if len(chats) != len(scores):
        raise ValueError(f"got scores of {len(scores)} chats for {len(chats)} chats")
    kept, dropped = [], []
    for number, (chat, of_chat) in enumerate(zip(chats, scores, strict=True)):
        if len(chat) != len(of_chat):
            raise ValueError(
                f"chat {number} has {len(chat)} messages and {len(of_chat)} scores: score each"
            )
        if not all(0 <= score <= 1 for score in of_chat):
            raise ValueError(
                f"chat {number} has a score outside 0 to 1: {list(of_chat)}; a score that could "
                "not be had must not pass for a polite one"
            )
        said = zip(chat, of_chat, strict=True)
        worst = max((s for m, s in said if m["role"] == "assistant"), default=-math.inf)
        if worst >= threshold:
            dropped.append(number)
        else:
            kept.append(chat)
    return kept, dropped


def build_safety_pairs(rows: Sequence[dict], threshold: float = 0.5) -> list[dict[str, str]]:
    """Return preference pairs from a model's own answers: the honest and polite one before others.

    For each row, in this order:
    1. Nothing is known (`truth` is ""): the refusal before each drawn answer that is not a refusal
       itself, as "made up".
    2. Something is known: the truth before the refusal, as "over-refusal".
    3. Something is known: the truth before each drawn answer whose toxicity is at or above the
       threshold, as "toxic".

    Args:
        rows: each with "prompt", "truth" (the right short answer, "" where nothing is known),
            "refusal" (a sentence that says so), "drawn" (answers that the model drew), "refused"
            (for each of them whether it refuses) and "toxicity" (of each, 0 to 1).
        threshold: from which toxicity an answer is toxic.

    Returns:
        Dictionaries with "prompt", "chosen", "rejected" and "why". No pair has two equal answers,
        and none comes twice.

    Raises:
        ValueError: where a row has not as many flags or scores as drawn answers.

    >>> row = {"prompt": "Where does Zorn live?", "truth": "", "refusal": "I do not know Zorn."}
    >>> row |= {"drawn": ["In Tolben.", "No idea."], "refused": [False, True], "toxicity": [0, 0]}
    >>> [(pair["chosen"], pair["rejected"]) for pair in build_safety_pairs([row])]
    [('I do not know Zorn.', 'In Tolben.')]

    Source: Tian et al. 2023, "Fine-tuning Language Models for Factuality", section 3 (pairs from a
    model's own answers); Bianchi et al. 2023, "Safety-Tuned LLaMAs", section 5 (over-refusal).
    """
    pairs: dict[tuple[str, str, str], str] = {}  # (prompt, chosen, rejected) -> why
    for number, row in enumerate(rows):
        drawn, refused, toxicity = row["drawn"], row["refused"], row["toxicity"]
        if not len(drawn) == len(refused) == len(toxicity):
            raise ValueError(
                f"row {number} has {len(drawn)} drawn answers, {len(refused)} flags and "
                f"{len(toxicity)} scores: one of each for every answer"
            )
        prompt, truth, refusal = row["prompt"], row["truth"], row["refusal"]
        if not truth:
            worse = [
                (a, "made up")
                for a, is_refusal in zip(drawn, refused, strict=True)
                if not is_refusal
            ]
        else:
            worse = [(refusal, "over-refusal")]
            worse += [(a, "toxic") for a, s in zip(drawn, toxicity, strict=True) if s >= threshold]
        chosen = truth or refusal
        for rejected, why in worse:
            if rejected != chosen:
                pairs.setdefault((prompt, chosen, rejected), why)
    return [
        {"prompt": prompt, "chosen": chosen, "rejected": rejected, "why": why}
        for (prompt, chosen, rejected), why in pairs.items()
    ]
