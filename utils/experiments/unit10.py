"""Unit 10 on the real model: what a linear head reads of SmolLM2 about what people prefer.

The model is frozen. Its features at the last token of a conversation go into one linear layer that
is fitted by the Bradley-Terry loss. The data set's text stays where it is, and the record holds
numbers alone. Features are computed in bfloat16, the dtype in which the weights are stored.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from utils.align.bradley_terry import bradley_terry_loss
from utils.align.preference import rows_of_step
from utils.evaluate.intervals import bootstrap_interval
from utils.evaluate.paired import paired_permutation_test
from utils.experiments.registry import Run, experiment
from utils.model.generate import evaluating
from utils.runtime import generator, progress
from utils.text.corpora import hub_rows, local_rows
from utils.text.preference_rows import Conversations, conversation_pairs
from utils.tokens.batches import Batch, hash_of
from utils.train.checkpoints import load_checkpoint, save_checkpoint
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs
from utils.zoo.tuning import evenly, load_model

DATA, SPLIT = "Anthropic/hh-rlhf", "test"
N_PAIRS, N_TOKENS, N_ANSWER = 1500, 256, 192  # most tokens of a conversation and of an answer
HELD_OUT = 0.3  # share of first messages
BATCH, FEATURE_BATCH, RATE, WEIGHT_DECAY = 64, 8, 1e-3, 0.1


def world_conversations(n: int) -> list[Conversations]:
    """Return pairs of the invented world, which need neither a folder nor a network."""
    return [
        Conversations(({"role": "user", "content": pair.prompt},), pair.chosen, pair.rejected)
        for pair in preference_pairs(build_world(0), n)
    ]


def texts_of(pairs: list[Conversations], tokenizer) -> tuple[list[list[int]], int]:
    """Return token ids of all chosen, then of all rejected texts, and how many pairs were cut.

    Both answers of a pair stay behind the same tokens: what does not fit is cut at the beginning.
    """
    sides, n_cut = ([], []), 0
    for pair in pairs:
        ask = tokenizer.chat(list(pair.messages), add_prompt=True).token_ids
        whole = [
            [*tokenizer.encode(text), tokenizer.end_id] for text in (pair.chosen, pair.rejected)
        ]
        answers = [answer[:N_ANSWER] for answer in whole]
        room = N_TOKENS - max(map(len, answers))
        n_cut += len(ask) > room or answers != whole
        for side, answer in zip(sides, answers, strict=True):
            side.append(ask[-room:] + answer)
    return sides[0] + sides[1], n_cut


def features_of(model: nn.Module, texts: list[list[int]], pad_id: int) -> Tensor:
    """Return (N, D) features of each text's last token, in float32."""
    model.unembedding = nn.Identity()  # the features, and no work for logits
    model = model.to(torch.bfloat16)
    order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
    found = torch.empty(len(texts), model.config.d_model)
    with evaluating(model):
        starts = range(0, len(order), FEATURE_BATCH)
        for start in progress(starts, description="features", unit="batch"):
            rows = order[start : start + FEATURE_BATCH]
            ids = [torch.tensor(texts[k]) for k in rows]
            last = torch.tensor([len(text) - 1 for text in ids])
            padded = pad_sequence(ids, batch_first=True, padding_value=pad_id)
            found[rows] = model(padded)[torch.arange(len(rows)), last].float()
    return found.clone()


def features_once(path: Path, pairs: list[Conversations]) -> tuple[Tensor, int]:
    """Return (2, P, D) features of chosen and rejected texts, from a file where they are in it."""
    if path.is_file():
        tensors, info = load_checkpoint(path)
        return tensors["features"], info["cut"]
    model, tokenizer = load_model("smollm2")
    texts, n_cut = texts_of(pairs, tokenizer)
    features = torch.stack(features_of(model, texts, tokenizer.pad_id).chunk(2))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, {"features": features}, {"cut": n_cut})
    return features, n_cut


