"""The arguments by which Megatron-LM's pretrain_gpt.py trains a layout.

Source: Megatron-LM, `megatron/training/arguments.py`; Narayanan et al. 2021; Korthikanti et al.
2022 (sequence parallelism, selective recomputation).
"""

from __future__ import annotations

from utils.parallel.planner.layout import Layout
from utils.parallel.planner.models import Architecture


def megatron_arguments(
    model: Architecture,
    layout: Layout,
    seq_len: int,
    global_batch: int,
    n_steps: int,
    learning_rate: float = 1.5e-4,
) -> list[str]:
    """Return the words of the command line behind `pretrain_gpt.py`, less data and tokenizer.

    Args:
        model: its sizes.
        layout: ranks of each kind.
        seq_len: tokens of a sequence.
        global_batch: sequences of a step.
        n_steps: to train.
        learning_rate: at its highest.

    Raises:
        ValueError: for what Megatron would refuse: sizes that don't divide, virtual stages without
            a pipeline.

    >>> from utils.parallel.planner.models import find_model
    >>> words = megatron_arguments(find_model("llama3-70b"), Layout(8, 4, 16), 8192, 512, 10)
    >>> words[:2], words[words.index("--num-query-groups") + 1]
    (['--num-layers', '80'], '8')
    """
    if model.n_layers % (layout.pp * layout.vp):
        raise ValueError(
            f"{model.n_layers} layers can't be shared by {layout.pp} stages of {layout.vp} parts"
        )
    if layout.vp > 1 and layout.pp < 2:
        raise ValueError("virtual stages need a pipeline of at least 2 stages")
    if model.n_heads % layout.tp or model.n_kv_heads % layout.tp:
        raise ValueError(
            f"{model.n_heads} heads with {model.n_kv_heads} for keys and values can't be shared by "
            f"{layout.tp} tensor-parallel ranks"
        )
    sizes: dict[str, object] = {
        "num-layers": model.n_layers,
        "hidden-size": model.d_model,
        "ffn-hidden-size": model.d_ff,
        "num-attention-heads": model.n_heads,
        "seq-length": seq_len,
        "max-position-embeddings": seq_len,
        "position-embedding-type": "rope",
        "normalization": "RMSNorm",
        "tensor-model-parallel-size": layout.tp,
        "pipeline-model-parallel-size": layout.pp,
        "micro-batch-size": layout.micro_batch,
        "global-batch-size": global_batch,
        "train-iters": n_steps,
        "lr": learning_rate,
        "clip-grad": 1.0,
    }
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    words += ["--bf16", "--disable-bias-linear", "--use-flash-attn"]
    if model.is_gated:
        words.append("--swiglu")
    if not model.is_tied:
        words.append("--untie-embeddings-and-output-weights")
    if model.n_kv_heads != model.n_heads:
        words += ["--group-query-attention", "--num-query-groups", str(model.n_kv_heads)]
    if layout.vp > 1:
        per_part = model.n_layers // (layout.pp * layout.vp)
        words += ["--num-layers-per-virtual-pipeline-stage", str(per_part)]
    if layout.cp > 1:
        words += ["--context-parallel-size", str(layout.cp)]
    if layout.sequence_parallel and layout.tp > 1:
        words.append("--sequence-parallel")
    if layout.zero_stage == 3:
        words += ["--use-megatron-fsdp", "--data-parallel-sharding-strategy", "optim_grads_params"]
    elif layout.zero_stage:
        words += ["--use-distributed-optimizer", "--overlap-grad-reduce"]
    if layout.recompute == "full":
        words += ["--recompute-granularity", "full", "--recompute-method", "uniform"]
        words += ["--recompute-num-layers", "1"]
    elif layout.recompute == "selective":
        words += ["--recompute-granularity", "selective"]
    return words
