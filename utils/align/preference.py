"""The loop of the DPO family: pairs, log-probabilities of both answers, loss, update, record.

The reference's log-probabilities are computed once, before the first step, with dropout off.
Chosen and rejected answers of a step go through the policy one after the other, since the chosen
ones are often much shorter and padding costs as much as text. A batch is a pure function of the
step's number. Left out on purpose: pairs drawn afresh from the policy while it learns.

Shapes: B pairs of a batch, N pairs in all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from utils.align.preference_losses import dpo_loss, ipo_loss, kto_loss
from utils.align.resume import resume_run
from utils.align.rollouts import response_batch, response_logprobs
from utils.model.decoder import Decoder
from utils.model.generate import evaluating
from utils.runtime import progress
from utils.tokens.batches import epoch_order, hash_of
from utils.tokens.chat import render_chat
from utils.train.checkpoints import save_run
from utils.train.loop import NonFiniteLoss
from utils.train.optimizers import clip_gradients

if TYPE_CHECKING:
    from utils.tokens.tokenizer import Tokenizer

REFERENCE_BATCH = 64


@dataclass(frozen=True)
class TokenPair:
    """A prompt with a better and a worse response, as token ids; responses have their end token."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


class PairLogprobs(NamedTuple):
    """What the losses of the family read, (B,) each: log-probabilities are sums over a response.

    `dpo_loss(*scores[:4])` and `ipo_loss(*scores[:6])` take them in this order. The last two are
    those of chosen responses behind other prompts, and None where they were not asked for.
    """

    chosen: Tensor
    rejected: Tensor
    ref_chosen: Tensor
    ref_rejected: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    mismatched: Tensor | None = None
    ref_mismatched: Tensor | None = None


def dpo(scores: PairLogprobs, beta: float = 0.1) -> Tensor:
    """Return `dpo_loss` of a batch of pairs."""
    return dpo_loss(*scores[:4], beta=beta)


def ipo(scores: PairLogprobs, beta: float = 0.1) -> Tensor:
    """Return `ipo_loss` of a batch of pairs."""
    return ipo_loss(*scores[:6], beta=beta)


def kto(scores: PairLogprobs, beta: float = 0.1) -> Tensor:
    """Return `kto_loss` of a batch of pairs, each of which is a wanted and an unwanted response."""
    n = len(scores.chosen)
    return kto_loss(
        torch.cat([scores.chosen, scores.rejected]),
        torch.cat([scores.ref_chosen, scores.ref_rejected]),
        torch.arange(2 * n, device=scores.chosen.device) < n,
        scores.mismatched,
        scores.ref_mismatched,
        beta,
    )


def token_pairs(pairs: Sequence, tokenizer: Tokenizer, context_length: int) -> list[TokenPair]:
    """Return pairs of texts as token ids, in the chat form.

    A prompt that does not fit in front of the longer of its two answers is cut at its beginning,
    once for both, so that the answers stay answers to one and the same prompt.

    Args:
        pairs: each with `prompt`, `chosen` and `rejected` as texts.
        context_length: most tokens of a prompt with one answer.

    Raises:
        ValueError: for a pair with equal answers, an empty answer, or one that alone fills the
            context; it says which.

    >>> from types import SimpleNamespace
    >>> from utils.tokens.tokenizer import Tokenizer
    >>> token_pairs([SimpleNamespace(prompt="a", chosen="b", rejected="cd")], Tokenizer([]), 16)
    [TokenPair(prompt=[258, 97, 259], chosen=[98, 257], rejected=[99, 100, 257])]
    """
    found = []
    for number, pair in enumerate(pairs):
        if not pair.chosen.strip() or not pair.rejected.strip():
            which = "rejected" if pair.chosen.strip() else "chosen"
            raise ValueError(f"pair {number}: the {which} answer is empty; leave the pair out")
        ask = render_chat([{"role": "user", "content": pair.prompt}], tokenizer, add_prompt=True)
        chosen, rejected = (
            [*tokenizer.encode(text), tokenizer.end_id] for text in (pair.chosen, pair.rejected)
        )
        room = context_length - max(len(chosen), len(rejected))
        if room < 1:
            raise ValueError(
                f"pair {number}: an answer of {context_length - room} tokens leaves no room for "
                f"its prompt in a context of {context_length}; cut the answer or leave the pair out"
            )
        found.append(TokenPair(ask.token_ids[-room:], chosen, rejected))
    check_pairs(found)
    return found


def check_pairs(pairs: Sequence[TokenPair]) -> None:
    """Raise a ValueError that names the first pair that nothing can be learned from."""
    if not pairs:
        raise ValueError("pairs is empty: give one pair at least")
    for number, pair in enumerate(pairs):
        if not pair.prompt or not pair.chosen or not pair.rejected:
            raise ValueError(
                f"pair {number} has an empty prompt or response: each needs one token at least, "
                "and a response that says nothing still has its end token"
            )
        if pair.chosen == pair.rejected:
            raise ValueError(
                f"pair {number}: chosen and rejected are equal, so its gradient is zero; leave the "
                "pair out"
            )


