"""The decoder: embedding, pre-norm blocks of attention and feed-forward, projection to logits.

`model(token_ids) -> logits`; it knows no loss, optimizer or tokenizer. Left out on purpose: dropout
(small models on fresh text do not need it), learned positions, biases but those of Qwen2.

Shapes: B batch, T tokens, D d_model, V vocabulary, L layers, S tokens in the cache and new ones.
Source: Touvron et al. 2023, "LLaMA", section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from utils.model.attention import Attention, attention_weights, causal_mask
from utils.model.cache import KVCache
from utils.model.config import TransformerConfig
from utils.model.feedforward import FeedForward
from utils.model.linear import Linear
from utils.model.norm import RMSNorm
from utils.model.rope_scaling import scaled_rope_table
from utils.model.rotary import float_tables

INIT_STD = 0.02


class Block(nn.Module):
    """One layer: x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config.d_model, config.d_ff)

    def forward(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
        layer: int = 0,
    ) -> Tensor:
        """Pass the residual stream (B, T, D) through the layer."""
        x = x + self.attention(self.attention_norm(x), cos, sin, mask, cache, layer)
        return x + self.feed_forward(self.feed_forward_norm(x))


class Decoder(nn.Module):
    """A decoder-only transformer of the Llama kind.

    >>> config = TransformerConfig(vocab_size=11, context_length=8, d_model=16, n_layers=2)
    >>> Decoder(config)(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.unembedding = Linear(config.d_model, config.vocab_size)
        if config.tie_embeddings:
            self.unembedding.weight = self.embedding.weight
        cos, sin = rotary_tables(config)  # (context_length, 1, K/2)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights afresh: normal, the residual projections narrower the deeper the model.

        Source: Radford et al. 2019 (GPT-2), section 2.3.
        """
        residual_std = INIT_STD / (2 * self.config.n_layers) ** 0.5
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                into_stream = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
                nn.init.normal_(weight, std=residual_std if into_stream else INIT_STD)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        """Move or cast the model, as `to` asks for; the rotary tables stay float32."""
        with float_tables(self):
            return super()._apply(fn, recurse)

    def forward(
        self,
        token_ids: Tensor,
        cache: KVCache | None = None,
        positions: Tensor | None = None,
        attention_mask: Tensor | None = None,
        last_only: bool = False,
    ) -> Tensor:
        """Return the logits of the next token at each position.

        Args:
            token_ids: (B, T) of dtype int64.
            cache: keys and values of the tokens before; the new ones are added.
            positions: (B, T) position of each token; None for those that follow the cache.
            attention_mask: (B, S) bool or 0 and 1, False at padding; None where there is none.
            last_only: compute the logits of the last token alone (generation needs no others).

        Returns:
            (B, T, V), or (B, 1, V) with `last_only`.

        Raises:
            ValueError: where ids have the wrong dtype or shape, the sequence is too long, the cache
                has no room for it, or the mask is none of padding or hides a whole row.
            IndexError: for a token id outside the vocabulary.
        """
        start = 0 if cache is None else cache.length
        self.check_token_ids(token_ids, start)
        B, T = token_ids.shape
        if cache is not None:
            cache.check_room(B, T)
        if attention_mask is not None:
            attention_mask = padding_mask(attention_mask, B, start + T)
        if positions is None:
            cos, sin = self.cos[start : start + T], self.sin[start : start + T]  # (T, 1, K/2)
        else:
            cos, sin = self.cos[positions], self.sin[positions]  # (B, T, 1, K/2)
        x = self.embedding(token_ids)  # (B, T, D)
        # Cosines are rounded to the weights' dtype here, never positions or angles: the error is
        # that of any other number, and the same at position 8,000 as at 8.
        cos, sin = cos.to(x.dtype), sin.to(x.dtype)
        mask = visible(start, T, attention_mask, token_ids.device)
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, mask, cache, layer)
        if cache is not None:
            cache.length += T
        return self.unembedding(self.norm(x[:, -1:] if last_only else x))

    def check_token_ids(self, token_ids: Tensor, start: int = 0) -> None:
        """Refuse token ids that the model can't read, with what to do about it."""
        if token_ids.dim() != 2 or token_ids.dtype != torch.int64:
            raise ValueError(
                "token_ids must be an int64 tensor of shape (B, T), got "
                f"{token_ids.dtype} of shape {tuple(token_ids.shape)}"
            )
        if token_ids.shape[1] < 1:
            raise ValueError("token_ids holds no token: give each sequence one at least")
        if start + token_ids.shape[1] > self.config.context_length:
            raise ValueError(
                f"{start + token_ids.shape[1]} tokens exceed the context of "
                f"{self.config.context_length}: shorten the text or cut it into pieces"
            )

    def attention_maps(self, token_ids: Tensor) -> Tensor:
        """Return how much each token attends to each: (L, B, H, T, T), rows sum to one."""
        self.check_token_ids(token_ids)
        T = token_ids.shape[1]
        x, maps = self.embedding(token_ids), []  # (B, T, D)
        cos, sin = self.cos[:T].to(x.dtype), self.sin[:T].to(x.dtype)
        mask = causal_mask(T).to(x.device)
        for block in self.blocks:
            q, k, _ = block.attention.project(block.attention_norm(x), cos, sin)
            k = k.repeat_interleave(self.config.n_heads // self.config.n_kv_heads, dim=1)
            maps.append(attention_weights(q, k, mask))  # (B, H, T, T)
            x = block(x, cos, sin)
        return torch.stack(maps)


def rotary_tables(config: TransformerConfig) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines that a decoder turns queries and keys by.

    Returns:
        (context_length, 1, K/2) each, in float32: one row for all heads.
    """
    cos, sin = scaled_rope_table(
        config.context_length, config.d_head, config.rope_theta, config.rope_scaling
    )
    return cos.unsqueeze(1), sin.unsqueeze(1)


def decoder_of(config: TransformerConfig, weights: dict[str, Tensor]) -> Decoder:
    """Return a decoder that holds these tensors, without drawing weights that they would replace.

    Args:
        config: its shape.
        weights: by the names of `Decoder(config).named_parameters()`; taken as they are, not
            copied. A tied table is named once.

    Raises:
        RuntimeError: by torch, where names or shapes are not those of the decoder.

    >>> config = TransformerConfig(vocab_size=11, context_length=8, d_model=16, n_layers=2)
    >>> first = Decoder(config)
    >>> second = decoder_of(config, dict(first.named_parameters()))
    >>> torch.equal(first(torch.tensor([[1, 2]])), second(torch.tensor([[1, 2]])))
    True
    """
    with torch.device("meta"):  # shapes alone: nothing is allocated or drawn
        model = Decoder(config)
    model.cos, model.sin = rotary_tables(config)
    if config.tie_embeddings:
        weights = weights | {"unembedding.weight": weights["embedding.weight"]}
    model.load_state_dict(weights, assign=True)
    if config.tie_embeddings:  # one parameter again, not two that share their numbers
        model.unembedding.weight = model.embedding.weight
    return model


def visible(
    start: int, n_tokens: int, attention_mask: Tensor | None, device: torch.device
) -> Tensor | None:
    """Return which keys each new token may see, (B or 1, 1, T, S), or None where plain causal does.

    Args:
        start: tokens in the cache.
        n_tokens: T new ones.
        attention_mask: (B, S) bool, False at padding.
    """
    if attention_mask is None and (start == 0 or n_tokens == 1):
        return None
    keys = torch.arange(start + n_tokens, device=device)
    queries = keys[start:, None]  # (T, 1)
    mask = (keys <= queries)[None, None]  # (1, 1, T, S)
    if attention_mask is None:
        return mask
    # A padding token sees itself: a row without any key would turn into NaN.
    return mask & attention_mask[:, None, None] | (keys == queries)


def padding_mask(attention_mask: Tensor, batch_size: int, n_tokens: int) -> Tensor:
    """Return a mask of padding as bool; refuse what is none.

    >>> padding_mask(torch.tensor([[0, 1]]), 1, 2)
    tensor([[False,  True]])
    """
    if attention_mask.shape != (batch_size, n_tokens):
        raise ValueError(
            f"attention_mask must have shape (B, S) = ({batch_size}, {n_tokens}) and say which "
            f"tokens are no padding, got {tuple(attention_mask.shape)}"
        )
    keep = attention_mask.bool()  # (B, S)
    is_float = attention_mask.is_floating_point()
    if is_float or not torch.equal(keep.to(attention_mask), attention_mask):
        raise ValueError(
            "attention_mask must hold True and False, or 1 and 0: numbers that are added to scores "
            f"are another kind of mask (got {attention_mask.dtype})"
        )
    if not bool(keep.any(dim=-1).all()):
        raise ValueError(
            f"row {int(keep.any(dim=-1).int().argmin())} of attention_mask is all padding: leave "
            "the row out"
        )
    return keep


def count_parameters(model: nn.Module) -> int:
    """Return the number of weights; a tied matrix counts once.

    >>> count_parameters(nn.Linear(3, 2))
    8
    """
    return sum(weight.numel() for weight in model.parameters())
