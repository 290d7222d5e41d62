"""What a GPU holds while it trains, term by term.

Sources: ZeRO (arXiv:1910.02054) section 3 for the 16 bytes of a parameter; Korthikanti et al.
(arXiv:2205.05198) sections 4 and 5 for activations. What frameworks do differently is a `Recipe`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from utils.parallel.planner.models import Architecture, layer_weights

RECOMPUTE = ("none", "selective", "full")


@dataclass(frozen=True)
class Recipe:
    """The bytes that a framework spends, known from its code or its papers.

    Args:
        gradient_bytes: for each parameter; 2, or 2 + 4 where a sum in float32 is kept beside.
        has_flash: attention never writes its scores.
        has_fused_norm: norms keep no float32 copies.
        has_fused_parts: rotary embeddings and the gate of the feed-forward part keep no copies.
        has_dropout: two masks a layer.
        logit_bytes: for each logit on the last stage: what cross-entropy holds at once.
        has_split_loss: cross-entropy works on each rank's part of the vocabulary.
    """

    name: str
    gradient_bytes: float
    has_flash: bool = True
    has_fused_norm: bool = True
    has_fused_parts: bool = True
    has_dropout: bool = False
    logit_bytes: float = 10.0
    has_split_loss: bool = True


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("megatron", 4.0),  # gradients live in float32 buffers
        Recipe("fsdp", 2.0, logit_bytes=18.0, has_split_loss=False),
        Recipe("megatron-2021", 2.0, has_flash=False, has_dropout=True),
        Recipe("deepspeed-fp16", 2.0, has_flash=False, has_dropout=True),
        Recipe("deepspeed-bf16", 6.0, has_flash=False, has_dropout=True),
        # logits 2 and gathered 2, float32 copy 4, log-softmax 4, gradients 4 and 2
        Recipe(
            "aleph",
            2.0,
            has_fused_norm=False,
            has_fused_parts=False,
            logit_bytes=18.0,
            has_split_loss=False,
        ),
        Recipe("aleph-rms", 2.0, has_fused_parts=False, logit_bytes=18.0, has_split_loss=False),
    )
}


def memory_per_gpu(
    n_params: float,
    n_layers: int,
    d_model: int,
    seq_len: int,
    micro_batch: int,
    in_flight: int,
    *,
    tp: int = 1,
    dp: int = 1,
    zero_stage: int = 1,
    recompute: str = "none",
    sequence_parallel: bool = False,
    gradient_bytes: float = 2,
    replicated: float = 10,
    sharded: float = 24,
    scores: float = 0,
) -> dict[str, float]:
    """Return the bytes that one GPU holds at the peak of a training step, by term.

    A parameter takes 2 bytes as a weight, `gradient_bytes` as a gradient and 12 in the optimizer (a
    float32 copy and Adam's two moments). ZeRO divides by `dp` the optimizer from stage 1 on, the
    gradients from stage 2 on, the weights in stage 3.

    One layer keeps for a micro-batch `seq_len * micro_batch * d_model` times (`replicated`, which
    every tensor-parallel rank holds whole unless `sequence_parallel` divides it by `tp`, plus
    `sharded / tp`), and `scores` bytes beside. With recompute

    - "none", every layer keeps that for every micro-batch in flight;
    - "selective", the same, but the scores are there for one layer and one micro-batch only;
    - "full", each layer keeps for every micro-batch in flight its input alone (2 bytes for each of
      `seq_len * micro_batch * d_model`, divided by `tp` with `sequence_parallel`), and one layer
      for one micro-batch everything, scores included.

    Args:
        n_params: parameters of this GPU's part of the model (after `tp` and `pp`, before ZeRO).
        n_layers: layers of its pipeline stage.
        d_model: width.
        seq_len: tokens of a sequence.
        micro_batch: sequences of a micro-batch.
        in_flight: micro-batches whose activations are kept at once.
        tp: tensor-parallel ranks.
        dp: data-parallel ranks.
        zero_stage: 0 to 3.
        recompute: "none", "selective" or "full".
        sequence_parallel: whether norms and residuals are split over the sequence.
        gradient_bytes: of one parameter.
        replicated, sharded: bytes for each token and each of `d_model`.
        scores: bytes of the attention scores of one layer and micro-batch on this GPU.

    Returns:
        "weights", "gradients", "optimizer", "activations" and their sum "total", in bytes.

    Raises:
        ValueError: for a stage or a recompute that there is not, parameters below 0, or another
            count below 1.

    >>> found = memory_per_gpu(1000, 2, 8, 4, 1, 1)
    >>> [round(found[name]) for name in ("weights", "gradients", "optimizer", "activations")]
    [2000, 2000, 12000, 2176]
    """
    counts = (n_layers, d_model, seq_len, micro_batch, in_flight, tp, dp)
    if n_params < 0 or min(counts) < 1:
        raise ValueError(f"counts start at 1, got {counts} and {n_params} parameters")
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"ZeRO has stages 0 to 3, not {zero_stage!r}")
    if recompute not in RECOMPUTE:
        raise ValueError(f"recompute is one of {RECOMPUTE}, not {recompute!r}")
    states = {
        "weights": 2 * n_params / (dp if zero_stage == 3 else 1),
        "gradients": gradient_bytes * n_params / (dp if zero_stage >= 2 else 1),
        "optimizer": 12 * n_params / (dp if zero_stage >= 1 else 1),
    }
    elements = seq_len * micro_batch * d_model
    split = tp if sequence_parallel else 1
    layer = elements * (replicated / split + sharded / tp)
    kept = in_flight * n_layers
    if recompute == "full":
        activations = kept * 2 * elements / split + layer + scores
    elif recompute == "selective":
        activations = kept * layer + scores
    else:
        activations = kept * (layer + scores)
    return {**states, "activations": activations, "total": sum(states.values()) + activations}


def activation_recipe(model: Architecture, recipe: Recipe) -> tuple[float, float]:
    """Return the bytes of activations for each token and each of d_model: replicated, sharded.

    A GPT layer with dropout gives Korthikanti's 10 and 24.

    >>> from utils.parallel.planner.models import find_model
    >>> activation_recipe(find_model("gpt3-175b"), RECIPES["megatron-2021"])
    (10.0, 24.0)
    """
    d, d_kv = model.d_model, model.d_model * model.n_kv_heads / model.n_heads
    replicated = 8.0 + (
        2.0 if recipe.has_dropout else 0.0
    )  # inputs of two norms, and their outputs
    if not recipe.has_fused_norm:
        replicated += 16.0  # two float32 copies in each norm
    sharded = 4 * d + 4 * d_kv  # query and what attention gives, key and value
    if not recipe.has_fused_parts:
        sharded += 4 * (d + d_kv)  # copies that rotary embeddings and the kernel make
    # gate, up and product (and the activated gate); of two matrices both sides of the activation
    gated = 6 if recipe.has_fused_parts else 8
    sharded += (gated if model.is_gated else 4) * model.d_ff * model.n_chosen
    return replicated, sharded / d


def stage_layers(n_layers: int, pp: int, vp: int = 1) -> tuple[int, bool]:
    """Return how many layers the fullest pipeline stage has, and whether the head is its, too.

    Layers that divide by the stages are dealt out evenly, and the last stage has the head beside.
    Where they don't, embedding and head count as layers, so that the fullest stage has neither.

    >>> stage_layers(80, 8), stage_layers(126, 8)
    ((10, True), (16, False))
    """
    if n_layers % (pp * vp) == 0:
        return n_layers // pp, True
    return math.ceil(n_layers / (pp * vp)) * vp, pp == 1


def plan_memory(
    model: Architecture,
    layout,
    seq_len: int,
    n_micro: int,
    recipe: Recipe,
    *,
    fragmentation: float,
    overhead_gib: float,
) -> dict[str, float]:
    """Return the bytes of the fullest pipeline stage, with logits and what the framework takes.

    Args:
        model: its sizes.
        layout: a `utils.parallel.planner.layout.Layout`.
        seq_len: tokens of a sequence.
        n_micro: micro-batches of a step.
        recipe: the framework's bytes.
        fragmentation: what the allocator holds for each byte that is used.
        overhead_gib: context, communication buffers, workspaces.
    """
    tp, pp = layout.tp, layout.pp
    replicated, sharded = activation_recipe(model, recipe)
    kinds = (layout.recompute,)
    if layout.recompute == "selective" and recipe.has_flash:
        kinds = ("none", "full")  # there are no scores to drop: half of the layers are recomputed
    tokens = layout.micro_batch * seq_len / layout.cp
    scores = 0.0
    if not recipe.has_flash:
        scores = 5 * model.n_heads * tokens * seq_len / tp
    table = model.vocab_size * model.d_model / tp
    worst: dict[str, float] = {}
    for stage in {0, pp - 1}:
        n_layers = math.ceil(model.n_layers / pp)
        n_params = n_layers * layer_weights(model) / tp / layout.ep
        n_params += table * (2 if pp == 1 and not model.is_tied else 1)
        each = [
            memory_per_gpu(
                n_params,
                n_layers,
                model.d_model,
                max(1, seq_len // layout.cp),
                layout.micro_batch,
                min(n_micro, pp - stage) if pp > 1 else 1,
                tp=tp,
                dp=layout.dp * layout.cp,
                zero_stage=layout.zero_stage,
                recompute=recompute,
                sequence_parallel=layout.sequence_parallel,
                gradient_bytes=recipe.gradient_bytes,
                replicated=replicated,
                sharded=sharded,
                scores=scores,
            )
            for recompute in kinds
        ]
        held = each[0]
        held["activations"] = sum(one["activations"] for one in each) / len(each)
        if layout.vp > 1 and stage == 0:  # interleaving keeps more in flight (2205.05198, 4.2.3)
            held["activations"] *= 1 + (pp - 1) / (pp * layout.vp)
        held["logits"] = 0.0
        if stage == pp - 1:
            split = tp if recipe.has_split_loss else 1
            held["logits"] = tokens * model.vocab_size * recipe.logit_bytes / split
        if layout.zero_stage == 3:  # the layer that is gathered, and the next one on its way
            held["gathered"] = 4 * layer_weights(model) / tp
        del held["total"]
        used = sum(held.values())
        held["framework"] = (fragmentation - 1) * used + overhead_gib * 2**30
        held["total"] = used + held["framework"]
        if not worst or held["total"] > worst["total"]:
            worst = held
    return worst
