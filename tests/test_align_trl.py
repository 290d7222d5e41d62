"""Our losses on preferences and groups equal those of TRL's trainers, on the same batch."""

import copy
from types import SimpleNamespace

import pytest
import torch

from utils.align.group_losses import (
    LENGTHS,
    group_advantages,
    grpo_loss,
    leave_one_out_advantages,
    rloo_loss,
    row_lengths,
)
from utils.align.preference_losses import dpo_loss, ipo_loss, kto_loss
from utils.align.rollouts import draw_rollouts, response_logprobs
from utils.assistants.chat_models import chat_prompt, load_assistant
from utils.model.generate import evaluating
from utils.model.pretrained import save_hugging_face
from utils.runtime import generator
from utils.world.facts import build_world
from utils.world.preferences import preference_pairs

pytestmark = pytest.mark.slow
N = 6


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return policy, reference and tokenizer, and the folders in which transformers finds both."""
    reference, tokenizer = load_assistant(rebuild=False)
    policy = copy.deepcopy(reference)
    noise = generator(0)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.02 * weight.std() * torch.randn(weight.shape, generator=noise)
    folders = {}
    for name, model in (("policy", policy), ("reference", reference)):
        folders[name] = tmp_path_factory.mktemp(name)
        ids = {"end_id": tokenizer.end_id, "pad_id": tokenizer.pad_id}
        save_hugging_face(model, folders[name], **ids)
    return SimpleNamespace(policy=policy, reference=reference, tokenizer=tokenizer, folders=folders)


def theirs(models, name):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(models.folders[name], dtype=torch.float32)


def common(folder, **settings):
    """Return settings of a trainer that runs one step on the CPU and changes nothing."""
    return {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        "max_steps": 1,
        "learning_rate": 0.0,
        "gradient_checkpointing": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "per_device_train_batch_size": N,
        **settings,
    }


def talks(pairs, *names):
    """Return rows with a prompt and one answer for each name, as TRL reads chats."""
    return [
        {"prompt": [{"role": "user", "content": pair.prompt}]}
        | {name: [{"role": "assistant", "content": getattr(pair, name)}] for name in names}
        for pair in pairs
    ]


def ours(models, ids, completion_mask):
    """Return policy's and reference's log-probabilities of whole answers, and the lengths."""
    mask = completion_mask[:, 1:].bool()
    batch = ids[:, :-1], ids[:, 1:], mask
    with torch.inference_mode():
        found = [response_logprobs(m, *batch).sum(1) for m in (models.policy, models.reference)]
    return (*found, mask.sum(1))


@pytest.mark.parametrize("kind", ["sigmoid", "ipo"])
@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_dpo_and_ipo_equal_trl(models, tmp_path, kind, beta):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows = talks(preference_pairs(build_world(0), N, seed=3), "chosen", "rejected")
    trainer = DPOTrainer(
        theirs(models, "policy"),
        theirs(models, "reference"),
        DPOConfig(**common(tmp_path), beta=beta, loss_type=[kind], max_length=128),
        train_dataset=Dataset.from_list(rows),
        processing_class=models.tokenizer.to_hugging_face(),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    want = trainer.compute_loss(trainer.model, dict(batch)).item()
    policy, reference, lengths = ours(models, batch["input_ids"], batch["completion_mask"])
    four = (*policy.chunk(2), *reference.chunk(2))
    if kind == "sigmoid":
        got = dpo_loss(*four, beta=beta)
    else:
        got = ipo_loss(*four, *lengths.chunk(2), beta=beta)
    assert got.item() == pytest.approx(want, abs=1e-5)


def test_kto_equals_trl(models, tmp_path):
    from datasets import Dataset
    from trl import KTOConfig, KTOTrainer

    pairs = preference_pairs(build_world(0), N, seed=4)
    rows = [
        {"prompt": row["prompt"], "completion": row[name], "label": name == "chosen"}
        for k, row in enumerate(talks(pairs, "chosen", "rejected"))
        for name in (("chosen",) if k % 3 else ("rejected",))
    ]
    weights = {"desirable_weight": 1.0, "undesirable_weight": 1.5}
    trainer = KTOTrainer(
        theirs(models, "policy"),
        theirs(models, "reference"),
        KTOConfig(**common(tmp_path), beta=0.3, max_length=128, **weights),
        train_dataset=Dataset.from_list(rows),
        processing_class=models.tokenizer.to_hugging_face(),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    want = trainer.compute_loss(trainer.model, dict(batch)).item()
    policy, reference, _ = ours(models, batch["input_ids"], batch["completion_mask"])
    other, ref_other, _ = ours(models, batch["KL_input_ids"], batch["KL_completion_mask"])
    wanted = torch.as_tensor(batch["label"]).bool()
    assert 0 < wanted.sum() < N
    got = kto_loss(policy, reference, wanted, other, ref_other, beta=0.3, **weights)
    assert got.item() == pytest.approx(want, abs=1e-5)


NAMES = {"sequence": "grpo", "micro_batch": "bnpo", "batch": "dapo", "constant": "dr_grpo"}
LIMIT = 20


@pytest.fixture(scope="module")
def drawn(models):
    """Return rollouts of the reference, which the policy is to learn from."""
    pairs = preference_pairs(build_world(0), 4, seed=5)
    prompts = [chat_prompt(models.tokenizer, p.prompt) for p in pairs for _ in range(2)]
    ids = {"pad_id": models.tokenizer.pad_id, "end_id": models.tokenizer.end_id}
    return draw_rollouts(
        models.reference, prompts, LIMIT, **ids, temperature=0.7, generator=generator(1)
    )


def for_trl(models, rollouts):
    """Return rollouts as TRL's GRPO holds them: prompts padded left, answers right."""
    pad = models.tokenizer.pad_id
    closed = [
        r + [models.tokenizer.end_id] * bool(e)
        for r, e in zip(rollouts.responses, rollouts.ended, strict=True)
    ]
    wide, long = max(map(len, rollouts.prompts)), max(map(len, closed))
    found = {"prompt_ids": [], "prompt_mask": [], "completion_ids": [], "completion_mask": []}
    for prompt, answer in zip(rollouts.prompts, closed, strict=True):
        n, m = wide - len(prompt), long - len(answer)
        found["prompt_ids"].append([pad] * n + prompt)
        found["prompt_mask"].append([0] * n + [1] * len(prompt))
        found["completion_ids"].append(answer + [pad] * m)
        found["completion_mask"].append([1] * len(answer) + [0] * m)
    return {name: torch.tensor(values) for name, values in found.items()}


