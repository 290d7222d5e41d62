"""Attention: each token looks up the values of the tokens it may see, weighted by match.

The functions are written to be read; the decoder's `Attention` does the same with fused projections
and torch's kernel, and tests hold them equal. A mask is True where a query may see a key.

Shapes: B batch, T query tokens, S key tokens, D d_model, H heads, K d_head.
Source: Vaswani et al. 2017, "Attention Is All You Need", section 3.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.model.cache import KVCache
from utils.model.config import TransformerConfig
from utils.model.linear import Linear
from utils.model.norm import RMSNorm
from utils.model.rotary import apply_rope


def causal_mask(n_tokens: int) -> Tensor:
    """Return which token may see which: itself and all before it.

    Args:
        n_tokens: T, the length of the sequence.

    Returns:
        (T, T) bool; row i is the query, column j the key, True where j <= i.

    >>> causal_mask(3).int()
    tensor([[1, 0, 0],
            [1, 1, 0],
            [1, 1, 1]], dtype=torch.int32)

    Source: Vaswani et al. 2017, section 3.2.3.
    """
    return torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()


def attention_weights(q: Tensor, k: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return how much each query attends to each key: softmax(q k^T / sqrt(K)).

    Args:
        q: (..., T, K).
        k: (..., S, K).
        mask: bool that broadcasts to (..., T, S), True where the query may see the key.

    Returns:
        (..., T, S); each row is non-negative and sums to one.

    Raises:
        ValueError: where a query may see no key at all (its weights would be NaN), or the mask
            holds numbers instead of True and False.

    >>> attention_weights(torch.zeros(2, 4), torch.zeros(2, 4), causal_mask(2))
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000]])

    Source: Vaswani et al. 2017, equation 1.
    """
    # The average of the rows of an identity matrix, weighted by w, is w.
    every_key = torch.eye(k.shape[-2], dtype=q.dtype, device=q.device)  # (S, S)
    return scaled_dot_product_attention(q, k, every_key, mask)  # (..., T, S)


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Return for each query the average of the values, weighted by softmax(q k^T / sqrt(K)).

    Args:
        q: (..., T, K) queries.
        k: (..., S, K) keys.
        v: (..., S, K_v) values, one for each key.
        mask: bool that broadcasts to (..., T, S), True where the query may see the key; None to
            let every query see every key.

    Returns:
        (..., T, K_v). The arguments are not changed.

    Raises:
        ValueError: where a query may see no key at all (the result would be NaN), or the mask holds
            numbers instead of True and False.

    >>> v = torch.tensor([[1.0], [3.0]])
    >>> scaled_dot_product_attention(torch.zeros(2, 4), torch.zeros(2, 4), v, causal_mask(2))
    tensor([[1.],
            [2.]])

    Source: Vaswani et al. 2017, equation 1.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (..., T, S)
    if mask is not None:
        if mask.dtype != torch.bool or not mask.any(dim=-1).all():
            raise ValueError("mask hides every key from a query, or is not bool")
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1)  # (..., T, S)
    return weights @ v  # (..., T, K_v)


def multi_head_attention(
    x: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    n_heads: int,
    n_kv_heads: int,
    cos: Tensor | None = None,
    sin: Tensor | None = None,
) -> Tensor:
    """Return causal self-attention with several heads, groups of which share keys and values.

    Head h uses key-value head h // (n_heads / n_kv_heads): with n_kv_heads = n_heads this is
    multi-head attention, with 1 multi-query, in between grouped-query attention.

    Args:
        x: (B, T, D).
        w_q: (H * K, D) as in nn.Linear, so that queries are x @ w_q.T; head h owns rows
            h * K to (h + 1) * K.
        w_k, w_v: (n_kv_heads * K, D).
        w_o: (D, H * K).
        n_heads: H.
        n_kv_heads: divides H.
        cos, sin: (T, K/2) of `rope_table`; queries and keys are turned. None for no positions.

    Returns:
        (B, T, D).

    >>> x, eye = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]]), torch.eye(2)
    >>> multi_head_attention(x, 0 * eye, eye, eye, eye, n_heads=1, n_kv_heads=1)
    tensor([[[1.0000, 0.0000],
             [0.5000, 1.0000]]])

    Source: Vaswani et al. 2017, section 3.2.2; Ainslie et al. 2023, "GQA", section 2.2.
    """
    B, T, _ = x.shape
    d_head = w_q.shape[0] // n_heads
    q = (x @ w_q.T).view(B, T, n_heads, d_head).transpose(1, 2)  # (B, H, T, K)
    k = (x @ w_k.T).view(B, T, n_kv_heads, d_head).transpose(1, 2)  # (B, n_kv_heads, T, K)
    v = (x @ w_v.T).view(B, T, n_kv_heads, d_head).transpose(1, 2)  # (B, n_kv_heads, T, K)
    if cos is not None:
        q, k = apply_rope(q, cos, sin), apply_rope(k, cos, sin)
    group = n_heads // n_kv_heads
    k = k.repeat_interleave(group, dim=1)  # (B, H, T, K)
    v = v.repeat_interleave(group, dim=1)  # (B, H, T, K)
    heads = scaled_dot_product_attention(q, k, v, causal_mask(T))  # (B, H, T, K)
    return heads.transpose(1, 2).reshape(B, T, n_heads * d_head) @ w_o.T  # (B, T, D)


