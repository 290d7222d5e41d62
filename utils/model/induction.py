"""A model of attention alone, to see what two of its layers can do and one can't.

Left out on purpose: feed-forward parts, caches, padding. Its task is in `utils/tokens/repeated.py`.

Shapes: B rows, T tokens. Source: Olsson et al. 2022, "In-context Learning and Induction Heads".
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from utils.model.attention import Attention, attention_weights, causal_mask
from utils.model.config import TransformerConfig
from utils.model.decoder import rotary_tables
from utils.model.linear import Linear
from utils.model.norm import RMSNorm
from utils.model.rotary import float_tables


class AttentionOnly(nn.Module):
    """A decoder without feed-forward parts: x + attention(norm(x)), layer after layer.

    >>> config = TransformerConfig(vocab_size=11, context_length=8, d_model=16, n_layers=2)
    >>> AttentionOnly(config)(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.norms = nn.ModuleList(
            RMSNorm(config.d_model, config.norm_eps) for _ in range(config.n_layers)
        )
        self.attentions = nn.ModuleList(Attention(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.unembedding = Linear(config.d_model, config.vocab_size)
        cos, sin = rotary_tables(config)  # (context_length, 1, K/2)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Move or cast the model, as `to` asks for; the rotary tables stay float32."""
        with float_tables(self):
            return super()._apply(fn, recurse)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return logits (B, T, V) for token ids (B, T)."""
        T = token_ids.shape[1]
        x = self.embedding(token_ids)  # (B, T, D)
        cos, sin = self.cos[:T].to(x.dtype), self.sin[:T].to(x.dtype)
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            x = x + attention(norm(x), cos, sin)
        return self.unembedding(self.norm(x))

    def attention_maps(self, token_ids: Tensor) -> Tensor:
        """Return how much each token attends to each: (L, B, H, T, T), rows sum to one."""
        T = token_ids.shape[1]
        x, maps = self.embedding(token_ids), []  # (B, T, D)
        cos, sin = self.cos[:T].to(x.dtype), self.sin[:T].to(x.dtype)
        for norm, attention in zip(self.norms, self.attentions, strict=True):
            q, k, _ = attention.project(norm(x), cos, sin)
            k = k.repeat_interleave(attention.n_heads // attention.n_kv_heads, dim=1)
            maps.append(attention_weights(q, k, causal_mask(T).to(x.device)))  # (B, H, T, T)
            x = x + attention(norm(x), cos, sin)
        return torch.stack(maps)
