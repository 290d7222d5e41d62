"""Quiz of unit 05: what top-p keeps, how large a cache grows, what a bad draft costs."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_top_p() -> str:
    """Return the option for what top_p keeps of shares 0.5, 0.3, 0.15, 0.05 at 0.7."""
    import torch

    from utils.model.sampling import sample_next_token

    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, -1)
    drawn = sample_next_token(logits, top_p=0.7, generator=torch.Generator().manual_seed(0))
    return {1: "a", 2: "b", 3: "c"}[len(drawn.unique())]


def prove_cache() -> str:
    """Return the option for a cache with a quarter of the heads and four times the length."""
    from utils.model.cache import KVCache
    from utils.model.config import TransformerConfig

    def n_bytes(n_kv_heads: int, capacity: int) -> int:
        config = TransformerConfig(9, 4096, 32, n_layers=2, n_heads=8, n_kv_heads=n_kv_heads)
        return KVCache(config, batch_size=1, capacity=capacity).n_bytes

    ratio = n_bytes(2, 4096) / n_bytes(8, 1024)
    return {1: "a", 4: "b", 16: "c"}[round(ratio)]


def prove_speculative() -> str:
    """Return the option for what a draft that is always wrong does to text and passes."""
    import torch

    from utils.model.speculative import speculative_decode

    V, n = 5, 12
    start, target = torch.tensor([0]), torch.full((V, V), -9.0)
    target[torch.arange(V), (torch.arange(V) + 1) % V] = 9.0
    wrong = target.roll(1, dims=1)
    told = speculative_decode(
        lambda ids: target[ids], lambda ids: wrong[ids], start, n, temperature=0.0
    )
    alone = torch.arange(n + 1) % V
    if not told.token_ids.equal(alone):
        return "a"
    return "c" if told.n_target_passes == n else "b"


QUIZ = [
    Question(
        "top-p",
        "Four tokens have the shares 0.5, 0.3, 0.15 and 0.05. Which does top_p=0.7 keep?",
        {
            "a": ("the first", "Its 0.5 is less than 0.7, so the set is not large enough yet."),
            "b": (
                "the first two",
                "0.5 and 0.3 are the fewest that together have at least 0.7.",
            ),
            "c": (
                "the first three",
                "After two tokens the sum is 0.8 already, and nothing more is needed.",
            ),
        },
        "b",
        prove_top_p,
    ),
    Question(
        "cache-bytes",
        "A model with eight key-value heads is replaced by one with two, all else alike, and texts "
        "become four times as long. What happens to the memory of a text's cache?",
        {
            "a": (
                "it stays the same",
                "Bytes grow with length times heads: four times the one, a quarter of the other.",
            ),
            "b": (
                "four times as much",
                "Length does that, but a quarter of the heads are left to be kept.",
            ),
            "c": (
                "sixteen times as much",
                "A cache grows with the length, not with its square: one entry for each token.",
            ),
        },
        "a",
        prove_cache,
    ),
    Question(
        "speculative",
        "A draft is always wrong: the target refuses each of its proposals. What comes of it?",
        {
            "a": (
                "some of the draft's tokens get into the text",
                "A proposal stays by the chance p / q, and here p is nearly zero.",
            ),
            "b": (
                "the target's text, in fewer passes than without a draft",
                "A pass is saved by an accepted proposal, and none is accepted.",
            ),
            "c": (
                "the target's text, at one pass for each token",
                "A refused round still gives one token of the target's own. Only time is lost.",
            ),
        },
        "c",
        prove_speculative,
    ),
]
