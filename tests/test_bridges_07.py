"""Bridges of unit 07: our adapters in PEFT, PEFT in TRL's trainer, bitsandbytes' four bits."""

import copy
import logging

import pytest
import torch
from torch import nn

from utils.model.lora import LoRALinear, add_lora, lora_layers, merge_lora
from utils.model.nf4 import NF4Linear, dequantize_nf4, quantize_nf4
from utils.model.pretrained import save_hugging_face
from utils.tokens.batches import supervised_batches
from utils.tokens.chat import render_chat
from utils.train.loop import train
from utils.train.optimizers import adamw
from utils.train.sft import sft_loss
from utils.world.chats import chats
from utils.world.facts import build_world
from utils.zoo.load import load_base

RANK, ALPHA = 8, 16
PARTS = {  # our matrices hold several of theirs, one above the other
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.output": ("self_attn.o_proj",),
    "feed_forward.gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "feed_forward.down": ("mlp.down_proj",),
}
TARGETS = [name.rpartition(".")[2] for names in PARTS.values() for name in names]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Return the folder of the base model as transformers reads it."""
    model, tokenizer = load_base()
    folder = tmp_path_factory.mktemp("base")
    save_hugging_face(model, folder, end_id=tokenizer.end_id, pad_id=tokenizer.pad_id)
    return folder


def examples(n, seed=0):
    _, tokenizer = load_base()
    return [render_chat(chat, tokenizer) for chat in chats(build_world(0), n, seed=seed)]


@pytest.fixture(scope="module")
def tuned():
    """Return the base model with adapters after some steps on chats."""
    model, tokenizer = load_base()
    torch.manual_seed(0)
    add_lora(model, RANK, ALPHA)
    batches = supervised_batches(examples(160), 16, 127, tokenizer.pad_id)
    train(model, batches, sft_loss, adamw(model, lr=3e-3), 10)
    return model


def in_peft(folder, ours):
    """Return PEFT's model with our adapters: each of its parts has our `down`, and rows of `up`."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0)
    theirs = get_peft_model(theirs, config).eval()
    for name, layer in lora_layers(ours).items():
        _, number, part = name.split(".", 2)
        at = 0
        for their_name in PARTS[part]:
            module = theirs.get_submodule(f"base_model.model.model.layers.{number}.{their_name}")
            n_rows = module.out_features
            with torch.no_grad():
                module.lora_A["default"].weight.copy_(layer.down)
                module.lora_B["default"].weight.copy_(layer.up[at : at + n_rows])
            at += n_rows
        assert at == len(layer.up)
    return theirs


def test_peft_gives_the_logits_of_our_adapters_apart_and_merged(exported, tuned):
    ids = torch.randint(20, 1000, (3, 40), generator=torch.Generator().manual_seed(0))
    theirs = in_peft(exported, tuned)
    with torch.inference_mode():
        want, plain = tuned(ids), load_base()[0](ids)
        assert (want - plain).abs().max() > 0.5, "the tuning changed something"
        assert (theirs(ids).logits - want).abs().max() < 1e-4
    merged = merge_lora(copy.deepcopy(tuned))
    plain_again = theirs.merge_and_unload()
    with torch.inference_mode():
        assert (plain_again(ids).logits - merged(ids)).abs().max() < 1e-4


@pytest.mark.slow
def test_trl_trains_peft_on_our_exported_model_and_begins_where_we_do(exported, tmp_path):
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    base, tokenizer = load_base()
    rows = chats(build_world(0), 16)
    config = SFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        max_steps=6,
        learning_rate=3e-3,
        lr_scheduler_type="constant",
        per_device_train_batch_size=16,
        logging_steps=1,
        max_length=128,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        assistant_only_loss=True,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list([{"messages": row} for row in rows]),
        processing_class=tokenizer.to_hugging_face(),
        peft_config=LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS),
    )
    learn = [name for name, w in trainer.model.named_parameters() if w.requires_grad]
    assert learn and all("lora_" in name for name in learn)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    batch = supervised_batches([render_chat(r, tokenizer) for r in rows], 16, 127, 1020)(0)
    with torch.inference_mode():
        want = sft_loss(base(batch.token_ids), batch.targets).item()
    assert losses[0] == pytest.approx(want, abs=1e-4)
    assert losses[-1] < losses[0] - 0.3, losses


def test_codes_of_the_base_model_are_those_of_bitsandbytes():
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it greets
    import bitsandbytes.functional as bnb

    base, _ = load_base()
    for weight in base.blocks.parameters():
        if weight.dim() == 2:
            codes, scales = quantize_nf4(weight)
            theirs, state = bnb.quantize_4bit(weight.detach(), blocksize=64, quant_type="nf4")
            assert torch.equal(codes, theirs.flatten()) and torch.equal(scales, state.absmax)


def test_a_linear_layer_of_bitsandbytes_gives_our_answer():
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import bitsandbytes as bnb

    weight = load_base()[0].blocks[0].attention.output.weight.detach()
    theirs = bnb.nn.Linear4bit(
        128,
        128,
        bias=False,
        compute_dtype=torch.float32,
        quant_type="nf4",
        compress_statistics=False,
    )
    theirs.support_avx512bf16_for_cpu = False  # or it repacks at the first evaluation
    theirs.weight = bnb.nn.Params4bit(
        weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=False
    )
    theirs = theirs.to("cpu")
    x = torch.randn(5, 128, generator=torch.Generator().manual_seed(0))
    codes, scales = quantize_nf4(weight)
    want = x @ dequantize_nf4(codes, scales, (128, 128)).T
    assert (theirs(x) - want).abs().max() < 1e-4
    # Scales of scales differ: eight bits around the mean here, floats of eight bits there.
    assert (NF4Linear(weight)(x) - want).abs().max() < 0.02 * want.abs().max()


def test_adapters_beside_four_bits_learn_as_those_of_peft_beside_bitsandbytes():
    """The same start, the same steps: beside Linear4bit, and beside the floats of our codes."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import bitsandbytes as bnb
    from peft import LoraConfig, get_peft_model

    weight = load_base()[0].blocks[0].attention.output.weight.detach()
    layer = bnb.nn.Linear4bit(
        128,
        128,
        bias=False,
        compute_dtype=torch.float32,
        quant_type="nf4",
        compress_statistics=False,
    )
    layer.support_avx512bf16_for_cpu = False
    layer.weight = bnb.nn.Params4bit(
        weight.clone(), requires_grad=False, quant_type="nf4", compress_statistics=False
    )
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["0"], lora_dropout=0.0)
    theirs = get_peft_model(nn.Sequential(layer.to("cpu")), config)
    codes, scales = quantize_nf4(weight)
    plain = nn.Linear(128, 128, bias=False)
    with torch.no_grad():
        plain.weight.copy_(dequantize_nf4(codes, scales, (128, 128)))
    ours = LoRALinear(plain, 4, 8)
    down, up = (
        next(w for name, w in theirs.named_parameters() if part in name)
        for part in ("lora_A", "lora_B")
    )
    with torch.no_grad():
        ours.down.copy_(down)
    x, y = (torch.randn(32, 128, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    for model, parameters in ((theirs, [down, up]), (ours, [ours.down, ours.up])):
        optimizer = torch.optim.SGD(parameters, lr=0.5)
        for _ in range(5):
            optimizer.zero_grad()
            (model(x) - y).square().mean().backward()
            optimizer.step()
    assert up.abs().max() > 1e-4
    for a, b in ((ours.down, down), (ours.up, up)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-3)