def spread(rollouts, values, width):
    """Return per-token values of rollouts at the places where TRL has them."""
    out = torch.zeros(len(values), width)
    for n, (row, mask) in enumerate(zip(values, rollouts.response_mask, strict=True)):
        out[n, : int(mask.sum())] = row[mask]
    return out


def grpo_trainer(models, folder, reward=lambda completions, **_: [0.0] * len(completions), **more):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    rows = talks(preference_pairs(build_world(0), 4, seed=5))
    settings = common(folder, per_device_train_batch_size=8, num_generations=4, temperature=0.7)
    return GRPOTrainer(
        theirs(models, "policy"),
        reward,
        GRPOConfig(**{**settings, "max_completion_length": LIMIT, **more}),
        train_dataset=Dataset.from_list(rows),
        processing_class=models.tokenizer.to_hugging_face(),
    )


@pytest.mark.parametrize("how", LENGTHS)
@pytest.mark.parametrize("kl_coef", [0.0, 0.05])
def test_grpo_equals_trl_in_all_four_normalisations(models, drawn, tmp_path, how, kl_coef):
    trainer = grpo_trainer(models, tmp_path, loss_type=NAMES[how], beta=kl_coef)
    batch = for_trl(models, drawn)
    width = batch["completion_ids"].shape[1]
    advantages = torch.linspace(-1.5, 1.5, len(drawn.prompts))
    three = drawn.token_ids, drawn.targets, drawn.response_mask
    with evaluating(models.reference):
        ref = response_logprobs(models.reference, *three, 0.7)
    batch |= {
        "advantages": advantages,
        "old_per_token_logps": spread(drawn, drawn.logprobs, width),
        "ref_per_token_logps": spread(drawn, ref, width),
        "num_items_in_batch": batch["completion_mask"].sum(),
    }
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    want = trainer._compute_loss(trainer.model, batch)
    want.backward()
    lengths = row_lengths(how, drawn.response_mask, max_new_tokens=LIMIT)
    models.policy.zero_grad()
    got = grpo_loss(
        response_logprobs(models.policy, *three, 0.7),
        drawn.logprobs,
        advantages,
        drawn.response_mask,
        lengths,
        ref if kl_coef else None,
        kl_coef,
    )
    got.backward()
    assert got.item() == pytest.approx(want.item(), abs=1e-5)
    gradient = trainer.model.model.embed_tokens.weight.grad
    torch.testing.assert_close(models.policy.embedding.weight.grad, gradient, atol=5e-5, rtol=1e-3)
    # With the log-probabilities of another temperature it is another loss.
    other = response_logprobs(models.policy, *three, 1.0).detach()
    wrong = grpo_loss(other, drawn.logprobs, advantages, drawn.response_mask, lengths)
    assert abs(wrong.item() - want.item()) > 1e-4


