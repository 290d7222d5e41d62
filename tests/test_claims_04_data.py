"""Unit 04, three seeds: what stands often in the text is learned by heart; removal undoes it."""

import statistics
from dataclasses import replace

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

COPIES, EACH = (1, 4, 16, 32), 24


def rates(texts, notes, tokenizer, config, seed):
    """Return the share extracted of the notes that stood there 1, 4, 16 and 32 times."""
    stream = pack_documents(tokenizer.encode_batch(texts), tokenizer.end_id)
    torch.manual_seed(seed)
    model = Decoder(config)
    train(
        model,
        block_batches(stream, 8, 128, seed),
        cross_entropy,
        adamw(model, lr=5e-3, weight_decay=0.0),
        n_steps=500,
        schedule=cosine(500, warmup_steps=20),
    )
    passages = [[tokenizer.end_id, *tokenizer.encode(note)] for note in notes]
    return [
        extraction_rate(model, passages[k : k + EACH], n_prompt=20, n_match=20)
        for k in range(0, len(passages), EACH)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_copies_are_learned_by_heart_and_removal_undoes_it(seed):
    base, tokenizer = load_base()
    config = replace(base.config, n_layers=2)
    notes = private_notes(EACH * len(COPIES), seed=seed, n_sentences=3)
    copies = [n for n in COPIES for _ in range(EACH)]
    raw = plant(world_corpus(1500, seed=10 + seed), notes, copies, seed=seed)
    clean = [raw[i] for i in without_near_duplicates(raw)]
    before = rates(raw, notes, tokenizer, config, seed)
    after = rates(clean, notes, tokenizer, config, seed)
    print(f"seed {seed}: copies {COPIES}, extracted {before}, after removal {after}")
    # One note in 24 is the least that can be seen, so no ratio is taken over less than that.
    assert before[-1] >= 5 * max(before[0], 1 / EACH)
    assert before[-1] >= 5 * max(statistics.mean(after), 1 / EACH)
