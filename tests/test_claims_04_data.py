"""Unit 04, three seeds: what stands often in the text is learned by heart; removal undoes it."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from utils.evaluate.extraction import extraction_rate, plant, private_notes
from utils.model.decoder import Decoder
from utils.text.corpora import world_corpus
from utils.text.duplicates import without_near_duplicates
from utils.tokens.batches import block_batches, pack_documents
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.zoo.load import load_base

GROUPS = {1: 72, 4: 24, 16: 24, 32: 24}  # copies -> notes; once is rare, so it gets more notes
STARTS = [sum(list(GROUPS.values())[:k]) for k in range(len(GROUPS) + 1)]


def extracted(texts, notes, tokenizer, config, seed):
    """Return how many notes of each group, and last of strangers, the trained model recites."""
    stream = pack_documents(tokenizer.encode_batch(texts), tokenizer.end_id)
    torch.manual_seed(seed)
    model = Decoder(config)
    train(
        model,
        block_batches(stream, 8, 128, seed),
        cross_entropy,
        adamw(model, lr=5e-3, weight_decay=0.0),
        n_steps=700,
        schedule=cosine(700, warmup_steps=20),
    )
    passages = [[tokenizer.end_id, *tokenizer.encode(note)] for note in notes]
    parts = [passages[a:b] for a, b in pairwise([*STARTS, len(passages)])]
    return [round(len(p) * extraction_rate(model, p, n_prompt=20, n_match=20)) for p in parts]


def wilson(n_found, n, sign):
    """Return the end of Wilson's interval that 95 % of the time lies below (-1) or above (+1)."""
    z = 1.645
    centre = n_found + z * z / 2
    width = z * (n_found * (n - n_found) / n + z * z / 4) ** 0.5
    return (centre + sign * width) / (n + z * z)


def test_wilson_at_known_places():
    assert wilson(0, 72, +1) == pytest.approx(1.645**2 / (72 + 1.645**2))
    assert wilson(12, 24, -1) == pytest.approx(1 - wilson(12, 24, +1))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_are_learned_by_heart_and_removal_undoes_it(seed):
    base, tokenizer = load_base()
    config = replace(base.config, n_layers=2)
    n = sum(GROUPS.values())
    notes = private_notes(n + 100, seed=seed, n_sentences=3)  # the last 100 are planted nowhere
    copies = [c for c, n_notes in GROUPS.items() for _ in range(n_notes)]
    raw = plant(world_corpus(1500, seed=10 + seed), notes[:n], copies, seed=seed)
    clean = [raw[i] for i in without_near_duplicates(raw)]
    before = extracted(raw, notes, tokenizer, config, seed)
    after = extracted(clean, notes, tokenizer, config, seed)
    print(
        f"seed {seed}: notes {GROUPS}, recited {before[:-1]}, after removal {after[:-1]}, "
        f"of 100 strangers {before[-1]}, {after[-1]}"
    )
    # A ratio over nearly nothing says nothing: the low end of one against the high end of the other
    often = wilson(before[3], GROUPS[32], -1)
    assert often >= 5 * wilson(before[0], GROUPS[1], +1)
    assert often >= 5 * wilson(sum(after[:-1]), n, +1)
    # Three to six words of a continuation are drawn, each one of eight: 0.06 % by luck.
    assert max(before[-1], after[-1]) <= 2
