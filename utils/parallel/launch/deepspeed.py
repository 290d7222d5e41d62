"""The JSON file by which DeepSpeed trains a layout.

Source: DeepSpeed's page "DeepSpeed Configuration JSON"; Rajbhandari et al. 2020, "ZeRO".
"""

from __future__ import annotations

# DeepSpeed takes an unknown name on the top level without a word: what may stand there is checked.
TOP = {
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "bf16",
    "zero_optimization",
    "activation_checkpointing",
    "steps_per_print",
    "wall_clock_breakdown",
}


def deepspeed_config(
    global_batch: int,
    micro_batch: int,
    n_data_parallel: int,
    zero_stage: int = 1,
    gradient_clipping: float = 1.0,
    recompute: bool = False,
    offload_optimizer: bool = False,
) -> dict:
    """Return a configuration whose batch is spread over ranks and accumulation steps.

    Args:
        global_batch: sequences of a step.
        micro_batch: sequences that a GPU takes at a time.
        n_data_parallel: ranks with different data.
        zero_stage: 0 to 3: what is sharded (nothing, optimizer, gradients too, weights too).
        gradient_clipping: largest norm of the whole gradient.
        recompute: shard kept activations over the tensor-parallel ranks as well.
        offload_optimizer: keep the optimizer's state in the memory of the host.

    Raises:
        ValueError: for a stage that is none, or a batch that does not divide.

    >>> deepspeed_config(512, 1, 64)["gradient_accumulation_steps"]
    8
    """
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"zero_stage must be 0, 1, 2 or 3, got {zero_stage}")
    each = micro_batch * n_data_parallel
    if min(each, global_batch) < 1 or global_batch % each:
        raise ValueError(
            f"a batch of {global_batch} sequences can't be shared by {n_data_parallel} ranks that "
            f"take {micro_batch} at a time: choose a multiple of {each}"
        )
    zero: dict = {"stage": zero_stage}
    if zero_stage:
        zero |= {"overlap_comm": True, "reduce_scatter": True, "contiguous_gradients": True}
    if zero_stage == 3:
        zero |= {"stage3_gather_16bit_weights_on_model_save": True}
    if offload_optimizer:
        zero |= {"offload_optimizer": {"device": "cpu", "pin_memory": True}}
    config = {
        "train_batch_size": global_batch,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": global_batch // each,
        "gradient_clipping": gradient_clipping,
        "bf16": {"enabled": True},
        "zero_optimization": zero,
        "steps_per_print": 10,
        "wall_clock_breakdown": False,
    }
    if recompute:
        config["activation_checkpointing"] = {"partition_activations": True}
    return config


def unknown_keys(config: dict) -> list[str]:
    """Return names on the top level that DeepSpeed would pass over in silence.

    >>> unknown_keys({"zero_optimisation": {}})
    ['zero_optimisation']
    """
    return sorted(set(config) - TOP)
