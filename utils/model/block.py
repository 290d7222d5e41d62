"""One block of the decoder as a function of its weights, to be read; `Block` is what runs.

Shapes: B batch, T tokens, D d_model, H heads, K d_head, F d_ff.
Source: Touvron et al. 2023, "LLaMA", section 2.2.
"""

from __future__ import annotations

from torch import Tensor

from utils.model.attention import multi_head_attention
from utils.model.feedforward import swiglu
from utils.model.norm import rms_norm


def decoder_block(
    x: Tensor,
    attention_gain: Tensor,
    w_q: Tensor,
    w_k: Tensor,
    w_v: Tensor,
    w_o: Tensor,
    feed_forward_gain: Tensor,
    w_gate: Tensor,
    w_up: Tensor,
    w_down: Tensor,
    n_heads: int,
    n_kv_heads: int,
    cos: Tensor,
    sin: Tensor,
) -> Tensor:
    """Return the residual stream after one pre-norm block: attention, then feed-forward.

    Each part reads the normalised stream and adds its answer to the stream as it was.

    Args:
        x: (B, T, D) the stream; it is not changed in place.
        attention_gain: (D,) of the norm before attention.
        w_q, w_k, w_v, w_o: as in `multi_head_attention`.
        feed_forward_gain: (D,) of the norm before the feed-forward part.
        w_gate, w_up, w_down: as in `swiglu`.
        n_heads, n_kv_heads: as in `multi_head_attention`.
        cos, sin: (T, K/2) of `rope_table`.

    Returns:
        (B, T, D).

    >>> import torch
    >>> one, zero, turn = torch.ones(2), torch.zeros(2, 2), torch.ones(1, 1)
    >>> x = torch.tensor([[[3.0, 4.0]]])  # nothing is added where all weights are zero
    >>> decoder_block(x, one, *4 * [zero], one, *3 * [zero], 1, 1, turn, 0 * turn)
    tensor([[[3., 4.]]])

    Source: Xiong et al. 2020, "On Layer Normalization in the Transformer Architecture", table 1.
    """
    normed = rms_norm(x, attention_gain)  # (B, T, D)
    x = x + multi_head_attention(normed, w_q, w_k, w_v, w_o, n_heads, n_kv_heads, cos, sin)
    return x + swiglu(rms_norm(x, feed_forward_gain), w_gate, w_up, w_down)
