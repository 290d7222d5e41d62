"""Claims of unit 05 that depend on trained weights or on time."""

import statistics
import time

import pytest
import torch

from utils.evaluate.metrics import perplexity
from utils.evaluate.text_loss import stream_loss
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate
from utils.model.int8 import quantize_model
from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents
from utils.zoo.load import load_base


@pytest.mark.slow
def test_int8_changes_perplexity_by_less_than_one_percent():
    base, tokenizer = load_base()
    small = quantize_model(base)
    changes = []
    for seed in (501, 502, 503):
        documents = tokenizer.encode_batch(world_corpus(600, seed=seed))
        stream = pack_documents(documents, tokenizer.end_id)
        before, after = (perplexity(stream_loss(m, stream, 128)) for m in (base, small))
        changes.append(abs(after / before - 1))
    print(f"change of perplexity: {changes}")
    assert max(changes) < 0.01


@pytest.mark.slow
def test_256_tokens_with_a_cache_take_a_fifth_of_the_time():
    torch.manual_seed(0)
    model = Decoder(TransformerConfig(1024, 320, d_model=128, n_layers=4)).eval()
    prompt = torch.randint(1024, (1, 16), generator=torch.Generator().manual_seed(0))

    def uncached():
        ids = prompt
        with torch.inference_mode():
            for _ in range(256):
                ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
        return ids

    def seconds(run):
        start = time.perf_counter()
        run()
        return time.perf_counter() - start

    assert torch.equal(generate(model, prompt, 256), uncached())
    turns = [(seconds(uncached), seconds(lambda: generate(model, prompt, 256))) for _ in range(3)]
    ratio = statistics.median(slow / fast for slow, fast in turns)
    print(f"uncached over cached: {ratio:.1f}")
    assert ratio >= 5
