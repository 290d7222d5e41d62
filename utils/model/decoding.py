"""One new token per row, written out for speed: what the decoder computes, in fewer operations.

With one token a step is so small that calling an operation costs more than its arithmetic. Here the
gains of the norms are multiplied into the matrices once per text, rotary positions are one fused
multiply-add, and residual sums are taken in the products. A test holds the logits
equal to the decoder's. Left out on purpose: gradients, more than one new token.

Shapes: B batch, D d_model, H heads, G query heads per key-value head, K d_head, S tokens so far.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from utils.model.attention import Attention, Bias
from utils.model.cache import KVCache
from utils.model.decoder import Block, Decoder
from utils.model.feedforward import FeedForward
from utils.model.linear import Linear, linear
from utils.model.norm import RMSNorm

PLAIN = (Decoder, Block, Attention, Bias, FeedForward, RMSNorm, Linear, nn.Embedding, nn.ModuleList)


def is_plain(model: nn.Module) -> bool:
    """Whether each part is the course's own and no hook waits: `Step` calls none of the parts."""
    return all(
        type(part) in PLAIN and not part._forward_hooks and not part._forward_pre_hooks
        for part in model.modules()
    )


class Step:
    """The decoder's step for one new token per row; the cache holds the tokens before.

    Args:
        model: make a new Step when its weights change, since some are copied.
        cache: filled by the decoder with the prompt; each step adds one token.
        padding: (B, capacity) bool, False at padding; None where there is none.

    >>> from utils.model.config import TransformerConfig
    >>> model = Decoder(TransformerConfig(vocab_size=7, context_length=9, d_model=8, n_layers=1))
    >>> cache = KVCache(model.config, batch_size=1, capacity=3)
    >>> _ = model(torch.tensor([[1, 2]]), cache)
    >>> Step(model, cache)(torch.tensor([5])).shape
    torch.Size([1, 7])
    """

    def __init__(self, model: Decoder, cache: KVCache, padding: Tensor | None = None):
        config = model.config
        self.cache = cache
        self.embedding = model.embedding.weight.detach()
        # sqrt(D) x / sqrt(|x|^2 + D eps) is the norm without its gain; the gain and sqrt(D) go
        # into the matrix that reads it.
        self.root_eps = torch.tensor(math.sqrt(config.d_model * config.norm_eps)).to(self.embedding)
        self.layers = [
            (
                block.attention,
                with_gain(block.attention.qkv, block.attention_norm),
                block.attention.output.weight.detach(),
                with_gain(block.feed_forward.gate_up, block.feed_forward_norm),
                block.feed_forward.down.weight.detach(),
                cache.keys[layer].flatten(0, 1).transpose(1, 2),  # (B * n_kv_heads, K, capacity)
                cache.values[layer].flatten(0, 1),  # (B * n_kv_heads, capacity, K)
            )
            for layer, block in enumerate(model.blocks)
        ]
        self.unembedding = with_gain(model.unembedding, model.norm)
        # (a cos - b sin, a sin + b cos) = (a, b) * (cos, cos) + (b, a) * (-sin, sin)
        self.cos = torch.stack([model.cos, model.cos], dim=2).to(self.embedding.dtype)
        self.sin = torch.stack([-model.sin, model.sin], dim=2).to(self.embedding.dtype)
        # What is added to the scores: -inf at padding, or (1, 1, capacity) zeros without padding.
        self.hidden = self.embedding.new_zeros(1, 1, cache.capacity)
        if padding is not None:
            self.hidden = self.hidden.masked_fill(~padding.unsqueeze(1), float("-inf"))
            self.hidden = self.hidden.repeat_interleave(config.n_kv_heads, dim=0)

    def __call__(self, token_ids: Tensor, positions: Tensor | None = None) -> Tensor:
        """Return the logits (B, V) after one more token per row, `token_ids` (B,).

        positions: (B,) place of the token in its own row; None where no row is padded.
        """
        B, length = len(token_ids), self.cache.length
        self.cache.check_room(B, 1)
        place = length if positions is None else positions
        cos, sin = self.cos[place], self.sin[place]  # (1 or B, 1, 2, K/2)
        x = F.embedding(token_ids, self.embedding)  # (B, D)
        for layer in self.layers:
            x = self.block(x, cos, sin, length + 1, *layer)
        self.cache.length += 1
        return linear(self.scaled(x), self.unembedding)  # (B, V)

    def scaled(self, x: Tensor) -> Tensor:
        """Return x (B, D) over its length; eps keeps a zero vector from division by zero."""
        return x / torch.hypot(torch.linalg.vector_norm(x, dim=-1, keepdim=True), self.root_eps)

    def block(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        end: int,
        attention: Attention,
        qkv: Tensor,
        output: Tensor,
        gate_up: Tensor,
        down: Tensor,
        keys: Tensor,
        values: Tensor,
    ) -> Tensor:
        """Pass the residual stream (B, D) through one layer."""
        B, K, n_heads = len(x), attention.d_head, attention.n_heads
        n_turned = n_heads + attention.n_kv_heads
        heads = linear(self.scaled(x), qkv)
        if attention.qkv_bias is not None:
            heads = attention.qkv_bias(heads)
        heads = heads.view(B, -1, K)  # (B, H + 2 n_kv_heads, K)
        qk = heads[:, :n_turned]
        if attention.q_norm is not None:
            q, k = qk[:, :n_heads], qk[:, n_heads:]
            qk = torch.cat([attention.q_norm(q), attention.k_norm(k)], dim=1)
        pairs = qk.view(B, n_turned, 2, K // 2)  # (B, H + n_kv_heads, 2, K/2)
        qk = torch.addcmul(pairs * cos, pairs.flip(2), sin).view(B, n_turned, K)
        q, k = qk.split([n_heads, attention.n_kv_heads], dim=1)
        keys.select(2, end - 1).copy_(k.reshape(-1, K))
        values.select(1, end - 1).copy_(heads[:, n_turned:].reshape(-1, K))
        q = q.reshape(len(keys), -1, K)  # (B * n_kv_heads, G, K)
        k, v = keys.narrow(2, 0, end), values.narrow(1, 0, end)
        scores = torch.baddbmm(self.hidden.narrow(2, 0, end), q, k, alpha=1 / math.sqrt(K))
        mixed = torch.bmm(scores.softmax(-1), v).view(B, -1)  # (B, H * K)
        x = torch.addmm(x, mixed, output.t())
        gate, up = linear(self.scaled(x), gate_up).view(B, 2, -1).unbind(1)  # (B, d_ff) each
        return torch.addmm(x, F.silu(gate).mul_(up), down.t())


def with_gain(layer: Linear, norm: RMSNorm) -> Tensor:
    """Return a layer's weight (O, I) times sqrt(I) and the gain of the norm that it reads."""
    return layer.weight.detach() * (norm.weight.detach() * math.sqrt(layer.in_features))
