"""Learning something new without losing the old: when to stop, what to hold on to, what to repeat.

Left out on purpose: networks that grow, a memory that chooses its examples, LoRA (unit 07).

Shapes: N sequences, T tokens, B rows of a batch, V vocabulary.
Source: Kirkpatrick et al. 2017, "Overcoming catastrophic forgetting in neural networks".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from utils.tokens.batches import Batch


def early_stopping(
    losses: Sequence[float], patience: int, min_delta: float = 0.0
) -> tuple[int, bool]:
    """Return which evaluation was the best so far, and whether to stop now.

    The first is the best until a better one comes. An evaluation counts as better where its loss is
    more than `min_delta` below the best before. Stop now where the last `patience` evaluations, or
    more, were all no better than that best.

    Args:
        losses: validation losses in order, one at least; NaN is never better.
        patience: at least 1.
        min_delta: 0 or more.

    Returns:
        The number of the best evaluation, from 0, whose weights are to be kept, and the decision.

    Raises:
        ValueError: for no losses, or a patience or min_delta out of range.

    >>> early_stopping([3.0, 2.5, 2.6, 2.55], patience=2)
    (1, True)
    >>> early_stopping([3.0, 2.5, 2.6, 2.4], patience=2)
    (3, False)

    Source: Prechelt 1998, "Early Stopping - But When?", section 2.
    """
    if not losses:
        raise ValueError("losses is empty: evaluate once at least")
    if patience < 1 or min_delta < 0:
        raise ValueError(
            f"patience must be at least 1 and min_delta at least 0, got {patience} and {min_delta}"
        )
    best, lowest = 0, float("inf")
    for k, loss in enumerate(losses):
        if loss < lowest - min_delta:  # never for NaN
            best, lowest = k, loss
    return best, len(losses) - 1 - best >= patience


def fisher_diagonal(
    model: nn.Module, token_ids: Tensor, generator: torch.Generator | None = None
) -> dict[str, Tensor]:
    """Return how much the predictions depend on each weight: the Fisher diagonal.

    For each sequence the targets are drawn from the model's own predictions, not taken from the
    text. The squared gradient of their summed log-probability, averaged over sequences and divided
    by T, estimates the information of one prediction: with drawn targets the products of
    different tokens' gradients average to zero.

    Args:
        model: `model(token_ids) -> logits`; its gradients and its mode are left as they were.
        token_ids: (N, T) sequences of the old data.
        generator: source of the draws.

    Returns:
        Name -> tensor of the weight's shape and dtype, for every weight that learns; zeros where
        the predictions do not depend on it.

    Raises:
        ValueError: for token ids of another shape, or none.

    >>> model = nn.Embedding.from_pretrained(torch.zeros(2, 2), freeze=False)  # even odds
    >>> fisher_diagonal(model, torch.tensor([[0]] * 4))["weight"]  # (1 - .5)^2 whatever is drawn
    tensor([[0.2500, 0.2500],
            [0.0000, 0.0000]])

    Source: Kirkpatrick et al. 2017, section 2.1; Kunstner et al. 2019, "Limitations of the
    Empirical Fisher Approximation", section 2, on drawing the targets.
    """
    if token_ids.ndim != 2 or token_ids.numel() == 0:
        raise ValueError(
            f"token_ids must be (N, T) with N and T from 1, got {tuple(token_ids.shape)}"
        )
    weights = {name: w for name, w in model.named_parameters() if w.requires_grad}
    fisher = {name: torch.zeros_like(w) for name, w in weights.items()}
    n_predictions = token_ids.numel()
    for row in token_ids:
        log_probs = model(row.unsqueeze(0))[0].log_softmax(dim=-1)  # (T, V)
        drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)  # (T, 1)
        gradients = torch.autograd.grad(
            log_probs.gather(1, drawn).sum(), list(weights.values()), allow_unused=True
        )
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                fisher[name] += gradient.square() / n_predictions
    return fisher


def ewc_penalty(
    model: nn.Module, start: Mapping[str, Tensor], fisher: Mapping[str, Tensor]
) -> Tensor:
    """Return the cost of having moved away from weights that the old task needs.

    1/2 sum over weights of fisher * (weight - start)^2. A Fisher of ones makes it L2 to the start.

    Args:
        model: the model that learns.
        start: name -> weight before, detached copies.
        fisher: name -> information, of the same names and shapes. Weights that do not learn may be
            in either and do not count.

    Returns:
        A scalar with gradients for every weight that learns.

    Raises:
        KeyError: where a weight that learns is missing in `start` or `fisher`.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.fill_(5.0)
    >>> ewc_penalty(model, {"weight": torch.tensor([[3.0]])}, {"weight": torch.tensor([[3.0]])})
    tensor(6., grad_fn=<AddBackward0>)

    Source: Kirkpatrick et al. 2017, equation 3, without lambda.
    """
    total = torch.zeros(())
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            if name not in start or name not in fisher:
                raise KeyError(f"{name} learns and is missing in start or fisher")
            total = total + 0.5 * (fisher[name] * (weight - start[name]).square()).sum()
    return total


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the weights that learn, by name.

    >>> sorted(weights_of(nn.Linear(2, 1)))
    ['bias', 'weight']
    """
    return {name: w.detach().clone() for name, w in model.named_parameters() if w.requires_grad}


