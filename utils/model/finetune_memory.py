"""What a fine-tuning holds in memory, term by term, from the sizes of a decoder alone.

Full fine-tuning, LoRA on all four matrices of a block, and LoRA beside NF4 (QLoRA). Activations
are those of this course's decoder, attention without a stored score matrix, no checkpointing.

Left out on purpose: buffers inside one operation (a matrix that is put back into floats for its
product), the table of positions, fragments of the allocator, several devices.

Letters: B rows, T tokens, D d_model, A n_heads * d_head, Z n_kv_heads * d_head, F d_ff, V words.
Source: Rajbhandari et al. 2020, "ZeRO", section 3; Dettmers et al. 2023, "QLoRA", section 3.
"""

from __future__ import annotations

from utils.model.nf4 import BLOCK, SCALES_BLOCK


def finetune_memory(
    vocab_size: int,
    d_model: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int,
    d_head: int,
    d_ff: int,
    tie_embeddings: bool,
    *,
    batch_size: int,
    n_tokens: int,
    rank: int | None = None,
    is_quantized: bool = False,
    float_bytes: int = 4,
) -> dict[str, int]:
    """Return the bytes that a step of fine-tuning holds, by what they are for.

    A block has four matrices: queries, keys and values in one (A + 2Z, D), output (D, A), gate and
    up in one (2F, D), down (D, F); and two gains of D. Beside the blocks: the table (V, D), a
    second one where it is not tied, a last gain.

    - weights: all weights that are held as floats and are not adapters, `float_bytes` each.
    - codes: of the blocks' matrices, if quantised: half a byte for each weight.
    - scales: of those: for each matrix of n weights a byte for each block of 64 (the last may be
      shorter), 4 bytes for each 256 of these, and 4 bytes for their mean.
    - adapters: rank * (inputs + outputs) for each matrix, `float_bytes` each; 0 without a rank.
    - gradients: `float_bytes` for each weight that learns: the adapters, or without a rank all.
    - optimizer: two float32 moments for each weight that learns; below 4 bytes per float also a
      float32 copy of it.
    - activations: `float_bytes` for each number kept for the backward pass. For each of the B T
      tokens, per block, 6 D (4 D with a rank, since the gains don't learn) + 3 A + 3 Z + 4 F +
      n_heads + 2, and 4 rank; once, 2 V for the logits' probabilities and their gradient.

    Args:
        vocab_size, d_model, n_layers, n_heads, n_kv_heads, d_head, d_ff, tie_embeddings: as in
            `count_parameters`, without gains on queries and keys.
        batch_size: B.
        n_tokens: T.
        rank: of the adapters of all four matrices; None for full fine-tuning.
        is_quantized: the blocks' matrices are held in NF4 with scales quantised again.
        float_bytes: 4 for float32, 2 for bfloat16.

    Returns:
        The seven terms by name, in the order above.

    Raises:
        ValueError: for quantised weights without a rank (codes can't learn), a rank below 1, or
            `float_bytes` other than 2 or 4.

    >>> sizes = dict(n_layers=1, n_heads=2, n_kv_heads=1, d_head=2, d_ff=8, tie_embeddings=True)
    >>> memory = finetune_memory(10, 4, **sizes, batch_size=1, n_tokens=1, rank=1)
    >>> memory["weights"], memory["adapters"], memory["gradients"], memory["optimizer"]
    (784, 208, 208, 416)

    Source: Rajbhandari et al. 2020, sections 3.1 and 3.2; Dettmers et al. 2023, section 3.
    """
    if is_quantized and rank is None:
        raise ValueError("is_quantized needs a rank: four-bit codes can't learn, adapters do")
    if rank is not None and rank < 1:
        raise ValueError(f"rank must be at least 1, or None for full fine-tuning, got {rank}")
    if float_bytes not in (2, 4):
        raise ValueError(f"float_bytes must be 2 (bfloat16) or 4 (float32), got {float_bytes}")
    n_q, n_kv = n_heads * d_head, n_kv_heads * d_head  # A, Z
    matrices = [(n_q + 2 * n_kv, d_model), (d_model, n_q), (2 * d_ff, d_model), (d_model, d_ff)]
    n_matrices = n_layers * sum(n_out * n_in for n_out, n_in in matrices)
    n_tables = vocab_size * d_model * (1 if tie_embeddings else 2)
    n_gains = (2 * n_layers + 1) * d_model
    n_adapters = n_layers * (rank or 0) * sum(n_out + n_in for n_out, n_in in matrices)
    n_learn = n_adapters if rank else n_tables + n_gains + n_matrices
    scales = 0
    for n_out, n_in in matrices:
        n_scales = -(-n_out * n_in // BLOCK)
        scales += n_layers * (n_scales + 4 * -(-n_scales // SCALES_BLOCK) + 4)
    kept = 4 * d_model + 4 * rank if rank else 6 * d_model
    kept += 3 * n_q + 3 * n_kv + 4 * d_ff + n_heads + 2
    n_activations = batch_size * n_tokens * (n_layers * kept + 2 * vocab_size)
    return {
        "weights": float_bytes * (n_tables + n_gains + (0 if is_quantized else n_matrices)),
        "codes": n_matrices // 2 if is_quantized else 0,
        "scales": scales if is_quantized else 0,
        "adapters": float_bytes * n_adapters,
        "gradients": float_bytes * n_learn,
        "optimizer": (8 if float_bytes == 4 else 12) * n_learn,
        "activations": float_bytes * n_activations,
    }