def streaming_attention(
    q: Tensor, k: Tensor, v: Tensor, block_size: int = 128, is_causal: bool = True
) -> Tensor:
    """Return attention computed over one block of keys at a time, never the whole (T, S) table.

    A running maximum m, a running sum of exponentials and a running weighted sum of values are
    kept per query; when a block raises m, what was summed before is scaled by exp(old m - new m).

    Args:
        q: (..., T, K).
        k: (..., S, K); with `is_causal`, S = T.
        v: (..., S, K_v).
        block_size: keys per block; the last block may be shorter.
        is_causal: query i sees keys 0 to i only.

    Returns:
        (..., T, K_v), equal to `scaled_dot_product_attention`.

    Raises:
        ValueError: where a causal mask would have more keys than queries or fewer, or `block_size`
            is below 1.

    >>> v = torch.tensor([[1.0], [3.0], [8.0]])
    >>> streaming_attention(torch.zeros(3, 4), torch.zeros(3, 4), v, block_size=2)
    tensor([[1.],
            [2.],
            [4.]])

    Source: Milakov and Gimelshein 2018, "Online normalizer calculation for softmax", algorithm 3;
    Dao et al. 2022, "FlashAttention", algorithm 1.
    """
    T, S = q.shape[-2], k.shape[-2]
    if is_causal and S != T:
        raise ValueError(f"{T} queries and {S} keys: which of them may see which?")
    if block_size < 1:
        raise ValueError(f"block_size must be at least 1, got {block_size}")
    maximum = q.new_full((*q.shape[:-1], 1), float("-inf"))  # (..., T, 1)
    total = torch.zeros_like(maximum)  # (..., T, 1)
    output = q.new_zeros(*q.shape[:-1], v.shape[-1])  # (..., T, K_v)
    for start in range(0, S, block_size):
        stop = min(start + block_size, S)
        scores = q @ k[..., start:stop, :].transpose(-2, -1) / math.sqrt(q.shape[-1])
        if is_causal:  # (..., T, stop - start)
            future = torch.arange(start, stop) > torch.arange(T).unsqueeze(-1)
            scores = scores.masked_fill(future.to(q.device), float("-inf"))
        new_maximum = torch.maximum(maximum, scores.amax(dim=-1, keepdim=True))
        weights = (scores - new_maximum).exp()  # (..., T, stop - start)
        rescale = (maximum - new_maximum).exp()  # (..., T, 1)
        total = total * rescale + weights.sum(dim=-1, keepdim=True)
        output = output * rescale + weights @ v[..., start:stop, :]
        maximum = new_maximum
    return output / total


class Bias(nn.Module):
    """A learned vector that is added; zero at first."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Add the vector to the last axis of `x` (..., D)."""
        return x + self.weight


class Attention(nn.Module):
    """Grouped-query self-attention as the decoder runs it: one matmul for q, k and v."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.d_head = config.d_head
        width = (config.n_heads + 2 * config.n_kv_heads) * config.d_head
        self.qkv = Linear(config.d_model, width)
        self.qkv_bias = Bias(width) if config.qkv_bias else None
        self.output = Linear(config.n_heads * config.d_head, config.d_model)
        self.q_norm = RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else None
        self.k_norm = RMSNorm(config.d_head, config.norm_eps) if config.qk_norm else None

    def project(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (B, H, T, K), keys and values (B, n_kv_heads, T, K), turned by position.

        cos, sin: (T, 1, K/2) or (B, T, 1, K/2).
        """
        B, T, _ = x.shape
        n_turned = self.n_heads + self.n_kv_heads
        qkv = self.qkv(x) if self.qkv_bias is None else self.qkv_bias(self.qkv(x))
        qkv = qkv.view(B, T, n_turned + self.n_kv_heads, self.d_head)
        # split, not slices: its gradient is put together, not added to zeros once for each part.
        qk, v = qkv.split([n_turned, self.n_kv_heads], dim=2)
        if self.q_norm is not None:
            q, k = qk.split([self.n_heads, self.n_kv_heads], dim=2)
            qk = torch.cat([self.q_norm(q), self.k_norm(k)], dim=2)
        a, b = qk.chunk(2, dim=-1)  # (B, T, H + n_kv_heads, K/2): apply_rope, all heads at once
        qk = torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).transpose(1, 2)
        q, k = qk.split([self.n_heads, self.n_kv_heads], dim=1)
        return q, k, v.transpose(1, 2)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Attend within `x` (B, T, D), and to what the cache holds.

        mask: bool that broadcasts to (B, H, T, S); None for causal attention within `x`, or, for
        one new token, over all that the cache holds.
        """
        B, T, _ = x.shape
        q, k, v = self.project(x, cos, sin)
        if cache is not None:
            k, v = cache.update(layer, k, v)  # (B, n_kv_heads, S, K)
        heads = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=mask is None and T > 1,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )  # (B, H, T, K)
        return self.output(heads.transpose(1, 2).reshape(B, T, self.n_heads * self.d_head))
