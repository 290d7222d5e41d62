"""Quiz of unit 02: the axis of the softmax, shared heads, what rotary positions turn."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_softmax_axis() -> str:
    """Return the option for which each query's weights sum to one."""
    import torch

    scores = torch.arange(15.0).view(3, 5)  # 3 queries, 5 keys
    sums = {"a": scores.softmax(dim=0).sum(dim=1), "b": scores.softmax(dim=1).sum(dim=1)}
    return next(k for k, v in sums.items() if torch.allclose(v, torch.ones(3)))


def prove_kv_heads() -> str:
    """Return the option with the cache's ratio."""
    from utils.model.cache import KVCache
    from utils.model.config import TransformerConfig

    sizes = []
    for n_kv_heads in (8, 2):
        config = TransformerConfig(16, 64, 64, n_layers=2, n_heads=8, n_kv_heads=n_kv_heads)
        sizes.append(KVCache(config, 1, 64).n_bytes)
    return {1: "a", 4: "b", 16: "c"}[sizes[0] // sizes[1]]


def prove_rope_values() -> str:
    """Return whether a shift of all positions changes attention when values are turned too."""
    import torch

    from utils.model.attention import causal_mask, scaled_dot_product_attention
    from utils.model.rotary import apply_rope, rope_table

    x = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
    cos, sin = rope_table(10, 8)

    def answer(start: int) -> torch.Tensor:
        part = cos[start : start + 6], sin[start : start + 6]
        q, k, v = (apply_rope(t, *part) for t in x)
        return scaled_dot_product_attention(q, k, v, causal_mask(6))

    return "a" if torch.allclose(answer(0), answer(4), atol=1e-5) else "b"


QUIZ = [
    Question(
        "softmax-axis",
        "Scores have shape (T, S): a row per query, a column per key. Along which axis does the "
        "softmax run?",
        {
            "a": (
                "axis 0, the queries",
                "Then each key's shares sum to one, and a query may get nothing or all of it.",
            ),
            "b": (
                "axis 1, the keys",
                "Each query spreads a share of one over the keys. The last axis is that of keys.",
            ),
            "c": (
                "both, one after the other",
                "The second softmax would flatten the shares that the first one made.",
            ),
        },
        "b",
        prove_softmax_axis,
    ),
    Question(
        "kv-heads",
        "A model has 8 heads. You go from 8 key-value heads to 2. What happens to the cache?",
        {
            "a": (
                "nothing, queries are as many as before",
                "Queries are not kept; keys and values are, and they are fewer.",
            ),
            "b": ("it shrinks to a quarter", "2 of 8: keys and values shrink alike."),
            "c": (
                "it shrinks to a sixteenth",
                "Keys and values each shrink to a quarter, and so does their sum.",
            ),
        },
        "b",
        prove_kv_heads,
    ),
    Question(
        "rope-values",
        "Somebody turns values too, not only queries and keys. All positions are then shifted "
        "by 4. Do the answers of attention stay as they were?",
        {
            "a": (
                "yes, rotary positions are relative",
                "Scores are relative, but a turned value carries its absolute position out.",
            ),
            "b": (
                "no",
                "The shares stay, but each value is turned by its own place, and so is the answer.",
            ),
        },
        "b",
        prove_rope_values,
    ),
]
