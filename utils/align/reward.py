"""A reward model: a decoder that gives a text one score instead of logits, learned from pairs.

The score is read at the last token, the only one that has seen the whole answer. Scores are
standardised once, before they are used as a reward: learning from pairs leaves their level and
their scale open.

Left out on purpose: scores per token (process rewards), and any use of the truth.

Shapes: B texts, T tokens, D d_model, P pairs.
Source: Stiennon et al. 2020, "Learning to summarize from human feedback", section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from utils.align.bradley_terry import bradley_terry_loss
from utils.model.decoder import Decoder
from utils.model.generate import evaluating
from utils.tokens.batches import Batch, check_step, epoch_order, hash_of
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine

if TYPE_CHECKING:
    from utils.align.rollouts import Rollouts
    from utils.tokens.tokenizer import Tokenizer

PADDING = -1  # in batches of pairs; no token has it, so that no token can pass for padding


class Preference(Protocol):
    """A question with a better and a worse answer, as texts."""

    prompt: str
    chosen: str
    rejected: str


class EncodedPair(NamedTuple):
    """Token ids of a prompt and of two answers to it; the answers hold their end token."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def score_at_last(features: Tensor, keep: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return weight @ features + bias at the last kept token of each text.

    Args:
        features: (B, T, D) of each token; what stands where `keep` is False never counts, not even
            NaN.
        keep: (B, T) bool, True where a token belongs to the text. Padding may stand on either
            side, and a mask of the response alone will do.
        weight: (D,) of the head.
        bias: a scalar.

    Returns:
        (B,) in the dtype of the features; the gradient reaches the features of the last kept
        tokens, the weight and the bias, and is 0 elsewhere.

    Raises:
        ValueError: where `keep` is not bool of shape (B, T), or keeps no token of some text.

    >>> features = torch.tensor([[[1.0, 0.0], [5.0, 1.0], [9.0, 9.0]]])
    >>> keep = torch.tensor([[True, True, False]])
    >>> score_at_last(features, keep, torch.tensor([1.0, 2.0]), torch.tensor(0.5))
    tensor([7.5000])
    """
    if keep.dtype != torch.bool or keep.shape != features.shape[:-1]:
        raise ValueError(
            f"keep must be bool of shape {tuple(features.shape[:-1])}, got {keep.dtype} of shape "
            f"{tuple(keep.shape)}"
        )
    empty = (~keep.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"text {empty[0]} has no kept token, so there is no place to read its score at"
        )
    places = torch.arange(keep.shape[1], device=keep.device)
    last = places.where(keep, -1).amax(dim=1)  # (B,)
    rows = torch.arange(len(keep), device=keep.device)
    return features[rows, last] @ weight + bias


class RewardModel(nn.Module):
    """A decoder without its projection to logits, and a head that reads the last token.

    Args:
        decoder: is copied and left as it is; the head begins at 0, so that all scores do.

    >>> from utils.model.config import TransformerConfig
    >>> decoder = Decoder(TransformerConfig(vocab_size=5, context_length=4, d_model=8, n_layers=1))
    >>> token_ids = torch.tensor([[1, 2, 0]])
    >>> RewardModel(decoder)(token_ids, torch.tensor([[True, True, False]])).shape
    torch.Size([1])
    """

    def __init__(self, decoder: Decoder):
        super().__init__()
        self.config = decoder.config
        self.decoder = deepcopy(decoder)
        self.decoder.unembedding = nn.Identity()  # the features, and no work for logits
        weight = decoder.embedding.weight
        self.head = nn.Linear(self.config.d_model, 1, dtype=weight.dtype, device=weight.device)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.zeros((), device=weight.device))
        self.register_buffer("std", torch.ones((), device=weight.device))

    def forward(self, token_ids: Tensor, keep: Tensor) -> Tensor:
        """Return the standardised score of each text.

        Args:
            token_ids: (B, T) int64, padded on the right; causal attention never looks there.
            keep: (B, T) bool, False at padding.

        Returns:
            (B,) (score at the last kept token - mean) / std.

        Raises:
            ValueError: as `score_at_last`, and as the decoder for ids that it can't read.
        """
        features = self.decoder(token_ids)  # (B, T, D)
        scores = score_at_last(features, keep, self.head.weight[0], self.head.bias[0])
        return (scores - self.mean) / self.std

    def standardise(self, scores: Tensor) -> None:
        """Make scores such as these have mean 0 and standard deviation 1 from now on.

        Call it once, with the scores of answers of the policy that is to be trained, before it is
        trained: statistics that follow the policy would hide that its reward rises.

        Args:
            scores: (N,) as the model gives them now.

        Raises:
            ValueError: for fewer than two scores, NaN or infinity, or scores that are all equal.
        """
        check_scores(scores, len(scores))
        if len(scores) < 2 or not scores.std() > 0:
            raise ValueError(
                f"{len(scores)} score(s) without spread: standardising needs two that differ"
            )
        with torch.no_grad():
            self.mean += self.std * scores.mean()
            self.std *= scores.std()


def score_responses(
    reward_model: RewardModel,
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_id: int,
    batch_size: int = 64,
) -> Tensor:
    """Return the score of each response, without gradient, whatever it shares a batch with.

    Args:
        reward_model: is put back into the mode it was in.
        prompts: token ids; none may be empty.
        responses: token ids as they are to be scored: with the end token where the response ended,
            without it where it was cut. Training has seen ended answers alone, so the score of one
            that was cut means little.
        pad_id: fills shorter rows; any id will do.
        batch_size: texts scored at a time; texts of like length share a batch.

    Returns:
        (B,) in the order of the responses.

    Raises:
        ValueError: for unequal numbers, an empty prompt or response, a text that exceeds the
            context, or a score that is NaN or infinite.
    """
    if not prompts or len(prompts) != len(responses):
        raise ValueError(
            f"got {len(prompts)} prompts and {len(responses)} responses: give as many of one as "
            "of the other, and one at least"
        )
    longest = reward_model.config.context_length
    for number, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        _check_length(f"response {number}", prompt, response, longest)
    rows = [
        torch.tensor([*prompt, *response], dtype=torch.int64)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    device = reward_model.head.weight.device
    scores = torch.empty(len(rows), device=device)
    with evaluating(reward_model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            token_ids = pad_sequence([rows[i] for i in chosen], batch_first=True, padding_value=-1)
            keep = token_ids >= 0
            token_ids = token_ids.masked_fill(~keep, pad_id)
            found = reward_model(token_ids.to(device), keep.to(device))
            scores[torch.tensor(chosen, device=device)] = found.float()
    scores = scores.clone()  # a normal tensor, not one of inference mode
    check_scores(scores, len(rows))
    return scores


def score_rollouts(
    reward_model: RewardModel, rollouts: Rollouts, pad_id: int, end_id: int, batch_size: int = 64
) -> Tensor:
    """Return the score of each response of rollouts, (B,): a reward for `reward_fn`."""
    closed = [
        response + [end_id] if ended else response
        for response, ended in zip(rollouts.responses, rollouts.ended.tolist(), strict=True)
    ]
    return score_responses(reward_model, rollouts.prompts, closed, pad_id, batch_size)


def check_scores(scores: Tensor, n: int) -> None:
    """Refuse what is not one finite score for each of n answers.

    Raises:
        ValueError: for another number of scores, or one that is NaN or infinite.

    >>> check_scores(torch.tensor([0.5, float("nan")]), 2)
    Traceback (most recent call last):
    ...
    ValueError: the score of answer 1 is nan: a reward must be a finite number; ...
    """
    if scores.shape != (n,):
        raise ValueError(
            f"got scores of shape {tuple(scores.shape)} for {n} answers: one score for each"
        )
    bad = (~scores.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"the score of answer {bad[0]} is {scores[bad[0]].item()}: a reward must be a finite "
            "number; look at the answer and at the weights of the model that scored it"
        )


def encode_pairs(
    pairs: Sequence[Preference], tokenizer: Tokenizer, context_length: int
) -> list[EncodedPair]:
    """Return preference pairs as token ids, in the chat form.

    Args:
        pairs: with the texts `prompt`, `chosen`, `rejected`.
        context_length: most tokens of a prompt with its answer.

    Raises:
        ValueError: for a pair with equal answers or an empty one, or that exceeds the context.
    """
    encoded = []
    for number, pair in enumerate(pairs):
        if pair.chosen == pair.rejected:
            raise ValueError(
                f"pair {number} has the same answer twice ({pair.chosen!r}): nothing can be "
                "learned from it, leave it out"
            )
        user = {"role": "user", "content": pair.prompt}
        prompt = render_chat([user], tokenizer, add_prompt=True).token_ids
        answers = []
        for name in ("chosen", "rejected"):
            text = getattr(pair, name)
            if not text.strip():
                raise ValueError(f"the {name} answer of pair {number} is empty: leave the pair out")
            answer = [*tokenizer.encode(text), tokenizer.end_id]
            _check_length(f"the {name} answer of pair {number}", prompt, answer, context_length)
            answers.append(answer)
        encoded.append(EncodedPair(prompt, *answers))
    return encoded


def pair_batches(
    pairs: Sequence[EncodedPair], batch_size: int, seed: int = 0
) -> Callable[[int], Batch]:
    """Return batches of pairs: the chosen answers with their prompts, then the rejected ones.

    Args:
        batch_size: pairs of a batch; the last of an epoch may not be full and is left out.

    Returns:
        A function from the step's number (from 0) to its batch: token_ids (2 P, T), padded by
        PADDING on the right, and a target of 1 for each text, so that `train` counts texts.

    Raises:
        ValueError: for fewer pairs than a batch holds.
    """
    if not 1 <= batch_size <= len(pairs):
        raise ValueError(
            f"batch_size must be from 1 to the number of pairs ({len(pairs)}), got {batch_size}"
        )
    rows = [
        [torch.tensor([*pair.prompt, *answer]) for answer in (pair.chosen, pair.rejected)]
        for pair in pairs
    ]
    steps_per_epoch = len(rows) // batch_size

    def batch_of(step: int) -> Batch:
        epoch, place = divmod(check_step(step), steps_per_epoch)
        order = epoch_order(len(rows), epoch, seed)
        chosen = order[place * batch_size : (place + 1) * batch_size].tolist()
        texts = [rows[i][side] for side in (0, 1) for i in chosen]
        token_ids = pad_sequence(texts, batch_first=True, padding_value=PADDING)
        return Batch(token_ids, torch.ones(len(texts), dtype=torch.int64))

    batch_of.facts = lambda: {
        "batch_size": batch_size,
        "data_seed": seed,
        "data_sha256": hash_of([row for pair in rows for row in pair]),
    }
    return batch_of


class _OnBatches(nn.Module):
    """A reward model that reads the batches of `pair_batches`."""

    def __init__(self, reward_model: RewardModel):
        super().__init__()
        self.config = reward_model.config
        self.reward_model = reward_model

    def forward(self, token_ids: Tensor) -> Tensor:
        return self.reward_model(token_ids.clamp(min=0), token_ids != PADDING)


def train_reward_model(
    start: Decoder,
    pairs: Sequence[EncodedPair],
    n_steps: int = 300,
    *,
    batch_size: int = 16,
    learning_rate: float = 1e-3,
    warmup_steps: int = 20,
    seed: int = 0,
    loss_fn: Callable[[Tensor, Tensor], Tensor] = bradley_terry_loss,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 0,
    description: str = "reward model",
) -> tuple[RewardModel, list[dict]]:
    """Return a reward model learned from pairs, and the records of its training.

    Args:
        start: the decoder that it begins as; it is copied.
        pairs: from `encode_pairs`.
        seed: the order of the pairs, the only thing that is drawn.
        loss_fn: of the scores of the chosen and of the rejected answers.
        checkpoint, checkpoint_every: as `train` takes them: a stopped run goes on from there.

    Raises:
        ValueError: for fewer pairs than a batch holds.
        NonFiniteLoss: at the first loss or gradient that is NaN or infinite.
    """
    reward_model = RewardModel(start)

    def loss_of(scores: Tensor, targets: Tensor) -> Tensor:
        return loss_fn(*scores.chunk(2))

    loss_of.__qualname__ = getattr(loss_fn, "__qualname__", "loss")  # what a checkpoint notes
    model = _OnBatches(reward_model)
    records = train(
        model,
        pair_batches(pairs, batch_size, seed),
        loss_of,
        adamw(model, learning_rate, weight_decay=0.01),
        n_steps,
        schedule=cosine(n_steps, warmup_steps=min(warmup_steps, n_steps)),
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        description=description,
    )
    return reward_model.eval(), records


def score_pairs(
    reward_model: RewardModel, pairs: Sequence[EncodedPair], pad_id: int = 0
) -> tuple[Tensor, Tensor]:
    """Return the scores of the chosen and of the rejected answers, (P,) each."""
    prompts = [pair.prompt for pair in pairs]
    answers = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    chosen, rejected = score_responses(reward_model, prompts * 2, answers, pad_id).chunk(2)
    return chosen, rejected


def _check_length(
    what: str, prompt: Sequence[int], response: Sequence[int], context_length: int
) -> None:
    if not len(prompt) or not len(response):
        raise ValueError(
            f"{what if len(prompt) else f'the prompt of {what}'} is empty: a prompt and a response "
            "need one token at least"
        )
    if len(prompt) + len(response) > context_length:
        raise ValueError(
            f"{what} and its prompt have {len(prompt) + len(response)} tokens, more than the "
            f"context of {context_length}: shorten the text, or leave it out"
        )
