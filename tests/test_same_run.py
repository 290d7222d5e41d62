"""A resumed run is the run that was stopped: whatever would make it another is refused by name."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder
from utils.tokens.batches import Batch, block_batches
from utils.train.checkpoints import (
    checkpoints_in,
    load_checkpoint,
    load_run,
    save_checkpoint,
    save_run,
)
from utils.train.loop import train
from utils.train.losses import IGNORE_INDEX, cross_entropy
from utils.train.optimizers import adamw
from utils.train.schedules import constant, cosine, warmup_stable_decay

SHAPE = {"vocab_size": 32, "context_length": 16, "d_model": 8, "n_layers": 1, "n_heads": 2}
STREAM = torch.arange(400) * 7 % 32


def model_of(seed=0, **config):
    torch.manual_seed(seed)
    return Decoder(TransformerConfig(**(SHAPE | config)))


def run(folder=None, n_steps=8, model=None, optimizer=None, **settings):
    model = model_of() if model is None else model
    optimizer = optimizer or adamw(model, 1e-2)
    source = settings.pop("batches", None) or block_batches(STREAM, 2, 8, seed=3)
    loss_fn = settings.pop("loss_fn", cross_entropy)
    chosen = {"schedule": cosine(8, warmup_steps=2), "checkpoint": folder} | settings
    return train(model, source, loss_fn, optimizer, n_steps, **chosen)


def losses(records):
    return [record["loss"] for record in records]


def tensors_of(model):
    return [tensor.clone() for tensor in model.state_dict().values()]


def edited(place):
    stream = STREAM.clone()
    stream[place] = (stream[place] + 1) % 32
    return stream


def without_facts(batches):
    return lambda number: batches(number)


CHANGES = [
    ({"accumulate": 2}, "with accumulate=1, here it is 2"),
    ({"clip_norm": None}, "with clip_norm=1.0, here it is None"),
    ({"clip_norm": 0.5}, "with clip_norm=1.0, here it is 0.5"),
    ({"autocast_dtype": torch.bfloat16}, "autocast_dtype=None, here it is torch.bfloat16"),
    ({"batches": block_batches(STREAM, 4, 8, seed=3)}, "batch_size=2, here it is 4"),
    ({"batches": block_batches(STREAM, 2, 4, seed=3)}, "context_length=8, here it is 4"),
    ({"batches": block_batches(STREAM, 2, 8, seed=4)}, "data_seed=3, here it is 4"),
    ({"batches": block_batches(edited(399), 2, 8, seed=3)}, "data_sha256="),
    ({"batches": without_facts(block_batches(STREAM, 2, 8, seed=3))}, "here it is None"),
    ({"schedule": None}, "another schedule: step 0 had a learning rate of 0.005, .* 0.01"),
    ({"schedule": cosine(9, warmup_steps=2)}, "another schedule: step 3"),
    ({"model": model_of(n_heads=4)}, "n_heads=2 in the model's config, here it is 4"),
    ({"model": model_of(rope_theta=500.0)}, "rope_theta=.* in the model's config, here it is 500"),
]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    run(folder, 4)
    return folder


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_another_run_is_refused_by_name_before_anything_changes(stopped, change, words):
    model = change.get("model", model_of(seed=5))
    before, draws = tensors_of(model), torch.get_rng_state()
    optimizer = adamw(model, 1e-2)
    with pytest.raises(ValueError, match=words) as error:
        run(stopped, optimizer=optimizer, **({"model": model} | change))
    assert "resume=False" in str(error.value) and "step-00000004" in str(error.value)
    assert all(map(torch.equal, tensors_of(model), before))
    assert not optimizer.state and torch.equal(torch.get_rng_state(), draws)
    assert [path.name[:13] for path in checkpoints_in(stopped)] == ["step-00000004"]


def test_the_same_run_goes_on_without_a_word(stopped, tmp_path):
    (tmp_path / "run").mkdir()
    for path in checkpoints_in(stopped):
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = run(tmp_path / "run", model=model_of(seed=9))
    assert losses(records) == losses(run())


def test_data_without_facts_are_told_by_what_was_read(tmp_path):
    first = without_facts(block_batches(STREAM, 2, 8, seed=3))
    run(tmp_path, 4, batches=first)
    other = without_facts(block_batches(STREAM, 2, 8, seed=4))
    with pytest.raises(ValueError, match="other data: micro-batch 0 has other tokens"):
        run(tmp_path, batches=other)
    with pytest.raises(ValueError, match=r"batches of shape \(2, 8\), here they are \(4, 8\)"):
        run(tmp_path, batches=without_facts(block_batches(STREAM, 4, 8, seed=3)))
    late = [first(number) for number in range(4)]
    late[3] = Batch(late[3].token_ids, late[3].targets.flip(0))
    with pytest.raises(ValueError, match="micro-batch 3 has other tokens"):
        run(tmp_path, batches=lambda number: late[number])
    assert losses(run(tmp_path, batches=first)) == losses(run())


def test_a_schedule_that_differs_only_from_here_on_is_told_and_is_the_run_with_it(tmp_path):
    whole = without_facts(block_batches(STREAM, 2, 8, seed=3))
    short = warmup_stable_decay(8, warmup_steps=2, decay_steps=4)
    with pytest.raises(ZeroDivisionError):
        broken = lambda number: whole(number) if number < 5 else 1 / 0  # noqa: E731
        run(tmp_path, 8, batches=broken, schedule=short, checkpoint_every=4)
    longer = warmup_stable_decay(12, warmup_steps=2, decay_steps=4)
    with pytest.warns(UserWarning, match="begun with a schedule that gives 0.75 .* at step 5"):
        records = run(tmp_path, 12, batches=whole, schedule=longer)
    assert losses(records) == losses(run(n_steps=12, schedule=longer))


def test_more_steps_of_the_same_schedule_are_the_same_run(tmp_path):
    run(tmp_path, 4, schedule=constant(warmup_steps=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        records = run(tmp_path, 8, schedule=constant(warmup_steps=2))
    assert losses(records) == losses(run(schedule=constant(warmup_steps=2)))


def test_another_loss_gets_a_warning(tmp_path):
    run(tmp_path, 4)

    def doubled(logits, targets):
        return 2 * cross_entropy(logits, targets)

    with pytest.warns(UserWarning, match="loss cross_entropy, the run goes on with .*doubled"):
        run(tmp_path, loss_fn=doubled)


def test_another_optimizer_is_refused(tmp_path):
    model = model_of()
    save_run(tmp_path, model, torch.optim.Adam(model.parameters(), lr=0.1), 1)
    with pytest.raises(ValueError, match="with the optimizer Adam, here it is NAdam"):
        load_run(tmp_path, model, torch.optim.NAdam(model.parameters(), lr=0.1))


def test_another_dropout_is_another_run_but_the_weights_can_be_had(tmp_path):
    def net(p):
        return nn.Sequential(nn.Linear(2, 2), nn.Dropout(p))

    model, other = net(0.1), net(0.5)
    save_run(tmp_path, model, adamw(model, 1e-2), 1)
    with pytest.raises(ValueError, match=r"1=Dropout\(p=0.1.* in the model, here it is Dropout"):
        load_run(tmp_path, other, adamw(other, 1e-2))
    load_run(tmp_path, other)
    assert torch.equal(model[0].weight, other[0].weight)


def test_weights_alone_in_a_model_of_another_config_get_a_warning(tmp_path):
    run(tmp_path, 2)
    other = model_of(n_heads=4)
    with pytest.warns(UserWarning, match="n_heads=2 in the model's config, here it is 4"):
        load_run(tmp_path, other)


def test_a_checkpoint_of_an_earlier_edition_without_settings_is_read(tmp_path):
    run(tmp_path, 4)
    (path,) = checkpoints_in(tmp_path)
    tensors, info = load_checkpoint(path)
    del info["model"], info["settings"], info["optimizer"]["kind"]
    save_checkpoint(path, tensors, info)
    assert losses(run(tmp_path, model=model_of(seed=2))) == losses(run())


@pytest.mark.parametrize("compiled_first", [True, False])
def test_compiled_and_plain_models_share_their_checkpoints(tmp_path, compiled_first):
    def compiled(model):  # wrapped as torch.compile does it, without a compiler at work
        return torch.compile(model, backend="eager")

    first, second = model_of(), model_of(seed=4)
    wrap, other = (compiled, lambda m: m) if compiled_first else (lambda m: m, compiled)
    run(tmp_path, 4, model=wrap(first), optimizer=adamw(first, 1e-2))
    names = load_checkpoint(checkpoints_in(tmp_path)[-1])[0]
    assert not [name for name in names if "_orig_mod" in name]
    records = run(tmp_path, model=other(second), optimizer=adamw(second, 1e-2))
    assert losses(records) == pytest.approx(losses(run()), abs=1e-5)


def test_a_checkpoint_with_the_compiler_s_names_is_read(tmp_path):
    model = model_of()
    path = save_run(tmp_path, model, adamw(model, 1e-2), 1)
    tensors, info = load_checkpoint(path)
    renamed = {name.replace("model/", "model/_orig_mod."): t for name, t in tensors.items()}
    save_checkpoint(path, renamed, info)
    other = model_of(seed=1)
    load_run(tmp_path, other, adamw(other, 1e-2))
    assert all(map(torch.equal, tensors_of(model), tensors_of(other)))


def never(step):
    raise AssertionError("a batch was asked for")


def test_arguments_that_do_not_belong_together_are_refused_before_the_first_step(tmp_path):
    (tmp_path / "file").write_text("")
    model, stranger = model_of(), model_of()
    cases = [
        ({"n_steps": -1}, "n_steps must be at least 0, got -1"),
        ({"n_steps": 2.5}, "n_steps must be at least 0, got 2.5: give a whole number"),
        ({"accumulate": 0}, "accumulate must be at least 1"),
        ({"clip_norm": 0.0}, "clip_norm must be positive, got 0.0: None does not clip"),
        ({"clip_norm": float("nan")}, "clip_norm must be positive"),
        ({"autocast_dtype": torch.float32}, "autocast_dtype must be torch.bfloat16 or"),
        ({"checkpoint_every": 5}, "checkpoint_every=5 needs a folder"),
        ({"checkpoint_every": -1, "folder": tmp_path}, "checkpoint_every must be at least 0"),
        ({"folder": tmp_path / "file"}, "file' is a file: give the folder"),
        ({"folder": str(tmp_path / "file")}, "file' is a file: give the folder"),
        ({"optimizer": adamw(stranger, 1e-2)}, "holds no trainable parameter of this model"),
        ({"model": nn.Module(), "optimizer": adamw(stranger, 1e-2)}, "no trainable parameter"),
        ({"schedule": lambda step: -0.1}, "schedule gives -0.1 at step 0"),
        ({"schedule": lambda step: 1.0 if step < 7 else float("nan")}, "gives nan at step 7"),
    ]
    for change, words in cases:
        before = tensors_of(model)
        arguments = {"model": model, "batches": never} | change
        with pytest.raises(ValueError, match=words):
            run(**arguments)
        assert all(map(torch.equal, tensors_of(model), before))
    assert [path.name for path in Path(tmp_path).iterdir()] == ["file"]


def masked(numbers_without):
    """Batches of three rows each; the targets of some micro-batches all don't count."""
    whole = block_batches(STREAM, 3, 8, seed=1)

    def batch_of(number):
        batch = whole(number)
        targets = batch.targets.clone()
        targets[0, : number % 5] = IGNORE_INDEX
        if number in numbers_without:
            targets[:] = IGNORE_INDEX
        return Batch(batch.token_ids, targets)

    return batch_of


@pytest.mark.parametrize("without", [{0}, {1}, {0, 2}, {1, 4, 5}])
def test_a_micro_batch_without_targets_counts_as_nothing(without):
    parts = masked(without)

    def together(step):
        three = [parts(3 * step + k) for k in range(3)]
        return Batch(*(torch.cat(tensors) for tensors in zip(*three, strict=True)))

    one, other = model_of(), model_of()
    want = run(n_steps=2, model=one, batches=together)
    got = run(n_steps=2, model=other, batches=parts, accumulate=3)
    assert losses(got) == pytest.approx(losses(want), abs=1e-6)
    for mine, its in zip(tensors_of(one), tensors_of(other), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=0)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_step_without_any_target_is_an_error_that_changes_nothing(accumulate):
    parts = masked(set(range(accumulate, 2 * accumulate)))
    model, other = model_of(), model_of()
    words = rf"step 1 has nothing to learn from: all {24 * accumulate} targets of its {accumulate} "
    with pytest.raises(ValueError, match=words):
        run(n_steps=4, model=model, batches=parts, accumulate=accumulate)
    run(n_steps=1, model=other, batches=parts, accumulate=accumulate)
    assert all(map(torch.equal, tensors_of(model), tensors_of(other)))
