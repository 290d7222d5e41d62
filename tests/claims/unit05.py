"""Unit 05: padding that is seen, and passes that a draft saves."""

from collections import Counter, defaultdict

import torch

from tests.claims.registry import claim
from utils.evaluate.world_qa import judge_answers, plain_prompt, share
from utils.model.generate import generate
from utils.model.speculative import CachedReader, speculative_decode
from utils.runtime import generator
from utils.text.corpora import world_corpus
from utils.tokens.batches import pack_documents
from utils.world.facts import build_world
from utils.world.questions import questions
from utils.zoo.load import load_base


def costs_answers(runs):
    assert min(run["right with a mask"] - run["right without"] for run in runs) > 0.01, runs


def right_answers(seed, n_questions=400):
    base, tokenizer = load_base()
    world, end = build_world(), tokenizer.end_id
    asked = questions(world, "held_out_phrasing", n_questions, seed=seed)
    prompts = [plain_prompt(tokenizer, question) for question in asked]
    T = max(map(len, prompts))
    rows = torch.tensor([[end] * (T - len(p)) + p for p in prompts])
    keep = torch.tensor([[False] * (T - len(p)) + [True] * len(p) for p in prompts])
    right = {}
    for name, mask in (("right with a mask", keep), ("right without", None)):
        out = generate(base, rows, 40, end_id=end, attention_mask=mask)[:, T:]
        texts = [tokenizer.decode(row, skip_special=True) for row in out.tolist()]
        right[name] = share(judge_answers(world, asked, texts), "correct")
    return right


@claim(
    "05_visible_padding",
    "end tokens as padding that the model sees cost over 1 % of right answers",
    seeds=(9, 10, 11),
    holds=costs_answers,
)
def visible_padding(seed):
    return right_answers(seed)


def table_draft(tokenizer):
    """Return a draft that knows which token follows which two in the world's text."""
    documents = tokenizer.encode_batch(world_corpus(20_000, seed=5))
    stream = pack_documents(documents, tokenizer.end_id).tolist()
    follows = defaultdict(Counter)
    for first, second, third in zip(stream, stream[1:], stream[2:], strict=False):
        follows[first, second][third] += 1

    def draft(token_ids):
        shares = torch.full((tokenizer.vocab_size,), 1e-4)
        for token, n in follows[tuple(token_ids[0, -2:].tolist())].items():
            shares[token] += n
        return shares.log()[None, None]

    return draft


def saves_passes(runs):
    for run in runs:
        assert run["tokens a pass, stories"] > 1.5 > run["tokens a pass, codes"] > 1.0, runs


@claim(
    "05_passes_saved",
    "a table of counts saves a third of the passes on stories, and few on codes",
    seeds=(501, 502, 503),
    holds=saves_passes,
    atol=0.1,
)
def passes_saved(seed):
    base, tokenizer = load_base()
    draft, texts = table_draft(tokenizer), world_corpus(1500, seed=seed)
    kinds = {
        "stories": [" ".join(t.split(" ")[:2]) for t in texts if "Question" not in t],
        "codes": [t.partition("Answer:")[0] + "Answer:" for t in texts if "Copy" in t],
    }
    found = {}
    for kind, heads in kinds.items():
        reader, chance, n_new, n_passes = CachedReader(base), generator(seed), 0, 0
        for head in heads[:30]:
            row = torch.tensor([tokenizer.end_id, *tokenizer.encode(head)])
            got = speculative_decode(
                reader, draft, row, 40, generator=chance, end_id=tokenizer.end_id
            )
            n_new += len(got.token_ids) - len(row)
            n_passes += got.n_target_passes
        found[f"tokens a pass, {kind}"] = n_new / n_passes
    return found
