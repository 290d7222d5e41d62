"""The key-value cache: keys and values of all earlier tokens, kept so that each is computed once.

Memory: 2 * n_layers * B * n_kv_heads * capacity * d_head numbers, allocated once.

Shapes: L layers, B batch, H_kv key-value heads, S capacity, K d_head.
"""

from __future__ import annotations

import torch
from torch import Tensor

from utils.model.config import TransformerConfig


def update_cache(
    keys: Tensor, values: Tensor, new_keys: Tensor, new_values: Tensor, length: int
) -> tuple[Tensor, Tensor]:
    """Write the keys and values of new tokens behind those that are there; return all of them.

    The buffers are changed in place, so that nothing is copied but the new tokens.

    Args:
        keys, values: (B, H_kv, S, K) buffers with room for S tokens.
        new_keys, new_values: (B, H_kv, T, K) of the T new tokens.
        length: tokens that the buffers hold already.

    Returns:
        Keys and values (B, H_kv, length + T, K), views of the buffers.

    Raises:
        ValueError: where the new tokens do not fit; the buffers are as before.

    >>> keys, values = torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2)
    >>> new = torch.ones(1, 1, 1, 2)
    >>> update_cache(keys, values, new, 2 * new, length=2)[0].shape, keys[0, 0, :, 0]
    (torch.Size([1, 1, 3, 2]), tensor([0., 0., 1., 0.]))

    Source: Shazeer 2019, "Fast Transformer Decoding", section 2.4.
    """
    end = length + new_keys.shape[2]
    if end > keys.shape[2]:
        raise ValueError(
            f"the cache holds {length} of {keys.shape[2]} tokens and {new_keys.shape[2]} more do "
            "not fit: make it larger"
        )
    keys[:, :, length:end] = new_keys
    values[:, :, length:end] = new_values
    return keys[:, :, :end], values[:, :, :end]


class KVCache:
    """Room for the keys and values of `capacity` tokens in every layer.

    >>> config = TransformerConfig(vocab_size=8, context_length=16, d_model=8, n_heads=2)
    >>> cache = KVCache(config, batch_size=1, capacity=4)
    >>> cache.length, cache.capacity, cache.n_bytes  # 2 * 4 * 2 * 4 * 4 floats
    (0, 4, 1024)
    """

    def __init__(
        self,
        config: TransformerConfig,
        batch_size: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        if capacity > config.context_length:
            raise ValueError(
                f"a cache of {capacity} tokens is longer than the context of "
                f"{config.context_length}: shorten the prompt or ask for fewer new tokens"
            )
        shape = (config.n_layers, batch_size, config.n_kv_heads, capacity, config.d_head)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)  # (L, B, H_kv, S, K)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.length = 0  # tokens that every layer holds

    @property
    def capacity(self) -> int:
        """How many tokens there is room for."""
        return self.keys.shape[3]

    @property
    def n_bytes(self) -> int:
        """Memory of keys and values together, in bytes."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def check_room(self, batch_size: int, n_tokens: int) -> None:
        """Refuse new tokens that do not fit: too many, or of another number of rows."""
        if self.length + n_tokens > self.capacity:
            raise ValueError(
                f"the cache holds {self.length} of {self.capacity} tokens and {n_tokens} more "
                "do not fit: make it larger"
            )
        if batch_size != self.keys.shape[1]:
            raise ValueError(
                f"the cache was made for {self.keys.shape[1]} rows, but token_ids has "
                f"{batch_size}: make a cache with that batch_size"
            )

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append the new tokens' keys and values to a layer; return all that it holds now.

        Args:
            layer: number of the layer from 0.
            k, v: (B, H_kv, T, K) of the T new tokens.

        Returns:
            Keys and values (B, H_kv, length + T, K), views of the cache. `length` itself moves on
            when the decoder has been through all layers.

        Raises:
            ValueError: where the new tokens don't fit.
        """
        self.check_room(k.shape[0], k.shape[2])
        return update_cache(self.keys[layer], self.values[layer], k, v, self.length)
