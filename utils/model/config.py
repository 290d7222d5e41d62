"""The shape of a decoder: widths, counts and the constants of its parts.

A variant is `dataclasses.replace(config, n_layers=6)`. Foreign names for the same numbers
(those of Hugging Face checkpoints) are translated in `families.py` and appear nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from utils.model.rope_scaling import RopeScaling


@dataclass(frozen=True)
class TransformerConfig:
    """Everything that decides the shapes of a decoder's weights and what it computes.

    `n_kv_heads`, `d_head` and `d_ff` may be left out: as many key-value heads as heads, heads that
    share `d_model` evenly, and a feed-forward width of 8/3 of `d_model` rounded up to 32.

    >>> config = TransformerConfig(vocab_size=1024, context_length=128, d_model=128, n_heads=4)
    >>> config.n_layers, config.n_kv_heads, config.d_head, config.d_ff
    (4, 4, 32, 352)
    """

    vocab_size: int
    context_length: int
    d_model: int
    n_layers: int = 4
    n_heads: int = 4
    n_kv_heads: int | None = None  # fewer than n_heads: grouped-query; 1: multi-query attention
    d_head: int | None = None
    d_ff: int | None = None
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    tie_embeddings: bool = True  # the output projection is the embedding table
    qk_norm: bool = False  # RMSNorm on queries and keys of each head, as in Qwen3
    # None where there is none, False too: a record of an earlier edition lacks both fields, and
    # what a record lacks is read as None.
    qkv_bias: bool | None = None  # a vector added to queries, keys and values, as in Qwen2
    rope_scaling: RopeScaling | None = None  # for a context longer than the first; or its fields

    def __post_init__(self):
        object.__setattr__(self, "qkv_bias", True if self.qkv_bias else None)
        if isinstance(self.rope_scaling, dict):  # as a record in JSON has it
            object.__setattr__(self, "rope_scaling", RopeScaling(**self.rope_scaling))
        if self.n_kv_heads is None:
            object.__setattr__(self, "n_kv_heads", self.n_heads)
        if self.d_head is None:
            if self.d_model % self.n_heads:
                raise ValueError(
                    f"d_model {self.d_model} is not divisible by n_heads {self.n_heads}: choose "
                    "another number of heads, or give d_head"
                )
            object.__setattr__(self, "d_head", self.d_model // self.n_heads)
        if self.d_ff is None:
            object.__setattr__(self, "d_ff", -(-self.d_model * 8 // 3 // 32) * 32)
        for name in ("vocab_size", "context_length", "d_model", "n_layers", "n_heads", "d_ff"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads {self.n_heads} must be a multiple of n_kv_heads {self.n_kv_heads}: each "
                "key-value head serves the same number of query heads"
            )
        if self.d_head % 2:
            raise ValueError(f"d_head must be even for rotary positions, got {self.d_head}")
