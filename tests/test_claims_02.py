"""Unit 02's claim about training, over three seeds: a mask that leaks by one hides itself."""

import pytest
import torch

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


@pytest.mark.slow
def test_a_leak_by_one_has_under_a_tenth_of_the_honest_loss_over_three_seeds():
    _, tokenizer = load_base(rebuild=False)
    documents = tokenizer.encode_batch(world_corpus(4000, seed=3))
    stream = pack_documents(documents, tokenizer.end_id)
    shares = []
    for seed in range(3):
        batches = block_batches(stream, batch_size=8, context_length=64, seed=seed)
        leaked, honest = (
            final_loss(kind, batches, tokenizer.vocab_size, seed)
            for kind in (LeakyDecoder, Decoder)
        )
        shares.append(leaked / honest)
    mean, spread = sum(shares) / 3, max(shares) - min(shares)
    print(f"loss with the leak over loss without: mean {mean:.3f}, spread {spread:.3f}")
    assert max(shares) < 0.1, shares
