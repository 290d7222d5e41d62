"""Unit 03: induction needs two layers; deep post-norm needs a warm-up at a high rate."""

import statistics
from dataclasses import replace

import torch

from tests.claims.registry import claim
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


def two_are_a_nat_below(runs):
    assert min(run["one layer"] - run["two layers"] for run in runs) >= 1.0, runs


@claim(
    "03_induction",
    "two layers of attention learn induction, at least 1 nat below one layer",
    holds=two_are_a_nat_below,
)
def induction(seed):
    return {name: loss_after_training(n, seed) for n, name in ((1, "one layer"), (2, "two layers"))}


class PostNormBlock(Block):
    """A block that normalises the stream after each addition."""

    def forward(self, x, cos, sin, mask=None, cache=None, layer=0):
        x = self.attention_norm(x + self.attention(x, cos, sin, mask))
        return self.feed_forward_norm(x + self.feed_forward(x))


def falls_behind(runs):
    assert min(run["post-norm"] - run["pre-norm"] for run in runs) > 0.3, runs


@claim(
    "03_post_norm",
    "20 layers with post-norm, without warm-up at a rate of 1e-2, end at least 0.3 nats higher",
    holds=falls_behind,
)
def post_norm(seed):
    base, tokenizer = load_base()
    documents = tokenizer.encode_batch(world_corpus(2000, seed=3))
    stream = pack_documents(documents, tokenizer.end_id)
    batches = block_batches(stream, batch_size=8, context_length=64, seed=0)
    config = replace(base.config, d_model=64, n_layers=20, d_head=16, d_ff=192)
    ends = {}
    for name, kind in (("pre-norm", Block), ("post-norm", PostNormBlock)):
        torch.manual_seed(seed)
        model = Decoder(config)
        model.blocks = torch.nn.ModuleList(kind(config) for _ in range(config.n_layers))
        model.reset_parameters()
        optimizer = adamw(model, lr=1e-2)
        records = train(model, batches, cross_entropy, optimizer, n_steps=80, schedule=constant())
        ends[name] = statistics.mean(r["loss"] for r in records[-10:])
    return ends