def check_reference(policy: Decoder, ref_policy: Decoder) -> None:
    """Raise a ValueError where a reference reads other tokens than the policy, or is the policy."""
    ours, theirs = policy.config.vocab_size, ref_policy.config.vocab_size
    if ours != theirs:
        raise ValueError(
            f"the policy has a vocabulary of {ours} tokens and the reference one of {theirs}: "
            "log-probabilities of different tokenizers can't be compared; use a copy of the model "
            "that training begins with"
        )
    if policy is ref_policy:
        raise ValueError(
            "policy and reference are one model, which would learn and be its own reference: pass "
            "a copy (copy.deepcopy) as the reference"
        )


def sequence_logprobs(
    model: Decoder, prompts: Sequence, responses: Sequence, pad_id: int
) -> tuple[Tensor, Tensor, int]:
    """Return (B,) log-probabilities of whole responses, their lengths, and the tokens read."""
    device = model.embedding.weight.device
    batch = [tensor.to(device) for tensor in response_batch(prompts, responses, pad_id)]
    return response_logprobs(model, *batch).sum(dim=1), batch[2].sum(dim=1), batch[0].numel()


def reference_logprobs(
    ref_policy: Decoder, prompts: Sequence, responses: Sequence, pad_id: int
) -> Tensor:
    """Return (N,) log-probabilities of whole responses under the reference, dropout off.

    Responses of like length share a batch. The result is on the reference's device.
    """
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]) + len(responses[n]))
    found = torch.zeros(len(prompts), device=ref_policy.embedding.weight.device)
    with evaluating(ref_policy):
        for start in range(0, len(order), REFERENCE_BATCH):
            rows = order[start : start + REFERENCE_BATCH]
            found[rows] = sequence_logprobs(
                ref_policy, [prompts[n] for n in rows], [responses[n] for n in rows], pad_id
            )[0]
    return found.clone()  # a normal tensor, not one of inference mode


def rows_of_step(step: int, n_pairs: int, batch_size: int, seed: int) -> list[int]:
    """Return which pairs a step reads: each epoch in another order, none twice in an epoch.

    >>> sorted(rows_of_step(0, 4, 2, seed=0) + rows_of_step(1, 4, 2, seed=0))
    [0, 1, 2, 3]
    """
    rows, orders = [], {}
    for k in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(k, n_pairs)
        if epoch not in orders:
            orders[epoch] = epoch_order(n_pairs, epoch, seed).tolist()
        rows.append(orders[epoch][place])
    return rows


def train_preferences(
    policy: Decoder,
    ref_policy: Decoder,
    pairs: Sequence[TokenPair],
    loss_fn: Callable[[PairLogprobs], Tensor],
    optimizer: torch.optim.Optimizer,
    n_steps: int,
    *,
    pad_id: int,
    batch_size: int = 16,
    seed: int = 0,
    likelihood_coef: float = 0.0,
    schedule: Callable[[int], float] | None = None,
    clip_norm: float = 1.0,
    mismatched: bool = False,
    measure: Callable[[Decoder], dict] | None = None,
    measure_every: int = 0,
    checkpoint: Path | str | None = None,
    checkpoint_every: int = 0,
    resume: bool = True,
    description: str = "preferences",
) -> list[dict]:
    """Train a policy in place on preference pairs and return one record per step.

    Args:
        policy: learns; ends in the mode it was in.
        ref_policy: another model with the same vocabulary, mostly the policy's own start.
        pairs: from `token_pairs`.
        loss_fn: of a batch's log-probabilities, such as `dpo`, `ipo`, `kto`.
        n_steps: updates in the whole run, those of a resumed checkpoint included.
        pad_id: fills shorter rows.
        seed: which pairs come when.
        likelihood_coef: weight of the negative log-likelihood per token of the chosen answers,
            which is added to the loss.
        schedule: multiplies the learning rate, by the number of the step from 0.
        mismatched: also score chosen answers behind the next pair's prompt, which `kto` needs.
        measure: called with the policy every `measure_every` steps and after the last; what it
            returns goes into the record, under its own names. Nothing of it is trained on.
        checkpoint: folder of this run, written every `checkpoint_every` steps and at the end.
        resume: go on from the newest checkpoint there; False sets the old run aside.

    Returns:
        Records with step, loss, chosen_logprob, rejected_logprob (means over pairs, of sums over
        tokens), chosen_ratio, rejected_ratio (the same less the reference's), margin (their
        difference), accuracy (share of pairs with a positive margin), gradient_norm,
        learning_rate, tokens, seconds, tokens_per_second.

    Raises:
        ValueError: before the first step for pairs, models or settings that don't fit.
        NonFiniteLoss: at the first loss or gradient that is NaN or infinite, before the update.
    """
    check_pairs(pairs)
    check_reference(policy, ref_policy)
    settings = {"pairs": hash_of([torch.tensor(p.prompt + p.chosen + p.rejected) for p in pairs])}
    settings |= {"batch_size": batch_size, "seed": seed, "likelihood_coef": likelihood_coef}
    settings |= {"clip_norm": clip_norm, "learning_rate": optimizer.param_groups[0]["lr"]}
    done, records = resume_run(checkpoint, policy, optimizer, settings, n_steps, resume)
    reference = _reference_of(ref_policy, pairs, pad_id, mismatched) if done < n_steps else {}
    peak, was_training = optimizer.param_groups[0]["lr"], policy.training
    tokens, seconds = (records[-1]["tokens"], records[-1]["seconds"]) if records else (0, 0.0)
    bar = progress(total=n_steps, description=description)
    bar.update(done)
    with bar:
        for step in range(done, n_steps):
            start = time.perf_counter()
            policy.train()
            rows = rows_of_step(step, len(pairs), batch_size, seed)
            scores, n_tokens = _scores(policy, pairs, rows, reference, pad_id)
            loss = loss_fn(scores)
            if likelihood_coef:
                loss = loss - likelihood_coef * scores.chosen.sum() / scores.chosen_lengths.sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = clip_gradients(policy.parameters(), clip_norm)
            if not (math.isfinite(loss.item()) and math.isfinite(norm)):
                raise NonFiniteLoss(
                    f"loss {loss.item()} with gradient norm {norm} at step {step}; the weights are "
                    "those before this step. Lower the learning rate or look at the pairs of it"
                )
            rate = peak * (1.0 if schedule is None else schedule(step))
            _step_at(optimizer, rate)
            n_seconds = time.perf_counter() - start
            tokens, seconds = tokens + n_tokens, seconds + n_seconds
            record = {"step": step, "loss": loss.item(), **_pair_numbers(scores)}
            record |= {"gradient_norm": norm, "learning_rate": rate, "tokens": tokens}
            record |= {"seconds": seconds, "tokens_per_second": n_tokens / n_seconds}
            is_last = step + 1 == n_steps
            if measure and (is_last or measure_every and (step + 1) % measure_every == 0):
                policy.train(was_training)
                record |= measure(policy)
            records.append(record)
            bar.set_postfix_str(f"loss {loss:.3f}, margin {record['margin']:.1f}", refresh=False)
            bar.update(1)
            if checkpoint and (is_last or checkpoint_every and (step + 1) % checkpoint_every == 0):
                save_run(checkpoint, policy, optimizer, step + 1, records, settings)
    policy.train(was_training)
    return records


