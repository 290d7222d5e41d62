"""Quiz of unit 07: rank, start, alpha, levels, bits, what is saved, merged, and fits."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_count() -> str:
    """Return the option for the weights of an adapter of rank 8 on a matrix of 4096 by 4096."""
    import torch
    from torch import nn

    from utils.model.lora import LoRALinear

    with torch.device("meta"):
        layer = LoRALinear(nn.Linear(4096, 4096, bias=False), rank=8, alpha=16)
    n = layer.down.numel() + layer.up.numel()
    return {64: "a", 65_536: "b", 4096 * 4096: "c"}[n]


def prove_start() -> str:
    """Return the option for an adapter whose two matrices are zero: the gradients of both."""
    import torch
    from torch import nn

    from utils.model.lora import LoRALinear

    layer = LoRALinear(nn.Linear(4, 3), rank=2, alpha=1)
    with torch.no_grad():
        layer.down.zero_()
    layer(torch.ones(1, 4)).sum().backward()
    return "b" if not (layer.down.grad.any() or layer.up.grad.any()) else "a"


def prove_alpha() -> str:
    """Return the option for alpha at eight times the rank, by how far one step reaches.

    A step of AdamW moves each weight by about the rate, whatever its gradient: by the sign here.
    """
    import torch
    from torch import nn

    from utils.model.lora import LoRALinear

    draw = torch.Generator().manual_seed(0)
    x, wanted = torch.randn(1, 256, generator=draw), torch.randn(1, 256, generator=draw)

    def reach(rank: int, alpha: float) -> float:
        layer = LoRALinear(nn.Linear(256, 256, bias=False), rank, alpha)
        with torch.no_grad():
            layer.down.normal_(generator=draw)
        before = (layer(x) * wanted).sum()
        before.backward()
        with torch.no_grad():
            layer.up += 1e-3 * layer.up.grad.sign()
            return ((layer(x) * wanted).sum() - before).item()

    first = reach(8, 16)
    apart = {key: abs(reach(64, alpha) / first - 1) for key, alpha in (("a", 16), ("c", 128))}
    return min(apart, key=apart.get)


def prove_levels() -> str:
    """Return the option for where NF4's levels lie closest."""
    from utils.model.nf4 import nf4_levels

    gaps = nf4_levels().diff()
    return "a" if gaps[6:8].max() < gaps[[0, 14]].min() else "b"


def prove_bits() -> str:
    """Return the option for the bits of a weight in blocks of 64, scales in a byte."""
    import torch

    from utils.model.nf4 import NF4Linear

    layer = NF4Linear(torch.randn(256, 512, generator=torch.Generator().manual_seed(0)))
    bits = 8 * layer.n_bytes / (256 * 512)
    return {"4.00": "a", "4.13": "b", "4.50": "c"}[f"{bits:.2f}"]


def prove_saved() -> str:
    """Return the option for a model whose table was trained beside its adapters."""
    from utils.model.config import TransformerConfig
    from utils.model.decoder import Decoder
    from utils.model.lora import adapter_state, add_lora

    model = Decoder(TransformerConfig(7, 9, d_model=8, n_layers=1))
    state = adapter_state(add_lora(model, 2, 4, also_train=("embedding.weight",)))
    return "c" if "embedding.weight" in state and len(state) > 1 else "a"


def prove_merge() -> str:
    """Return the option for the weights to which an adapter of a four-bit layer belongs."""
    import torch

    from utils.model.lora import LoRALinear
    from utils.model.nf4 import NF4Linear, floats_of

    draw = torch.Generator().manual_seed(0)
    weight, x = torch.randn(32, 64, generator=draw), torch.randn(2, 64, generator=draw)
    layer = LoRALinear(NF4Linear(weight), 4, 8)
    with torch.no_grad():
        layer.up.normal_(generator=draw)
    want = layer(x)
    into = {"b": floats_of(layer.linear).weight, "a": weight}
    off = {key: (x @ (w + layer.update()).T - want).abs().max() for key, w in into.items()}
    return min(off, key=off.get)


def prove_fits() -> str:
    """Return the option for the largest term of a QLoRA step on an 8B model, long rows."""
    from utils.model.accounting import LLAMA_8B, sizes_of
    from utils.model.finetune_memory import finetune_memory

    sizes = {k: v for k, v in sizes_of(LLAMA_8B).items() if k != "qk_norm"}
    told = finetune_memory(
        **sizes, batch_size=1, n_tokens=4096, rank=16, is_quantized=True, float_bytes=2
    )
    largest = max(told, key=told.get)
    return {"optimizer": "a", "codes": "b", "activations": "c"}[largest]


