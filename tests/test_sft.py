"""The loss over responses: by hand, against torch's and TRL's, weighed by tokens; empty masks."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from utils.runtime import generator
from utils.tokens.batches import Batch, shift_targets, supervised_batches
from utils.tokens.chat import render_chat
from utils.tokens.packing import pack_examples
from utils.train.loop import train
from utils.train.losses import IGNORE_INDEX, cross_entropy
from utils.train.packed import packed_logits
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.zoo.load import load_base

V = 7


def random_case(seed, shape=(3, 6), kept=0.4):
    g = generator(seed)
    logits = 3 * torch.randn(*shape, V, generator=g)
    mask = torch.rand(shape, generator=g) < kept
    mask[0, 0] = True
    return logits, torch.randint(V, shape, generator=g), mask


@pytest.mark.parametrize("seed", range(5))
def test_equals_torch_over_the_tokens_that_the_mask_keeps(seed):
    logits, targets, mask = random_case(seed)
    want = F.cross_entropy(logits[mask], targets[mask])
    torch.testing.assert_close(sft_loss(logits, targets, mask), want, atol=1e-6, rtol=0)
    ignored = targets.masked_fill(~mask, IGNORE_INDEX)
    assert sft_loss(logits, ignored) == sft_loss(logits, targets, mask)


def test_the_mean_runs_over_tokens_and_not_over_answers():
    """An answer of 3 tokens at ln 4 and one of 1 token at ln 2: (3 ln 4 + ln 2) / 4."""
    logits = torch.full((2, 3, 4), -50.0)
    logits[0, :, :] = 0.0  # four equal chances
    logits[1, :, :2] = 0.0  # two equal chances
    mask = torch.tensor([[True, True, True], [False, False, True]])
    loss = sft_loss(logits, torch.zeros(2, 3, dtype=torch.int64), mask)
    assert loss.item() == pytest.approx((3 * math.log(4) + math.log(2)) / 4, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_what_the_mask_hides_changes_neither_loss_nor_gradient(seed):
    logits, targets, mask = random_case(seed)
    logits.requires_grad_()
    (grad,) = torch.autograd.grad(sft_loss(logits, targets, mask), logits)
    assert grad[~mask].count_nonzero() == 0
    assert (grad[mask].abs().sum(-1) > 0).all()
    other = logits.detach().clone()
    other[~mask] = float("inf")
    moved = targets.masked_fill(~mask, V - 1)
    assert sft_loss(other, moved, mask) == sft_loss(logits, targets, mask)


def test_the_arguments_are_not_changed():
    logits, targets, mask = random_case(0)
    before = logits.clone(), targets.clone(), mask.clone()
    sft_loss(logits, targets, mask)
    assert all(map(torch.equal, before, (logits, targets, mask)))


def test_a_batch_whose_targets_are_all_masked_is_a_clear_error_and_not_nan():
    logits, targets, mask = random_case(0)
    words = "none of the 18 targets belongs to a response"
    with pytest.raises(ValueError, match=words):
        sft_loss(logits, targets, torch.zeros_like(mask))
    with pytest.raises(ValueError, match=words):
        sft_loss(logits, torch.full_like(targets, IGNORE_INDEX))
    with pytest.raises(ValueError, match=words):  # targets ignored where the mask would keep them
        sft_loss(logits, targets.masked_fill(mask, IGNORE_INDEX), mask)


def test_a_mask_of_another_shape_or_kind_is_refused():
    logits, targets, mask = random_case(0)
    for wrong in (mask.float(), mask[:, :-1], mask.long()):
        with pytest.raises(ValueError, match="response_mask must be bool of the targets' shape"):
            sft_loss(logits, targets, wrong)


class Table(nn.Module):
    """Logits from a table of weights: a model whose gradient is easy to follow."""

    def __init__(self, seed=0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(V, V, generator=generator(seed)))

    def forward(self, token_ids):
        return self.weight[token_ids]


answers = st.lists(st.integers(1, 6), min_size=4, max_size=4)


@settings(deadline=None, max_examples=30)
@given(lengths=answers, seed=st.integers(0, 99))
def test_micro_batches_of_unequal_answers_give_the_step_of_the_whole_batch(lengths, seed):
    g = generator(seed)
    ids = torch.randint(V, (4, 8), generator=g)
    mask = torch.arange(8) >= 8 - torch.tensor(lengths)[:, None]
    whole = shift_targets(ids, mask)
    steps = []
    for n_parts in (1, 2, 4):
        size = 4 // n_parts
        model = Table()
        records = train(
            model,
            lambda k, size=size: Batch(*(part[k * size : (k + 1) * size] for part in whole)),
            sft_loss,
            torch.optim.SGD(model.parameters(), lr=1.0),
            1,
            accumulate=n_parts,
            clip_norm=None,
        )
        steps.append((records[0]["loss"], model.weight.detach()))
    for loss, weight in steps[1:]:
        assert loss == pytest.approx(steps[0][0], abs=1e-5)
        torch.testing.assert_close(weight, steps[0][1], atol=1e-5, rtol=0)


def test_a_mean_over_micro_batches_would_be_another_loss():
    """The mistake that the weights prevent: 6 tokens at ln 4 and 1 token at ln 2."""
    long = sft_loss(torch.zeros(1, 6, 4), torch.zeros(1, 6, dtype=torch.int64))
    short = sft_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.int64))
    by_batches, by_tokens = (long + short) / 2, (6 * long + short) / 7
    assert by_batches.item() == pytest.approx(1.5 * math.log(2))
    assert by_tokens.item() == pytest.approx(13 / 7 * math.log(2))


def test_a_prompt_alone_in_a_micro_batch_is_passed_over_and_a_step_of_them_refused():
    ids = torch.tensor([[1, 2, 3, 4]])
    nothing = Batch(ids, torch.full_like(ids, IGNORE_INDEX))
    some = Batch(ids, torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 4, 5]]))
    model = Table()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    want = sft_loss(model(ids), some.targets).item()
    records = train(model, [nothing, some].__getitem__, sft_loss, sgd, 1, accumulate=2)
    assert records[0]["loss"] == pytest.approx(want)
    with pytest.raises(ValueError, match="step 0 has nothing to learn from"):
        train(model, lambda step: nothing, sft_loss, sgd, 1, accumulate=2)


def talks(n: int, seed: int) -> list[list[dict[str, str]]]:
    """Return chats of one to three questions of the world, each with its answer."""
    single = iter(chats(build_world(0), 3 * n, seed))
    return [[m for _ in range(1 + k % 3) for m in next(single)] for k in range(n)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return the base model, its tokenizer, and the folder where transformers finds both."""
    from utils.model.pretrained import save_hugging_face

    model, tokenizer = load_base(rebuild=False)
    folder = tmp_path_factory.mktemp("base")
    save_hugging_face(model, folder, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
    return model, tokenizer, folder


def trl_trainer(base, rows, folder, **settings):
    """Return TRL's trainer of these rows on the base model, with a learning rate of zero."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    _, tokenizer, model_folder = base
    # use_cpu alone would turn bf16 on
    config = SFTConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        max_steps=1,
        learning_rate=0.0,
        logging_steps=1,
        max_length=128,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    return SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer.to_hugging_face(),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_loss_equals_that_of_trl_on_the_same_batch_of_talks(base, tmp_path, seed):
    model, tokenizer, _ = base
    rows = talks(8, seed)
    trainer = trl_trainer(
        base,
        [{"messages": row} for row in rows],
        tmp_path,
        assistant_only_loss=True,
        per_device_train_batch_size=8,
    )
    theirs = next(iter(trainer.get_train_dataloader()))
    batch = supervised_batches([render_chat(row, tokenizer) for row in rows], 8, 128, 1020)(0)
    # The same tokens count: theirs stand one place to the right, and their order is another.
    ours = sorted(row[row != IGNORE_INDEX].tolist() for row in batch.targets)
    assert ours == sorted(row[row != IGNORE_INDEX].tolist() for row in theirs["labels"])
    want = trainer.compute_loss(trainer.model, dict(theirs)).item()
    with torch.inference_mode():
        got = sft_loss(model(batch.token_ids), batch.targets).item()
        shifted = shift_targets(theirs["input_ids"], theirs["labels"] != IGNORE_INDEX)
        same_rows = sft_loss(model(shifted.token_ids), shifted.targets).item()
    assert got == pytest.approx(want, abs=1e-5)
    assert same_rows == pytest.approx(want, abs=1e-5)
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == pytest.approx(got, abs=1e-5)


@pytest.mark.slow
def test_prompts_with_completions_of_trl_are_our_chats(base, tmp_path):
    model, tokenizer, _ = base
    rows = chats(build_world(0), 8, seed=5)
    trainer = trl_trainer(
        base,
        [{"prompt": row[:1], "completion": row[1:]} for row in rows],
        tmp_path,
        per_device_train_batch_size=8,
    )
    theirs = next(iter(trainer.get_train_dataloader()))
    want = trainer.compute_loss(trainer.model, dict(theirs)).item()
    batch = supervised_batches([render_chat(row, tokenizer) for row in rows], 8, 128, 1020)(0)
    with torch.inference_mode():
        assert sft_loss(model(batch.token_ids), batch.targets).item() == pytest.approx(
            want, abs=1e-5
        )


@pytest.mark.slow
def test_accumulated_loss_and_gradient_norm_equal_those_of_trl(base, tmp_path):
    """Four micro-batches of two chats of one to three answers, so of unlike numbers of tokens."""
    model, tokenizer, _ = base
    rows = talks(8, 7)
    trainer = trl_trainer(
        base,
        [{"messages": row} for row in rows],
        tmp_path,
        assistant_only_loss=True,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
    )
    trainer.train()
    theirs = trainer.state.log_history[0]
    before = [weight.detach().clone() for weight in model.parameters()]
    records = train(
        model,
        supervised_batches([render_chat(row, tokenizer) for row in rows], 2, 128, 1020),
        sft_loss,
        torch.optim.SGD(model.parameters(), lr=0.0),
        1,
        accumulate=4,
    )
    assert all(map(torch.equal, before, model.parameters()))  # the fixture stays as it was
    assert records[0]["loss"] == pytest.approx(theirs["loss"], abs=1e-5)
    assert records[0]["gradient_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    by_batches = [
        cross_entropy(model(batch.token_ids), batch.targets).item()
        for batch in map(
            supervised_batches([render_chat(row, tokenizer) for row in rows], 2, 128, 1020),
            range(4),
        )
    ]
    assert abs(sum(by_batches) / 4 - theirs["loss"]) > 1e-3  # a mean over batches is another number


@pytest.mark.slow
def test_packed_loss_equals_that_of_trl_and_the_leak_is_another_number(base, tmp_path):
    """TRL's best-fit packing keeps examples apart, too; other rows, but the same loss."""
    model, tokenizer, _ = base
    chosen = chats(build_world(0), 24, seed=3)
    trainer = trl_trainer(
        base,
        [{"messages": row} for row in chosen],
        tmp_path,
        assistant_only_loss=True,
        per_device_train_batch_size=24,
        packing=True,
        packing_strategy="bfd",
    )
    theirs = next(iter(trainer.get_train_dataloader()))
    want = trainer.compute_loss(trainer.model, dict(theirs)).item()
    rows = pack_examples([render_chat(row, tokenizer) for row in chosen], 128, tokenizer.pad_id)
    assert len(rows.token_ids) < 8
    with torch.inference_mode():
        apart = sft_loss(packed_logits(model, rows), rows.targets).item()
        leaking = sft_loss(packed_logits(model, rows, is_isolated=False), rows.targets).item()
    assert apart == pytest.approx(want, abs=1e-5)
    assert leaking > want + 0.1
