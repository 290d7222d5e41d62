"""Steps of DPO and GRPO against TRL's, and rollouts against transformers' `generate`.

Both sides have the same model, the same data and the same number of updates; what TRL's trainers do
around a step is part of what its users wait for, and of what is timed. Our DPO step has its share
of the reference's pass, which is made once before the first step; TRL makes it in every step.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from copy import deepcopy

import torch

from tests.bench.model import exported, in_turns, seconds_of
from utils.align.grpo import train_grpo
from utils.align.preference import dpo, token_pairs, train_preferences
from utils.align.rollouts import draw_rollouts
from utils.align.verify import verify_answer
from utils.assistants.chat_models import chat_prompt, load_assistant
from utils.model.pretrained import save_hugging_face
from utils.runtime import generator
from utils.train.optimizers import adamw
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs
from utils.world.questions import questions

BAR_DPO, BAR_GRPO, BAR_ROLLOUTS = 1.5, 2.0, 1.5
N_PAIRS, N_STEPS = 16, 20
N_PROMPTS, GROUP, N_ITERATIONS, SUM_TOKENS = 32, 8, 4, 16
RATE = 1e-5  # small, so that both sides' answers keep their length


def common(folder: str, batch_size: int, n_steps: int) -> dict:
    """Return settings of a trainer of TRL on the CPU."""
    return {
        "output_dir": f"{folder}/run",
        "per_device_train_batch_size": batch_size,
        "max_steps": n_steps,
        "learning_rate": RATE,
        "gradient_checkpointing": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": n_steps,
    }


def from_folder(folder: str):
    """Return transformers' model of a folder."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def dpo_row() -> dict:
    """Compare a whole DPO run, ours and TRL's, over the same pairs."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    assistant, tokenizer = load_assistant()
    texts = preference_pairs(build_world(0), N_PAIRS * N_STEPS)
    pairs = token_pairs(texts, tokenizer, 128)
    policy = deepcopy(assistant)
    ours = seconds_of(
        lambda: train_preferences(
            policy,
            assistant,
            pairs,
            dpo,
            adamw(policy, RATE, weight_decay=0.0),
            N_STEPS,
            pad_id=tokenizer.pad_id,
            batch_size=N_PAIRS,
        )
    )
    rows = [
        {
            "prompt": [{"role": "user", "content": pair.prompt}],
            "chosen": [{"role": "assistant", "content": pair.chosen}],
            "rejected": [{"role": "assistant", "content": pair.rejected}],
        }
        for pair in texts
    ]
    with tempfile.TemporaryDirectory() as folder:
        ids = {"end_id": tokenizer.end_id, "pad_id": tokenizer.pad_id}
        save_hugging_face(assistant, folder, **ids)
        trainer = DPOTrainer(
            from_folder(folder),
            from_folder(folder),
            DPOConfig(**common(folder, N_PAIRS, N_STEPS), beta=0.1, max_length=128),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer.to_hugging_face(),
        )
        theirs = seconds_of(trainer.train)
    return {
        "row": f"DPO step, {N_PAIRS} pairs",
        "peer": "TRL DPOTrainer",
        "measured": theirs / ours,
        "unit": "x",
        "bar": BAR_DPO,
        "details": f"{1000 * ours / N_STEPS:.0f} against {1000 * theirs / N_STEPS:.0f} ms a step, "
        f"means of {N_STEPS} with the reference's passes",
    }


def grpo_row() -> dict:
    """Compare iterations on sums, ours and TRL's: 256 answers, two epochs of two updates."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    assistant, tokenizer = load_assistant()
    asked = questions(build_world(0), "trained", N_PROMPTS * N_ITERATIONS, kinds=("sum",))
    prompts = [chat_prompt(tokenizer, question.prompt) for question in asked]
    values = {tuple(p): q.value for p, q in zip(prompts, asked, strict=True)}

    def reward(rollouts) -> torch.Tensor:
        texts = [tokenizer.decode(r, skip_special=True) for r in rollouts.responses]
        pairs = zip(texts, rollouts.prompts, strict=True)
        return torch.tensor([verify_answer(text, values[tuple(p)]) for text, p in pairs])

    def their_reward(completions, value, **_) -> list[float]:
        pairs = zip(completions, value, strict=True)
        return [verify_answer(chat[0]["content"], v) for chat, v in pairs]

    policy = deepcopy(assistant)
    ids = {"end_id": tokenizer.end_id, "pad_id": tokenizer.pad_id}
    ours = seconds_of(
        lambda: train_grpo(
            policy,
            lambda k: prompts[N_PROMPTS * k : N_PROMPTS * (k + 1)],
            reward,
            adamw(policy, RATE, weight_decay=0.0),
            N_ITERATIONS,
            group_size=GROUP,
            max_new_tokens=SUM_TOKENS,
            minibatch_size=N_PROMPTS * GROUP // 2,
            **ids,
        )
    )
    rows = [{"prompt": [{"role": "user", "content": q.prompt}], "value": q.value} for q in asked]
    with tempfile.TemporaryDirectory() as folder:
        save_hugging_face(assistant, folder, **ids)
        settings = common(folder, N_PROMPTS * GROUP // 2, 4 * N_ITERATIONS)
        trainer = GRPOTrainer(
            from_folder(folder),
            their_reward,
            GRPOConfig(
                **settings,
                num_generations=GROUP,
                steps_per_generation=2,
                num_iterations=2,
                max_completion_length=SUM_TOKENS,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer.to_hugging_face(),
        )
        theirs = seconds_of(trainer.train)
    return {
        "row": f"GRPO iteration, {N_PROMPTS} sums x {GROUP} answers",
        "peer": "TRL GRPOTrainer",
        "measured": theirs / ours,
        "unit": "x",
        "bar": BAR_GRPO,
        "details": f"{ours / N_ITERATIONS:.1f} against {theirs / N_ITERATIONS:.1f} s an iteration "
        f"(means of {N_ITERATIONS}): drawing, rewards, two epochs of two updates",
    }


def rollouts_row() -> dict:
    """Compare tokens drawn in a second, ours with log-probabilities and theirs without."""
    assistant, tokenizer = load_assistant()
    peer = exported(assistant).eval()
    asked = questions(build_world(0), "trained", 64)
    prompts = [chat_prompt(tokenizer, question.prompt) for question in asked]
    wide = max(map(len, prompts))
    pad, end = tokenizer.pad_id, tokenizer.end_id
    token_ids = torch.tensor([[pad] * (wide - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (wide - len(p)) + [1] * len(p) for p in prompts])
    drawn = {"ours": [], "theirs": []}

    def ours() -> None:
        rollouts = draw_rollouts(
            assistant, prompts, 64, pad_id=pad, end_id=end, generator=generator(0)
        )
        drawn["ours"].append(int(rollouts.lengths.sum()))

    def theirs() -> None:
        torch.manual_seed(0)
        with torch.inference_mode():
            out = peer.generate(
                token_ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                max_new_tokens=64,
                pad_token_id=pad,
                eos_token_id=end,
            )
        ended = (out[:, wide:] == end).cumsum(1) - (out[:, wide:] == end).long()
        drawn["theirs"].append(int((ended == 0).sum()))

    our_seconds, their_seconds, _ = in_turns(ours, theirs, 4)
    speeds = [
        sum(drawn[side]) / len(drawn[side]) / seconds
        for side, seconds in (("ours", our_seconds), ("theirs", their_seconds))
    ]
    return {
        "row": "rollouts, 64 prompts, at most 64 tokens",
        "peer": "transformers generate",
        "measured": speeds[0] / speeds[1],
        "unit": "x",
        "bar": BAR_ROLLOUTS,
        "details": f"{speeds[0]:,.0f} against {speeds[1]:,.0f} tokens a second; ours with the "
        "log-probabilities that learning needs",
    }


def rows() -> Iterator[dict]:
    """Yield the rows of this module."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    yield dpo_row()
    yield grpo_row()
    yield rollouts_row()