def _reference_of(
    ref_policy: Decoder, pairs: Sequence[TokenPair], pad_id: int, mismatched: bool
) -> dict[str, Tensor]:
    """Return the reference's (N,) log-probabilities of all answers, by name."""
    prompts, chosen = [pair.prompt for pair in pairs], [pair.chosen for pair in pairs]
    sides = {"chosen": (prompts, chosen), "rejected": (prompts, [p.rejected for p in pairs])}
    if mismatched:
        if len(pairs) < 2:
            raise ValueError("mismatched answers need two pairs at least: there is one")
        sides["mismatched"] = (prompts[1:] + prompts[:1], chosen)
    return {name: reference_logprobs(ref_policy, *side, pad_id) for name, side in sides.items()}


def _scores(
    policy: Decoder,
    pairs: Sequence[TokenPair],
    rows: list[int],
    reference: dict[str, Tensor],
    pad_id: int,
) -> tuple[PairLogprobs, int]:
    """Return the log-probabilities of a batch of pairs, and the tokens that were read for them."""
    prompts = [pairs[n].prompt for n in rows]
    chosen, chosen_lengths, n = sequence_logprobs(
        policy, prompts, [pairs[n].chosen for n in rows], pad_id
    )
    rejected, rejected_lengths, m = sequence_logprobs(
        policy, prompts, [pairs[n].rejected for n in rows], pad_id
    )
    refs = [reference[name].to(chosen.device)[rows] for name in ("chosen", "rejected")]
    scores = PairLogprobs(chosen, rejected, *refs, chosen_lengths, rejected_lengths)
    if "mismatched" not in reference:
        return scores, n + m
    others = [pairs[(n + 1) % len(pairs)].prompt for n in rows]
    with torch.no_grad():  # only the reference point is made of them
        other, _, k = sequence_logprobs(policy, others, [pairs[n].chosen for n in rows], pad_id)
    ref_other = reference["mismatched"].to(chosen.device)[rows]
    return scores._replace(mismatched=other, ref_mismatched=ref_other), n + m + k


def _pair_numbers(scores: PairLogprobs) -> dict[str, float]:
    """Return what a record says of a batch of pairs."""
    chosen_ratio, rejected_ratio = ((scores[k] - scores[k + 2]).detach() for k in (0, 1))
    margin = chosen_ratio - rejected_ratio
    return {
        "chosen_logprob": scores.chosen.mean().item(),
        "rejected_logprob": scores.rejected.mean().item(),
        "chosen_ratio": chosen_ratio.mean().item(),
        "rejected_ratio": rejected_ratio.mean().item(),
        "margin": margin.mean().item(),
        "accuracy": (margin > 0).float().mean().item(),
    }


def _step_at(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Step at a learning rate and put the peak back."""
    peaks = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    for group, peak in zip(optimizer.param_groups, peaks, strict=True):
        group["lr"] = peak
