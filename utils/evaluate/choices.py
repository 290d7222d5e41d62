"""Multiple choice by likelihood: the model scores each given answer, and the best one is taken.

What the scores are divided by before they are compared (nothing, tokens, characters) decides which
answers win; see `choose`.

Shapes: N pairs of a prompt and a continuation, B of them at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from utils.model.generate import evaluating


class Scored(NamedTuple):
    """One possible answer as a model sees it."""

    logprob: float  # of all its tokens after the prompt, in nats
    n_tokens: int
    n_characters: int


def continuation_logprobs(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    batch_size: int = 64,
) -> Tensor:
    """Return the log-probability of each continuation after its prompt.

    Args:
        model: `model(token_ids) -> logits`; its mode is restored.
        prompts: N rows of token ids, none empty.
        continuations: N rows of token ids.
        batch_size: B.

    Returns:
        (N,) sums over tokens in nats; 0 for an empty continuation.

    Raises:
        ValueError: for different numbers of both, or an empty prompt.

    >>> guess = nn.Embedding.from_pretrained(torch.zeros(4, 4))  # all of four tokens equally likely
    >>> continuation_logprobs(guess, [[0], [1, 2]], [[1, 2], [3]]).exp()  # 1/16 and 1/4
    tensor([0.0625, 0.2500])
    """
    return score_continuations(model, prompts, continuations, batch_size)[0]


def score_continuations(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of each continuation, and which of them a greedy model writes.

    Rows of unlike lengths are filled up on the right, where a causal model does not look. Arguments
    and errors are those of `continuation_logprobs`.

    Returns:
        (N,) sums over tokens in nats, and (N,) bool: no other token is likelier at any place.

    >>> guess = nn.Embedding.from_pretrained(torch.eye(3))  # each token is likeliest after itself
    >>> score_continuations(guess, [[0], [0]], [[0, 0], [0, 1]])[1]
    tensor([ True, False])
    """
    if len(prompts) != len(continuations):
        raise ValueError(f"got {len(prompts)} prompts and {len(continuations)} continuations")
    if not all(len(prompt) for prompt in prompts):
        raise ValueError("a prompt is empty: begin it with the end token, as documents do")
    rows = [[*p, *c] for p, c in zip(prompts, continuations, strict=True)]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # the less padding, the less work
    found, greedy = torch.zeros(len(rows)), torch.ones(len(rows), dtype=torch.bool)
    device = next(model.parameters()).device
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            chosen = order[start : start + batch_size]
            longest = max(len(rows[i]) for i in chosen)
            ids = torch.tensor([rows[i] + [0] * (longest - len(rows[i])) for i in chosen])
            ids = ids.to(device)  # (B, T)
            logprobs = model(ids[:, :-1]).log_softmax(-1)  # (B, T - 1, V)
            own = logprobs.gather(-1, ids[:, 1:, None])[..., 0]  # (B, T - 1)
            likeliest = own == logprobs.amax(-1)  # (B, T - 1)
            for k, i in enumerate(chosen):
                answer = slice(len(prompts[i]) - 1, len(rows[i]) - 1)
                found[i], greedy[i] = own[k, answer].sum(), likeliest[k, answer].all()
    return found, greedy


def choose(scored: Sequence[Scored], per: str = "answer") -> int:
    """Return the place of the best answer: by log-probability per answer, token or character.

    lm-evaluation-harness calls the first `acc` and the last `acc_norm`.

    Raises:
        ValueError: for no answers, or another `per`.

    >>> short, long = Scored(-4.0, 2, 5), Scored(-6.0, 6, 10)
    >>> [choose([short, long], per) for per in ("answer", "token", "character")]
    [0, 1, 1]
    """
    if not scored:
        raise ValueError("there is no answer to choose from")
    lengths = {
        "answer": [1 for _ in scored],
        "token": [max(1, s.n_tokens) for s in scored],
        "character": [max(1, s.n_characters) for s in scored],
    }
    if per not in lengths:
        raise ValueError(f"per must be one of {', '.join(lengths)}, got {per!r}")
    shares = [s.logprob / n for s, n in zip(scored, lengths[per], strict=True)]
    return max(range(len(shares)), key=lambda i: shares[i])
