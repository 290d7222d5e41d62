"""Rollouts: responses that a policy wrote, with all that learning from them needs.

This is the one place where responses are drawn, padded and scored by the policy that drew them. All
tensors of a rollout are aligned to `targets`: `logits[b, t]` predicts `targets[b, t]`, and
`response_mask[b, t]` says whether that target is part of the response. The end token is, since the
policy decides to write it; padding and the prompt are not.

Shapes: B batch, T tokens of the longest prompt with its response, less one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from utils.align.logprobs import token_logprobs
from utils.model.decoder import Decoder
from utils.model.generate import evaluating, generate_batch


@dataclass(frozen=True)
class Rollouts:
    """Prompts with the responses that a policy drew.

    Args:
        prompts: token ids of each prompt.
        responses: token ids of each response, without its end token.
        ended: (B,) bool; False where the response was cut at the limit before it ended.
        token_ids: (B, T) what the model reads, padded on the right.
        targets: (B, T) the token after each.
        response_mask: (B, T) bool, True where the target belongs to the response, its end token
            included.
        logprobs: (B, T) log-probability of each target under the policy that drew it, at the
            temperature that it was drawn at; 0 outside the response.
    """

    prompts: list[list[int]]
    responses: list[list[int]]
    ended: Tensor
    token_ids: Tensor
    targets: Tensor
    response_mask: Tensor
    logprobs: Tensor

    @property
    def lengths(self) -> Tensor:
        """(B,) tokens of each response, its end token included."""
        return self.response_mask.sum(dim=1)

    @property
    def last(self) -> Tensor:
        """(B,) place of each response's last target, where a reward for all of it belongs."""
        T = self.response_mask.shape[1]
        places = torch.arange(T, device=self.response_mask.device)
        return places.where(self.response_mask, -1).amax(dim=1)


def response_batch(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return prompts with responses as inputs, targets and the mask of the responses.

    Args:
        prompts: token ids, one at least in each.
        responses: token ids as they are to be scored, one at least in each: with the end token
            where the response ended, without it where it was cut.
        pad_id: fills the rows on the right; it is never kept by the mask, even where it is the
            end token, too.

    Returns:
        token_ids, targets (B, T) int64 and response_mask (B, T) bool.

    Raises:
        ValueError: for no rows, unequal numbers of rows, an empty prompt or an empty response.

    >>> response_batch([[5, 6]], [[7, 0]], pad_id=0)
    (tensor([[5, 6, 7]]), tensor([[6, 7, 0]]), tensor([[False,  True,  True]]))
    """
    if not prompts or len(prompts) != len(responses):
        raise ValueError(
            f"got {len(prompts)} prompts and {len(responses)} responses: give as many of one as of "
            "the other, and one at least"
        )
    rows, masks = [], []
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        if not len(prompt) or not len(response):
            what = "response" if len(prompt) else "prompt"
            raise ValueError(
                f"{what} {number} is empty: a prompt and a response need one token at least, and a "
                "response that says nothing still has its end token"
            )
        rows.append(torch.tensor([*prompt, *response], dtype=torch.int64))
        masks.append(torch.tensor([False] * len(prompt) + [True] * len(response)))
    token_ids = pad_sequence(rows, batch_first=True, padding_value=pad_id)  # (B, T + 1)
    mask = pad_sequence(masks, batch_first=True)  # padded with False
    return token_ids[:, :-1], token_ids[:, 1:], mask[:, 1:]


def response_logprobs(
    model: Decoder,
    token_ids: Tensor,
    targets: Tensor,
    response_mask: Tensor,
    temperature: float = 1.0,
) -> Tensor:
    """Return a model's log-probability of each target of the responses, 0 elsewhere.

    Args:
        model: a decoder; gradients flow unless the caller stops them.
        token_ids, targets, response_mask: (B, T), as `response_batch` gives them.
        temperature: that of the sampling.

    Returns:
        (B, T) in nats.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=5, context_length=4, d_model=8, n_layers=1))
    >>> response_logprobs(model, *response_batch([[1]], [[2, 3]], pad_id=0)).shape
    torch.Size([1, 2])
    """
    logprobs = token_logprobs(model(token_ids), targets, temperature)
    return logprobs.masked_fill(~response_mask, 0.0)


def draw_rollouts(
    policy: Decoder,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    *,
    pad_id: int,
    end_id: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Rollouts:
    """Draw one response to each prompt and score it under the policy that drew it.

    Tokens are drawn from the whole distribution: a filter such as top-p would make the
    log-probabilities those of another policy. They are computed by the same pass as in training,
    so that before the first update every ratio is 1.

    Args:
        policy: a decoder; it is put back into the mode it was in.
        prompts: token ids; repeat a prompt to draw several responses to it.
        max_new_tokens: most tokens of a response; one that is cut there has no end token.
        temperature: of the sampling and of the log-probabilities.
        generator: of the draws.

    Raises:
        ValueError: for no prompts, an empty one, a temperature that is not positive, or where
            prompt and response exceed the context.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}: rollouts are drawn")
    prompts = [list(prompt) for prompt in prompts]
    if not prompts:
        raise ValueError("prompts is empty: give one prompt at least")
    responses = generate_batch(
        policy,
        prompts,
        max_new_tokens,
        pad_id=pad_id,
        end_id=end_id,
        temperature=temperature,
        generator=generator,
    )
    ended = [len(response) < max_new_tokens for response in responses]
    closed = [r + [end_id] if e else r for r, e in zip(responses, ended, strict=True)]
    device = policy.embedding.weight.device
    batch = [tensor.to(device) for tensor in response_batch(prompts, closed, pad_id)]
    with evaluating(policy):
        logprobs = response_logprobs(policy, *batch, temperature)
    return Rollouts(
        prompts, responses, torch.tensor(ended, device=device), *batch, logprobs.clone()
    )