QUIZ = [
    Question(
        "count",
        "A matrix of 4,096 by 4,096 gets an adapter of rank 8. How many weights learn?",
        {
            "a": ("64", "That is 8 times 8. Each of the two matrices is thin in one way alone."),
            "b": ("65,536", "8 times 4,096 on the way down and as many on the way up."),
            "c": (
                "16.8 million",
                "That is the matrix itself, which is frozen. The update has its shape, and is made "
                "of two thin ones.",
            ),
        },
        "b",
        prove_count,
    ),
    Question(
        "start",
        "Somebody starts both matrices of an adapter at zero, to be on the safe side. What "
        "happens?",
        {
            "a": (
                "It learns as usual: a fresh adapter is to change nothing",
                "The output is right at the start. But the gradient of each matrix is a product "
                "with the other.",
            ),
            "b": (
                "Nothing is ever learned",
                "Each gradient has the other matrix as a factor, and both are zero, for ever.",
            ),
            "c": (
                "The first steps are slow, then it learns",
                "A weight whose gradient is exactly zero doesn't move, in any number of steps.",
            ),
        },
        "b",
        prove_start,
    ),
    Question(
        "alpha",
        "A team found a good learning rate at rank 8 with alpha 16. They try rank 64 at the same "
        "rate. Which alpha do they take first?",
        {
            "a": (
                "16",
                "Eight times as many directions, each counted an eighth: a step reaches as far as "
                "it did.",
            ),
            "b": (
                "2",
                "The update is divided by the rank already; that would divide it once more.",
            ),
            "c": (
                "128",
                "That undoes the division by the rank. Eight times as many directions then move as "
                "far as each did, and the rate is too high.",
            ),
        },
        "a",
        prove_alpha,
    ),
    Question(
        "levels",
        "Where are the sixteen levels of NF4 closest to each other?",
        {
            "a": ("around zero", "That is where most weights of a normal distribution are."),
            "b": (
                "at both ends",
                "There are few weights there, so few levels are spent on them.",
            ),
            "c": (
                "nowhere, they are even",
                "Those are the levels of int4. NF4's lie at quantiles.",
            ),
        },
        "a",
        prove_levels,
    ),
    Question(
        "bits",
        "Blocks of 64 weights, their scales quantised again. How many bits does a weight take?",
        {
            "a": ("4.00", "The scales take something: a byte for each 64 weights, and more."),
            "b": ("4.13", "4 and 8/64, and a little for the scales' own steps."),
            "c": ("4.50", "So it would be with a float of 32 bits for each block of 64."),
        },
        "b",
        prove_bits,
    ),
    Question(
        "saved",
        "New special tokens were added, so the table of tokens was trained beside the adapters. "
        "What has to be saved?",
        {
            "a": (
                "The adapters: the base model is the same",
                "Its table is not: whoever loads the adapters gets the old vectors.",
            ),
            "b": (
                "The table: it holds the new tokens",
                "The adapters learned beside it, and are lost then.",
            ),
            "c": (
                "Both",
                "All that learned. At work: look at the size of the file, or at the names in it.",
            ),
        },
        "c",
        prove_saved,
    ),
    Question(
        "merge",
        "An adapter was trained beside weights in four bits. Into which weights can it be merged "
        "without a change?",
        {
            "a": (
                "Those of the 16-bit original",
                "The adapter has never seen them. It has learned to make up for the rounding, too.",
            ),
            "b": (
                "The floats that the four-bit codes stand for",
                "Beside those it was trained. They take 16 bits again, which is the price.",
            ),
            "c": (
                "The four-bit codes themselves",
                "There is nothing between two levels: a change that is smaller than half a step is "
                "gone, and a larger one is rounded.",
            ),
        },
        "b",
        prove_merge,
    ),
    Question(
        "fits",
        "QLoRA on a model of 8 billion weights, one row of 4,096 tokens, no checkpointing. What "
        "takes most memory?",
        {
            "a": (
                "the optimizer's moments",
                "They are kept for the adapters alone, a few dozen million weights.",
            ),
            "b": (
                "the weights in four bits",
                "3.5 GB, and the same for any length of a row.",
            ),
            "c": (
                "the activations",
                "They grow with each token, and neither adapters nor codes make them smaller.",
            ),
        },
        "c",
        prove_fits,
    ),
]
