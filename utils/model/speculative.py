"""Speculative decoding: a small model proposes tokens, a large one checks several in one pass.

The result follows the large model's distribution exactly. Left out on purpose: rows in a batch, and
trees of proposals.

Shapes: T tokens, V vocabulary, G proposed tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from utils.model.cache import KVCache
from utils.model.decoder import Decoder
from utils.model.generate import evaluating
from utils.model.sampling import check_logits, check_settings, over_temperature

Model = Callable[[Tensor], Tensor]  # token_ids (1, T) -> logits (1, T, V)


class Speculation(NamedTuple):
    """What `speculative_decode` wrote, and what it cost."""

    token_ids: Tensor  # (T + new,) int64, the prompt first
    n_target_passes: int
    n_accepted: int  # proposed tokens that stand in the result


def probabilities(model: Model, token_ids: Tensor, n_last: int, temperature: float) -> Tensor:
    """Return a model's distribution after each of the last `n_last` tokens of a row, (n_last, V).

    At temperature 0 the most likely token has all of it.

    >>> table = torch.tensor([[0.0, 0.0], [0.0, 9.0]])
    >>> probabilities(lambda ids: table[ids], torch.tensor([0, 1]), n_last=1, temperature=0.0)
    tensor([[0., 1.]])
    """
    check_settings(temperature, None, None)
    logits = model(token_ids.unsqueeze(0))[0, -n_last:].float()  # (n_last, V)
    check_logits(logits)
    if temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    return over_temperature(logits, temperature).softmax(-1)


def speculative_decode(
    target: Model,
    draft: Model,
    token_ids: Tensor,
    max_new_tokens: int,
    *,
    n_draft: int = 4,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
    end_id: int | None = None,
) -> Speculation:
    """Return text that follows the target's distribution, most of it proposed by the draft.

    Each round the draft writes up to `n_draft` tokens, at most one fewer than are still wanted.
    One pass of the target gives its distribution p at all of these places, and at the one after.
    From the first on, a proposed token x, drawn from the draft's q, is kept with probability
    min(1, p(x) / q(x)). The first that is not kept is drawn again from max(0, p - q), scaled to a
    sum of 1, and the round ends. If all are kept, one more token is drawn from p at the last place.

    Args:
        target, draft: token_ids (1, T) -> logits (1, T, V), with one vocabulary.
        token_ids: (T,) the prompt.
        max_new_tokens: most tokens to write.
        n_draft: G, tokens proposed in a round.
        temperature: of both models; 0 gives the target's greedy text.
        generator: source of randomness.
        end_id: nothing is written after this token; one in the prompt ends nothing.

    Returns:
        Prompt and new tokens (T + new,), how often the target was called, and how many of the
        draft's tokens stand in the result.

    Raises:
        ValueError: for an empty prompt or one that is no row, n_draft or max_new_tokens below 1, a
            negative temperature, or logits that hold NaN or infinity.

    >>> table = torch.tensor([[0.0, 9.0, 0.0], [0.0, 0.0, 9.0], [9.0, 0.0, 0.0]])
    >>> def count(ids): return table[ids]
    >>> speculative_decode(count, count, torch.tensor([0]), 5, temperature=0.0)
    Speculation(token_ids=tensor([0, 1, 2, 0, 1, 2]), n_target_passes=1, n_accepted=4)

    Source: Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding",
    algorithm 1.
    """
    if token_ids.ndim != 1 or len(token_ids) < 1:
        raise ValueError(f"token_ids must be a row (T,) of a prompt, got {tuple(token_ids.shape)}")
    if n_draft < 1 or max_new_tokens < 1:
        raise ValueError(
            f"n_draft and max_new_tokens must be at least 1, got {n_draft} and {max_new_tokens}"
        )
    ids, last = token_ids, len(token_ids) + max_new_tokens
    n_passes = n_accepted = 0
    while len(ids) < last and not (n_passes and int(ids[-1]) == end_id):
        start, proposed, q = len(ids), ids, []
        for _ in range(min(n_draft, last - start - 1)):
            q.append(probabilities(draft, proposed, 1, temperature)[0])  # (V,)
            token = torch.multinomial(q[-1], 1, generator=generator)
            proposed = torch.cat([proposed, token])
        p = probabilities(target, proposed, len(q) + 1, temperature)  # (G + 1, V)
        n_passes += 1
        for k, token in enumerate(proposed[start:]):
            chance = torch.rand((), generator=generator, device=p.device)
            if chance * q[k][token] < p[k][token]:  # < keeps no token that p gives nothing
                ids, n_accepted = torch.cat([ids, token[None]]), n_accepted + 1
                if int(token) == end_id:
                    break
                continue
            rest = (p[k] - q[k]).clamp_min(0.0)  # multinomial scales it
            ids = torch.cat([ids, torch.multinomial(rest, 1, generator=generator)])
            break
        else:
            ids = torch.cat([ids, torch.multinomial(p[-1], 1, generator=generator)])
    return Speculation(ids, n_passes, n_accepted)


class CachedReader:
    """A decoder as a function of whole rows that runs only what it has not run before.

    It keeps the keys and values of the last row, goes back to the longest common beginning, and
    runs the tokens after it. Logits of what was read before are kept, too, so that the answer is
    that of the decoder. One row at a time.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> reader, ids = CachedReader(model), torch.tensor([[1, 2, 3, 4]])
    >>> _ = reader(ids[:, :3]), reader(ids)
    >>> reader.n_run  # 3 tokens, then one more
    4
    """

    def __init__(self, model: Decoder):
        weight = model.embedding.weight
        self.model = model
        self.cache = KVCache(
            model.config, 1, model.config.context_length, dtype=weight.dtype, device=weight.device
        )
        self.row = torch.empty(0, dtype=torch.int64, device=weight.device)  # what the cache holds
        self.logits = weight.new_empty(1, 0, model.config.vocab_size)
        self.n_run = 0  # tokens that went through the model

    def __call__(self, token_ids: Tensor) -> Tensor:
        """Return the logits (1, T, V) of a row (1, T)."""
        row = token_ids[0]
        n = min(len(row), len(self.row))
        differs = (row[:n] != self.row[:n]).nonzero()
        common = int(differs[0]) if len(differs) else n
        self.cache.length = common
        if common < len(row):
            with evaluating(self.model):
                new = self.model(token_ids[:, common:], self.cache)  # (1, T - common, V)
            self.n_run += len(row) - common
            self.logits = torch.cat([self.logits[:, :common], new], dim=1)
        self.row = row.clone()
        return self.logits[:, : len(row)]