def split_by_prompt(pairs: list[Conversations], share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return which pairs are learned from and which are held out: no first message is in both."""
    prompts = sorted({pair.about for pair in pairs})
    order = torch.randperm(len(prompts), generator=generator(seed)).tolist()
    aside = {prompts[k] for k in order[: round(share * len(prompts))]}
    is_aside = torch.tensor([pair.about in aside for pair in pairs])
    return (~is_aside).nonzero().flatten(), is_aside.nonzero().flatten()


def pair_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the Bradley-Terry loss of (2 P, 1) scores, chosen first; `targets` only count."""
    return bradley_terry_loss(*scores.squeeze(1).chunk(2))


def fitted_head(features: Tensor, run: Run) -> tuple[nn.Linear, list[dict]]:
    """Return a head that was fitted to (2, P, D) features, and the records of its training."""
    head = nn.Linear(features.shape[2], 1, bias=False)  # a constant would change no difference
    nn.init.zeros_(head.weight)
    n_pairs = features.shape[1]

    def batches(step: int) -> Batch:
        rows = rows_of_step(step, n_pairs, min(BATCH, n_pairs), run.seed)
        return Batch(features[:, rows].flatten(0, 1), torch.ones(2 * len(rows), dtype=torch.int64))

    batches.facts = lambda: {"data_sha256": hash_of([features]), "data_seed": run.seed}
    records = train(
        head,
        batches,
        pair_loss,
        adamw(head, RATE, weight_decay=WEIGHT_DECAY),
        run.n_steps,
        schedule=cosine(run.n_steps, warmup_steps=min(10, run.n_steps)),
        checkpoint=run.folder / "head",
        checkpoint_every=1 if run.is_smoke else 25,
        description=f"head, seed {run.seed}",
    )
    return head.eval(), records


def is_ordered(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return (P,) 1 where the chosen one scores higher, 0 where lower, one half where equal."""
    return (chosen > rejected).float() + 0.5 * (chosen == rejected).float()


def measured(values: Tensor) -> dict:
    """Return the mean of values and its 95 % interval."""
    return {
        "mean": values.mean().item(),
        "interval": list(bootstrap_interval(values, generator=generator(0))),
    }


def above_chance(results: list[dict]) -> None:
    """The bar: at each seed the interval of the held-out accuracy lies above one half.

    Nothing is asked of the distance to the rule of length, which is measured beside it.
    """
    for result in results:
        low, _ = result["head"]["interval"]
        assert low > 0.5, f"the head's accuracy may be {low:.3f}, which is not above chance"


@experiment(
    "10_reward_head",
    "a linear head on SmolLM2's frozen features, fitted to HH-RLHF pairs: accuracy, and length's",
    n_steps=100,
    minutes=15,
    holds=above_chance,
    seeds=(0, 1, 2),
)
def reward_head(run: Run) -> dict:
    """Compute features once, split by first message, fit a head and measure on the others."""
    if run.is_smoke:
        pairs, left_out, place = world_conversations(8), {}, run.folder
    else:
        rows = local_rows(DATA, SPLIT)
        pairs, left_out = conversation_pairs(hub_rows(DATA, SPLIT) if rows is None else rows)
        place = run.folder.parent  # all seeds read the same features
    usable, pairs = len(pairs), evenly(pairs, N_PAIRS)
    features, n_cut = features_once(place / "features.safetensors", pairs)
    learned, aside = split_by_prompt(pairs, HELD_OUT, run.seed)
    of_training = features[:, learned].flatten(0, 1)
    features = (features - of_training.mean(0)) / of_training.std(0).clamp(min=1e-6)
    head, records = fitted_head(features[:, learned], run)
    with torch.inference_mode():
        scores = head(features).squeeze(2)  # (2, P)
    words = torch.tensor(
        [[len(text.split()) for text in (pair.chosen, pair.rejected)] for pair in pairs]
    ).T.float()  # (2, P)
    longer = is_ordered(*words)
    prefers_longer = longer[learned].mean().item() >= 0.5
    by_length = longer if prefers_longer else 1 - longer
    right = is_ordered(*scores)
    pick_longer = is_ordered(*(scores * (words[0] - words[1]).sign()))
    uneven = aside[words[0, aside] != words[1, aside]]
    return {
        "losses": [record["loss"] for record in records],
        "pairs": {"usable": usable, "used": len(pairs), "cut": n_cut, "left out": left_out}
        | {"training": len(learned), "held out": len(aside)},
        "prompts": {
            name: len({pairs[k].about for k in some.tolist()})
            for name, some in (("training", learned), ("held out", aside))
        },
        "head": measured(right[aside]),
        "training accuracy": right[learned].mean().item(),
        "length": measured(by_length[aside]) | {"prefers": ["shorter", "longer"][prefers_longer]},
        "difference": measured(right[aside] - by_length[aside])
        | {"p": paired_permutation_test(right[aside], by_length[aside], generator=generator(0))},
        "head picks the longer": pick_longer[uneven].mean().item() if len(uneven) else None,
    }
