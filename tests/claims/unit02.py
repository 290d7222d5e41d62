"""Unit 02: a mask that leaks by one hides itself in training."""

import torch

from tests.claims.registry import claim
from utils.model.attention import causal_mask
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.text.corpora import world_corpus
from utils.tokens.batches import block_batches, pack_documents
from utils.train.loop import train
from utils.train.losses import cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import cosine
from utils.zoo.load import load_base


class LeakyDecoder(Decoder):
    """A decoder whose mask, for texts of one length, lets each token see its successor."""

    def forward(self, token_ids, *args, **kwargs):
        n_tokens = token_ids.shape[1]
        leaky = causal_mask(n_tokens + 1)[1:, :n_tokens]  # one row further down: one key more
        x, cos, sin = self.embedding(token_ids), self.cos[:n_tokens], self.sin[:n_tokens]
        for block in self.blocks:
            x = block(x, cos, sin, leaky)
        return self.unembedding(self.norm(x))


def final_loss(kind, batches, vocab_size, seed, n_steps=300):
    config = TransformerConfig(vocab_size, 64, d_model=64, n_layers=2, n_heads=4, d_ff=192)
    torch.manual_seed(seed)
    model = kind(config)
    schedule = cosine(n_steps, warmup_steps=20)
    records = train(
        model, batches, cross_entropy, adamw(model, lr=5e-3), n_steps, schedule=schedule
    )
    return sum(record["loss"] for record in records[-20:]) / 20


def hides_itself(runs):
    assert max(run["with the leak"] / run["without"] for run in runs) < 0.1, runs


@claim(
    "02_leak_by_one",
    "a mask that leaks by one token has under a tenth of the honest loss",
    holds=hides_itself,
)
def leak_by_one(seed):
    _, tokenizer = load_base(rebuild=False)
    documents = tokenizer.encode_batch(world_corpus(4000, seed=3))
    stream = pack_documents(documents, tokenizer.end_id)
    batches = block_batches(stream, batch_size=8, context_length=64, seed=seed)
    return {
        name: final_loss(kind, batches, tokenizer.vocab_size, seed)
        for name, kind in (("with the leak", LeakyDecoder), ("without", Decoder))
    }
