"""Claims of unit 14: DeepSpeed's ZeRO has the losses of one process, and shards what it says.

Measured where DeepSpeed is installed; see `tests/test_zero.py` for what runs in every test.
"""

from __future__ import annotations

from tests.claims.registry import claim
from tests.test_zero import train, with_deepspeed
from utils.parallel.processes import run_ranks

N_STEPS = 20


def largest_gap(losses, others):
    """Return the largest difference between two runs' losses."""
    return max(abs(a - b) for a, b in zip(losses, others, strict=True))


def deepspeed_beside_one(seed, stages, n_steps):
    """Return gaps of losses and shares of optimizer state of DeepSpeed's stages on two ranks."""
    losses, state, _ = run_ranks(train, 1, "ddp_step", n_steps, seed)[0]
    found = {}
    for stage in stages:
        args = (stage, n_steps, seed)
        ranks = run_ranks(with_deepspeed, 2, *args, seconds=300, show=False)
        found[f"stage {stage}: gap"] = max(largest_gap(losses, rank[0]) for rank in ranks)
        found[f"stage {stage}: share of state"] = max(rank[1] for rank in ranks) / state
    args = (1, n_steps, seed, None)
    ranks = run_ranks(with_deepspeed, 2, *args, seconds=300, show=False)
    found["default clipping: gap"] = max(largest_gap(losses, rank[0]) for rank in ranks)
    return found


def same_losses_and_half_of_the_state(runs):
    for run in runs:
        for stage in (1, 2, 3):
            assert run[f"stage {stage}: gap"] < 1e-5, run
            assert abs(run[f"stage {stage}: share of state"] - 0.5) < 0.02, run
        assert run["default clipping: gap"] > 1e-4, run


def without_deepspeed(seed):
    losses = run_ranks(train, 2, "Sharded", 5, seed)[0][0]
    return {f"loss {step}": loss for step, loss in enumerate(losses)}


@claim(
    "14_deepspeed",
    "on two ranks the losses of DeepSpeed's ZeRO 1, 2 and 3 are those of one process within 1e-5 "
    "over 20 steps, with half of the optimizer state on each; with clipping left out of its "
    "settings they are not",
    holds=same_losses_and_half_of_the_state,
    probe=without_deepspeed,
)
def zero_stages(seed):
    return deepspeed_beside_one(seed, (1, 2, 3), N_STEPS)
