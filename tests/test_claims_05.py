"""Claims of unit 05 that depend on trained weights, on many draws or on time."""

import re
from copy import deepcopy

import pytest
import torch

from tests.claims.unit05 import table_draft
from utils.evaluate.metrics import perplexity
from utils.evaluate.text_loss import stream_loss
from utils.evaluate.world_qa import plain_prompt
from utils.model.cache import KVCache
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.model.generate import generate, generate_batch
from utils.model.int8 import quantize_model
from utils.model.pretrained import save_hugging_face
from utils.model.speculative import CachedReader, speculative_decode
from utils.report.work import operations
from utils.runtime import generator
from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base

SEEDS = (501, 502, 503)  # of text that the base has not seen


def stream_of(tokenizer, seed, n_documents=600):
    """Return the tokens of held-out documents in one row."""
    documents = tokenizer.encode_batch(world_corpus(n_documents, seed=seed))
    return pack_documents(documents, tokenizer.end_id)


def prompts_of(tokenizer, seed, n, split="trained"):
    """Return questions about the town and their prompts."""
    asked = questions(build_world(), split, n, seed=seed)
    return asked, [plain_prompt(tokenizer, question) for question in asked]


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_cached_logits_of_the_base_equal_uncached(seed):
    base, tokenizer = load_base()
    rows = stream_of(tokenizer, seed)[: 8 * 128].view(8, 128)
    gaps = {}
    for dtype in (torch.float32, torch.float64):
        model = deepcopy(base).to(dtype)
        cache = KVCache(model.config, 8, 128, dtype=dtype)
        with torch.inference_mode():
            got = torch.cat([model(token, cache) for token in rows.split(1, dim=1)], dim=1)
            want = model(rows)
        gaps[dtype] = (got - want).abs().max().item()
    largest = want.abs().max().item()
    print(f"seed {seed}: largest gap {gaps}, largest logit {largest:.1f}")
    assert gaps[torch.float32] < 1e-5 * largest
    assert gaps[torch.float64] < 1e-10  # so what is left in float32 is rounding


@pytest.mark.slow
@pytest.mark.parametrize("seed", (0, 1, 2))
def test_answers_of_the_base_in_a_batch_equal_those_alone_and_transformers(seed, tmp_path):
    from transformers import AutoModelForCausalLM

    base, tokenizer = load_base()
    _, prompts = prompts_of(tokenizer, seed, 40)
    stops = {"pad_id": tokenizer.pad_id, "end_id": tokenizer.end_id}
    together = generate_batch(base, prompts, 40, **stops)
    assert together == [generate_batch(base, [prompt], 40, **stops)[0] for prompt in prompts]
    save_hugging_face(base, tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path)
    T = max(map(len, prompts))
    out = theirs.generate(
        torch.tensor([[tokenizer.pad_id] * (T - len(p)) + p for p in prompts]),
        attention_mask=torch.tensor([[0] * (T - len(p)) + [1] * len(p) for p in prompts]),
        max_new_tokens=40,
        do_sample=False,
        pad_token_id=tokenizer.pad_id,
        eos_token_id=tokenizer.end_id,
    )
    for row, ours in zip(out[:, T:].tolist(), together, strict=True):
        assert (row[: row.index(tokenizer.end_id)] if tokenizer.end_id in row else row) == ours


@pytest.fixture(scope="module")
def drafted():
    """Return the base's tokenizer and a draft that knows which token follows which two."""
    _, tokenizer = load_base()
    return tokenizer, table_draft(tokenizer)


@pytest.mark.slow
def test_the_greedy_text_of_the_base_needs_fewer_passes_and_stays_the_same(drafted):
    base, (tokenizer, draft) = load_base()[0], drafted
    for seed in SEEDS:
        for text in world_corpus(10, seed=seed):
            head = re.match(r"(?s).*?Answer:|\S+ \S+", text)[0]
            row = torch.tensor([tokenizer.end_id, *tokenizer.encode(head)])
            got = speculative_decode(CachedReader(base), draft, row, 60, temperature=0.0)
            assert torch.equal(got.token_ids, generate(base, row[None], 60)[0])
            assert got.n_target_passes < 60


@pytest.mark.slow
@pytest.mark.parametrize("seed", (0, 1, 2))
def test_speculative_draws_follow_the_target_at_three_seeds(seed):
    tables = [torch.randn(5, 5, generator=generator(10 * seed + k)) for k in (0, 1)]
    counts, chance = torch.zeros(5, 5, dtype=torch.float64), generator(seed)
    for _ in range(10_000):
        first, second = speculative_decode(
            lambda ids: tables[0][ids],
            lambda ids: tables[1][ids],
            torch.tensor([0]),
            2,
            generator=chance,
        ).token_ids[1:]
        counts[first, second] += 1
    p = tables[0].double().softmax(-1)
    expected = 10_000 * p[0].unsqueeze(-1) * p  # (5, 5)
    statistic = ((counts - expected) ** 2 / expected).sum()
    p_value = torch.special.gammaincc(torch.tensor(12.0).double(), statistic / 2).item()
    print(f"seed {seed}: p-value {p_value:.3f}")
    assert p_value > 0.001


@pytest.mark.slow
def test_int8_changes_perplexity_by_less_than_one_percent():
    base, tokenizer = load_base()
    small = quantize_model(base)
    changes = []
    for seed in SEEDS:
        stream = stream_of(tokenizer, seed)
        before, after = (perplexity(stream_loss(m, stream, 128)) for m in (base, small))
        changes.append(abs(after / before - 1))
    print(f"change of perplexity: {changes}")
    assert max(changes) < 0.01


def test_128_tokens_with_a_cache_take_a_fifth_of_the_work():
    """Counted in operations; the seconds are a row of the bench."""
    torch.manual_seed(0)
    model = Decoder(TransformerConfig(1024, 512, d_model=128, n_layers=4)).eval()
    prompt = torch.randint(1024, (1, 16), generator=generator(0))

    def uncached():
        ids = prompt
        with torch.inference_mode():
            for _ in range(128):
                ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], dim=1)
        return ids

    work, texts = {}, {}
    for name, run in (("uncached", uncached), ("cached", lambda: generate(model, prompt, 128))):
        work[name] = operations(lambda name=name, run=run: texts.update({name: run()}))
    assert torch.equal(texts["uncached"], texts["cached"])
    print(f"operations uncached over cached {work['uncached'] / work['cached']:.1f}")
    assert work["uncached"] >= 5 * work["cached"]
