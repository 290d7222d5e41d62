"""A judge that is trained: a small model reads a question with two answers and names the better.

It learns from labels that people in a hurry gave, and what it learns of them is measured by the
world's gold. Left out on purpose: judges that explain themselves, and scores for single answers
(reward models, unit 10).

Shapes: B comparisons, T tokens.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from utils.model.generate import evaluating
from utils.tokens.batches import IGNORE_INDEX, Batch
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.facts import World
from utils.world.preferences import PreferencePair, preference_pairs

if TYPE_CHECKING:
    from utils.tokens.tokenizer import Tokenizer

MAX_TOKENS = 88  # of a comparison; longer ones are left out
MUCH_LONGER = 60  # characters


class Comparison(NamedTuple):
    """A question with two answers in the order shown."""

    prompt: str
    one: str
    other: str


class Labelled(NamedTuple):
    """A comparison and which of its answers a labeller preferred."""

    shown: Comparison
    choice: str  # "first" or "second"


def render(tokenizer: Tokenizer, shown: Comparison) -> list[int]:
    """Return the token ids that the judge reads; what follows is its choice."""
    text = f"Question: {shown.prompt}\nOne: {shown.one}\nTwo: {shown.other}\nBetter:"
    return [tokenizer.end_id, *tokenizer.encode(text)]


def choice_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the tokens that stand for "first" and "second": the words' first tokens."""
    first, second = (tokenizer.encode(word)[0] for word in (" first", " second"))
    return first, second


def judged_pairs(
    world: World, tokenizer: Tokenizer, n: int, seed: int, held_out: bool = False
) -> list[PreferencePair]:
    """Return preference pairs that are short enough for the judge, of n that are drawn."""
    found = preference_pairs(world, n, seed=seed, held_out=held_out)
    return [
        pair
        for pair in found
        if len(render(tokenizer, Comparison(pair.prompt, pair.chosen, pair.rejected)))
        < MAX_TOKENS
        > len(render(tokenizer, Comparison(pair.prompt, pair.rejected, pair.chosen)))
    ]


def hasty_labels(
    pairs: Sequence[PreferencePair],
    seed: int,
    share_unread: float = 0.25,
    share_impressed: float = 0.7,
) -> list[Labelled]:
    """Return labels of people in a hurry, each pair in a random order.

    Args:
        pairs: what they are shown.
        seed: of orders and moods.
        share_unread: how often they name the first answer without reading on.
        share_impressed: how often, having read, they name the answer that is much longer, where
            one is; otherwise they name the better one.
    """
    rng = random.Random(seed)
    labelled = []
    for pair in pairs:
        answers = [pair.chosen, pair.rejected]
        rng.shuffle(answers)
        shown = Comparison(pair.prompt, *answers)
        is_longer = len(shown.one) - len(shown.other)
        if rng.random() < share_unread:
            prefers_first = True
        elif abs(is_longer) > MUCH_LONGER and rng.random() < share_impressed:
            prefers_first = is_longer > 0
        else:
            prefers_first = shown.one == pair.chosen
        labelled.append(Labelled(shown, "first" if prefers_first else "second"))
    return labelled


def label_batches(
    tokenizer: Tokenizer, labelled: Sequence[Labelled], batch_size: int, seed: int
) -> Callable[[int], Batch]:
    """Return batches of comparisons of like length, whose last token's target is the choice."""
    ids = dict(zip(("first", "second"), choice_ids(tokenizer), strict=True))
    rows = [(render(tokenizer, one.shown), ids[one.choice]) for one in labelled]
    rows.sort(key=lambda row: len(row[0]))
    groups = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    random.Random(seed).shuffle(groups)

    def batch(number: int) -> Batch:
        group = groups[number % len(groups)]
        T = max(len(row) for row, _ in group)
        token_ids = torch.zeros(len(group), T, dtype=torch.int64)  # (B, T)
        targets = torch.full_like(token_ids, IGNORE_INDEX)
        for k, (row, choice) in enumerate(group):
            token_ids[k, : len(row)] = torch.tensor(row)
            targets[k, len(row) - 1] = choice
        return Batch(token_ids, targets)

    return batch


def train_pair_judge(
    model: nn.Module,
    tokenizer: Tokenizer,
    labelled: Sequence[Labelled],
    n_steps: int = 200,
    batch_size: int = 16,
    seed: int = 0,
) -> list[dict]:
    """Train a language model in place to name the preferred answer; return the loop's records.

    Raises:
        ValueError: for no labels.
    """
    if not labelled:
        raise ValueError("labelled is empty: give one comparison at least")
    return train(
        model,
        label_batches(tokenizer, labelled, batch_size, seed),
        cross_entropy,
        adamw(model, lr=1.5e-3),
        n_steps,
        schedule=cosine(n_steps, warmup_steps=20),
        description="judge",
    )


def pair_choices(
    model: nn.Module, tokenizer: Tokenizer, shown: Sequence[Comparison], batch_size: int = 64
) -> list[str]:
    """Return the judge's choice for each comparison: "first" or "second", the likelier word."""
    first, second = choice_ids(tokenizer)
    rows = [render(tokenizer, one) for one in shown]
    device, choices = next(model.parameters()).device, []
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            group = rows[start : start + batch_size]
            T = max(map(len, group))
            ids = torch.tensor([row + [0] * (T - len(row)) for row in group], device=device)
            logits = model(ids)  # (B, T, V)
            last = logits[torch.arange(len(group)), torch.tensor([len(r) - 1 for r in group])]
            prefers_first = last[:, first] > last[:, second]  # (B,)
            choices += ["first" if yes else "second" for yes in prefers_first.tolist()]
    return choices


def as_function(
    model: nn.Module, tokenizer: Tokenizer, pairs: Sequence[PreferencePair]
) -> Callable[[str, str], str]:
    """Return the judge as a function of two answers; all pairs are judged at once, in both orders.

    Raises:
        ValueError: where the same two answers belong to two questions.
    """
    shown = [
        Comparison(pair.prompt, *answers)
        for pair in pairs
        for answers in ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen))
    ]
    found: dict[tuple[str, str], str] = {}
    for one, choice in zip(shown, pair_choices(model, tokenizer, shown), strict=True):
        if (one.one, one.other) in found:
            raise ValueError(f"two pairs have the answers {one.one!r} and {one.other!r}: keep one")
        found[one.one, one.other] = choice
    return lambda one, other: found[one, other]


def without_repeats(pairs: Sequence[PreferencePair]) -> list[PreferencePair]:
    """Return the pairs whose two answers did not come before, in whatever order."""
    seen: dict[frozenset[str], PreferencePair] = {}
    for pair in pairs:
        seen.setdefault(frozenset((pair.chosen, pair.rejected)), pair)
    return list(seen.values())