@pytest.mark.parametrize("scale", ["group", "none"])
def test_group_advantages_equal_trl(models, tmp_path, scale):
    given = []

    def reward(completions, **_):
        given[:] = [0.0, 1.0, 1.0, 0.0, 0.5, 0.5, 0.5, 0.5][: len(completions)]
        return given

    trainer = grpo_trainer(models, tmp_path, reward, scale_rewards=scale)
    trainer.train()
    theirs_found = torch.tensor(list(trainer._logs["advantages"]))
    got = group_advantages(torch.tensor(given), 4, divide_by_std=scale == "group")
    torch.testing.assert_close(got, theirs_found[: len(got)], atol=1e-5, rtol=0)


def test_rloo_equals_trl(models, drawn, tmp_path):
    from datasets import Dataset
    from trl import RLOOConfig, RLOOTrainer

    given = [0.0, 1.0, 0.25, 0.0, 0.5, 0.5, 0.5, 0.5]
    settings = common(tmp_path, per_device_train_batch_size=8, num_generations=4, temperature=0.7)
    trainer = RLOOTrainer(
        theirs(models, "policy"),
        lambda completions, **_: given,
        RLOOConfig(**settings, max_completion_length=LIMIT, beta=0.0),
        train_dataset=Dataset.from_list(talks(preference_pairs(build_world(0), 4, seed=5))),
        processing_class=models.tokenizer.to_hugging_face(),
    )
    trainer.train()
    theirs_found = torch.tensor(list(trainer._logs["advantages"]))[:8]
    advantages = leave_one_out_advantages(torch.tensor(given), 4)
    torch.testing.assert_close(advantages, theirs_found, atol=1e-5, rtol=0)
    batch = for_trl(models, drawn) | {"advantages": advantages}
    batch["old_logps"] = drawn.logprobs.sum(1)
    trainer.model.train()
    want = trainer._compute_loss(trainer.model, batch).item()
    three = drawn.token_ids, drawn.targets, drawn.response_mask
    with torch.inference_mode():
        logprobs = response_logprobs(models.policy, *three, 0.7)
    got = rloo_loss(logprobs, drawn.logprobs, advantages, drawn.response_mask)
    assert got.item() == pytest.approx(want, abs=1e-5)
