"""How much arithmetic a call does: a number that no busy machine changes."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count


def product_operations(x_shape, weight_shape, *args, out_shape=None, **kwargs) -> int:
    """Return the operations of x @ weight.T for x (..., I) and weight (O, I): 2 N I O.

    >>> product_operations((3, 4), (5, 4))
    120
    """
    return 2 * math.prod(x_shape) * weight_shape[0]


def attention_operations(q_shape, k_shape, v_shape, *args, out_shape=None, **kwargs) -> int:
    """Return the operations of fused attention: scores, and the average of the values."""
    return sdpa_flop_count(q_shape, k_shape, v_shape)


def operations(function: Callable[[], object]) -> int:
    """Return the multiplications and additions of all matrix products of a call.

    Counted by torch, which knows neither the product by oneDNN that `utils.model.linear` uses nor
    fused attention on a CPU; these are counted here.

    >>> operations(lambda: torch.ones(3, 4) @ torch.ones(4, 5))
    120
    """
    known = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_operations}
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        known[torch.ops.mkldnn._linear_pointwise] = product_operations
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        function()
    return counter.get_total_flops()