def with_penalty(
    loss_fn: Callable[[Tensor, Tensor], Tensor], penalty: Callable[[], Tensor], strength: float
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a loss for `train` that adds `strength` times a penalty on the weights.

    Raises:
        ValueError: where the strength is negative.

    >>> loss = with_penalty(lambda logits, targets: logits.sum(), lambda: torch.tensor(3.0), 2.0)
    >>> loss(torch.ones(4), torch.zeros(4))
    tensor(10.)
    """
    if strength < 0:
        raise ValueError(f"strength must be 0 or more, got {strength}")
    return lambda logits, targets: loss_fn(logits, targets) + strength * penalty()


def mix_replay(
    new: Callable[[int], Batch], old: Callable[[int], Batch], share: float
) -> Callable[[int], Batch]:
    """Return batches in which a share of the rows comes from old data.

    Of the B rows of a new batch the first stay, and in place of the last round(share * B) come the
    first rows of the old batch of the same step, with their targets. The batches that `new` and
    `old` give are left as they are.

    Args:
        new, old: give the batch of a step, with rows of one length T.
        share: from 0 to 1.

    Returns:
        A function from the step's number to its `Batch`.

    Raises:
        ValueError: for a share out of range; at a step where the old batch has fewer rows than are
            wanted, or rows of another length.

    >>> def rows_of(value):
    ...     return lambda step: Batch(torch.full((4, 2), value), torch.full((4, 2), value))
    >>> mix_replay(rows_of(1), rows_of(0), share=0.25)(0).token_ids[:, 0]
    tensor([1, 1, 1, 0])

    Source: Robins 1995, "Catastrophic Forgetting, Rehearsal and Pseudorehearsal"; Scialom et al.
    2022, "Fine-tuned Language Models are Continual Learners", section 3.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")

    def batch_of(step: int) -> Batch:
        ours, theirs = new(step), old(step)
        B, T = ours.token_ids.shape
        n_old = round(share * B)
        if theirs.token_ids.shape[1] != T or theirs.token_ids.shape[0] < n_old:
            raise ValueError(
                f"{n_old} rows of {T} tokens are wanted from the old batch, which is "
                f"{tuple(theirs.token_ids.shape)}"
            )
        return Batch(
            *(torch.cat([a[: B - n_old], b[:n_old]]) for a, b in zip(ours, theirs, strict=True))
        )

    return batch_of


def forgetting(history: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return for each task how far its score has fallen from the best that it ever had.

    Args:
        history: scores by task after each stage of training, higher is better; two stages at least,
            in a list or from an iterator. A task that comes in later is missing before.

    Returns:
        Task -> best score of an earlier stage minus the last one; negative where it rose. Tasks
        that are new in the last stage have nothing to lose and are left out.

    Raises:
        ValueError: for fewer than two stages, or a task that is missing in the last one.

    >>> forgetting([{"general": 0.9}, {"general": 0.4, "drugs": 0.8}])
    {'general': 0.5}

    Source: Chaudhry et al. 2018, "Riemannian Walk for Incremental Learning", equation 3.
    """
    *earlier, last = history
    if not earlier:
        raise ValueError("history has one stage: give the scores before and after")
    best: dict[str, float] = {}
    for scores in earlier:
        for task, score in scores.items():
            best[task] = max(score, best.get(task, score))
    missing = sorted(set(best) - set(last))
    if missing:
        raise ValueError(f"the last stage has no score for {missing}: evaluate every task again")
    return {task: score - last[task] for task, score in best.items()}
