"""Claims of unit 03 that need training, at three seeds."""

import statistics
from dataclasses import replace

import pytest
import torch

from utils.model.config import TransformerConfig
from utils.model.decoder import Block, Decoder
from utils.model.induction import AttentionOnly
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.tokens.repeated import repeated_batches
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import constant, cosine
from utils.zoo.load import load_base

SEEDS = (0, 1, 2)


def loss_after_training(n_layers, seed):
    """Return the loss on the repeated part of fresh rows, in nats per token."""
    torch.manual_seed(seed)
    config = TransformerConfig(64, 48, d_model=64, n_layers=n_layers, n_heads=4)
    model = AttentionOnly(config)
    train(
        model,
        repeated_batches(32, 48, 64, seed),
        cross_entropy,
        adamw(model, lr=1e-2, weight_decay=0.0),
        n_steps=300,
        schedule=cosine(300, warmup_steps=20),
    )
    fresh = repeated_batches(256, 48, 64, seed=1000 + seed)(0)
    with torch.inference_mode():
        return cross_entropy(model(fresh.token_ids), fresh.targets).item()


@pytest.mark.slow
def test_two_layers_learn_induction_and_one_does_not():
    losses = {n: [loss_after_training(n, seed) for seed in SEEDS] for n in (1, 2)}
    gaps = [one - two for one, two in zip(losses[1], losses[2], strict=True)]
    print(losses, f"gap {statistics.mean(gaps):.2f}, spread {max(gaps) - min(gaps):.2f}")
    assert min(gaps) >= 1.0, losses


class PostNormBlock(Block):
    """A block that normalises the stream after each addition."""

    def forward(self, x, cos, sin, mask=None, cache=None, layer=0):
        x = self.attention_norm(x + self.attention(x, cos, sin, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


@pytest.fixture(scope="module")
def world():
    """Return the base's configuration and batches of the world's text."""
    base, tokenizer = load_base()
    documents = tokenizer.encode_batch(world_corpus(2000, seed=3))
    stream = pack_documents(documents, tokenizer.end_id)
    return base.config, block_batches(stream, batch_size=8, context_length=64, seed=0)


@pytest.mark.slow
def test_deep_post_norm_without_warm_up_falls_behind_pre_norm(world):
    config, batches = world
    config = replace(config, d_model=64, n_layers=20, d_head=16, d_ff=192)
    gaps = []
    for seed in SEEDS:
        ends = []
        for kind in (Block, PostNormBlock):
            torch.manual_seed(seed)
            model = Decoder(config)
            model.blocks = torch.nn.ModuleList(kind(config) for _ in range(config.n_layers))
            model.reset_parameters()
            records = train(
                model,
                batches,
                cross_entropy,
                adamw(model, lr=1e-2),
                n_steps=80,
                schedule=constant(),
            )
            ends.append(statistics.mean(r["loss"] for r in records[-10:]))
        gaps.append(ends[1] - ends[0])
    print(f"gap {statistics.mean(gaps):.2f}, spread {max(gaps) - min(gaps):.2f}")
    assert min(gaps) > 0.3, gaps
