"""What a decoder costs, from its configuration alone: weights, operations, bytes.

`sizes_of(config)` gives the numbers that the formulas take. Nothing is allocated, so a model of
405 billion weights costs as little as a small one. Left out on purpose: element-wise operations,
norms and softmax (below a percent of the operations at usual widths), optimizer state. Biases,
which most models lack, are counted apart (`count_biases`).

Letters: B rows, T tokens, L layers. An operation is one multiplication or one addition.
Source: Kaplan et al. 2020, "Scaling Laws for Neural Language Models", section 2.1.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from utils.model.config import TransformerConfig

LLAMA_8B = TransformerConfig(
    vocab_size=128256,
    context_length=131072,
    d_model=4096,
    n_layers=32,
    n_heads=32,
    n_kv_heads=8,
    d_ff=14336,
    rope_theta=500000.0,
    tie_embeddings=False,
)  # Llama 3.1 8B: 8,030,261,248 weights
LLAMA_70B = replace(  # Llama 3.1 70B: 70,553,706,496 weights
    LLAMA_8B, d_model=8192, n_layers=80, n_heads=64, d_ff=28672
)
LLAMA_405B = replace(  # Llama 3.1 405B: 405,853,388,800 weights
    LLAMA_8B, d_model=16384, n_layers=126, n_heads=128, d_ff=53248
)
QWEN3_600M = TransformerConfig(
    vocab_size=151936,
    context_length=40960,
    d_model=1024,
    n_layers=28,
    n_heads=16,
    n_kv_heads=8,
    d_head=128,
    d_ff=3072,
    rope_theta=1000000.0,
    norm_eps=1e-6,
    qk_norm=True,
)  # Qwen3 0.6B: 596,049,920 weights, the tied table counted once
MODELS = {
    "Qwen3 0.6B": QWEN3_600M,
    "Llama 3.1 8B": LLAMA_8B,
    "Llama 3.1 70B": LLAMA_70B,
    "Llama 3.1 405B": LLAMA_405B,
}
# They change no shape of a matrix.
NOT_SIZES = ("context_length", "rope_theta", "rope_scaling", "norm_eps", "qkv_bias")


def sizes_of(config: TransformerConfig) -> dict[str, int]:
    """Return the numbers of a configuration that the formulas take, by name.

    >>> sizes_of(TransformerConfig(vocab_size=8, context_length=4, d_model=6, n_heads=1))["d_head"]
    6
    """
    return {name: value for name, value in asdict(config).items() if name not in NOT_SIZES}


def count_parameters(
    vocab_size: int,
    d_model: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int,
    d_head: int,
    d_ff: int,
    tie_embeddings: bool,
    qk_norm: bool,
) -> int:
    """Return the number of weights of a decoder.

    Args:
        vocab_size: rows of the embedding table.
        d_model: width of the residual stream.
        n_layers: number of blocks.
        n_heads, n_kv_heads, d_head: queries have n_heads heads of width d_head, keys and values
            n_kv_heads each; d_model need not be n_heads * d_head.
        d_ff: width of the feed-forward part, which has three matrices.
        tie_embeddings: the output projection is the embedding table, which counts once.
        qk_norm: each block has two more gains of width d_head.

    Returns:
        All weights: tables, matrices of the blocks, and gains of norms, the final one too.

    >>> count_parameters(10, 4, 1, 2, 1, 2, 8, tie_embeddings=True, qk_norm=False)
    196

    Source: Touvron et al. 2023, "LLaMA", section 2.2, for the parts.
    """
    attention = 2 * d_model * d_head * (n_heads + n_kv_heads)  # queries and output, keys and values
    feed_forward = 3 * d_model * d_ff
    gains = 2 * d_model + (2 * d_head if qk_norm else 0)
    tables = vocab_size * d_model * (1 if tie_embeddings else 2)
    return tables + n_layers * (attention + feed_forward + gains) + d_model


def count_flops(
    vocab_size: int,
    d_model: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int,
    d_head: int,
    d_ff: int,
    batch_size: int,
    n_tokens: int,
    is_training: bool = False,
) -> int:
    """Return the operations of the matrix products of one pass through a decoder.

    A product of (m, k) and (k, n) takes 2 m k n: m n sums of k products. Scores are counted for
    all pairs of tokens, hidden ones too, as PyTorch's counter does.

    Args:
        vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff: as in `count_parameters`.
        batch_size: B rows.
        n_tokens: T tokens in each row.
        is_training: count the backward pass too, which takes twice the forward pass: each product
            has two arguments, and each of them a gradient that is a product.

    Returns:
        Multiplications and additions. Looking up an embedding takes none.

    >>> count_flops(10, 4, 1, 2, 1, 2, 8, batch_size=1, n_tokens=1)
    384

    Source: Kaplan et al. 2020, section 2.1; Hoffmann et al. 2022, appendix F.
    """
    attention = 2 * d_model * d_head * (n_heads + n_kv_heads)
    weights = n_layers * (attention + 3 * d_model * d_ff) + vocab_size * d_model
    pairs = n_layers * 2 * n_heads * d_head * n_tokens  # a token's scores, and its average
    forward = 2 * batch_size * n_tokens * (weights + pairs)
    return 3 * forward if is_training else forward


def count_biases(config: TransformerConfig) -> int:
    """Return the number of weights that `count_parameters` leaves out: biases of q, k and v.

    >>> qwen2 = TransformerConfig(9, 4, d_model=8, n_layers=3, n_heads=2, qkv_bias=True)
    >>> count_biases(qwen2)  # 3 layers, 8 numbers each for q, k and v
    72
    """
    width = (config.n_heads + 2 * config.n_kv_heads) * config.d_head
    return config.n_layers * width if config.qkv_bias else 0


def weight_bytes(config: TransformerConfig, bytes_each: float = 2) -> float:
    """Return the bytes that the weights take: 4 each in float32, 2 in bfloat16, 0.5 in 4 bits.

    >>> round(weight_bytes(LLAMA_8B) / 1e9, 1)
    16.1
    """
    return (count_parameters(**sizes_of(config)) + count_biases(config)) * bytes_each


def cache_bytes(config: TransformerConfig, n_tokens: int, bytes_each: float = 2) -> float:
    """Return the bytes that keys and values of one row of `n_tokens` tokens take.

    >>> cache_bytes(LLAMA_8B, n_tokens=8192) / 2**30
    1.0
    """
    return 2 * config.n_layers * config.n_kv_heads * config.d_head * n_tokens * bytes_each
