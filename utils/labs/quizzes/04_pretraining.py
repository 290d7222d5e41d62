"""Quiz of unit 04: signatures of copies, the first step of Adam, what to keep, the best size."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_duplicates() -> str:
    """Return which of three tests takes two pages for copies that differ in their last line."""
    import hashlib

    from utils.text.cleaning import rejection_reason
    from utils.text.duplicates import minhash_signature, near_duplicates, shingles

    page = " ".join(f"word{k} and" for k in range(150))
    pages = [f"{page} printed on monday", f"{page} printed on friday"]
    found = {
        "a": len({hashlib.sha256(text.encode()).digest() for text in pages}) == 1,
        "b": near_duplicates([minhash_signature(shingles(text)) for text in pages]) == [(0, 1)],
        "c": any(rejection_reason(text) is not None for text in pages),
    }
    (answer,) = [key for key, finds in found.items() if finds]
    return answer


def prove_warm_up() -> str:
    """Return how far a weight moves in AdamW's first step for two sizes of the gradient."""
    import torch

    from utils.train.optimizers import adamw_step

    zero = torch.zeros(1)
    moves = [
        -adamw_step(zero, torch.tensor([size]), zero, zero, 1, lr=0.1, weight_decay=0.0)[0].item()
        for size in (0.01, 100.0)
    ]
    return "c" if all(abs(move - 0.1) < 1e-4 for move in moves) else "a"


def prove_resume() -> str:
    """Return whether the first loss after a resume without optimizer state already differs."""
    import copy

    import torch

    torch.manual_seed(0)
    x, y = torch.randn(8, 3), torch.randn(8)
    layer = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)

    def step(layer, optimizer):
        loss = (layer(x)[:, 0] - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(5):
        step(layer, optimizer)
    bare = copy.deepcopy(layer)
    fresh = torch.optim.AdamW(bare.parameters(), lr=0.1)
    losses = [(step(layer, optimizer), step(bare, fresh)) for _ in range(2)]
    return "a" if losses[0][0] == losses[0][1] and losses[1][0] != losses[1][1] else "b"


def prove_isoflop() -> str:
    """Return what a law with equal exponents does with a hundred times the operations."""
    from utils.train.scaling import ScalingLaw

    law = ScalingLaw(1.7, 400.0, 0.4, 400.0, 0.4)
    small, large = law.best_size(1e18), law.best_size(1e20)
    growth = [b / a for a, b in zip(small, large, strict=True)]
    return "b" if all(abs(factor - 10) < 0.1 for factor in growth) else "a"


QUIZ = [
    Question(
        "duplicates",
        "Two pages are equal but for the date in their last line. What finds them?",
        {
            "a": ("comparing their hashes", "One letter gives another hash altogether."),
            "b": (
                "comparing their MinHash signatures",
                "Nearly all runs of words are shared, so nearly all minima agree.",
            ),
            "c": (
                "the rule against short pages",
                "Neither is short. Rules about single pages know nothing of other pages.",
            ),
        },
        "b",
        prove_duplicates,
    ),
    Question(
        "warm-up",
        "In AdamW's very first step one weight has a gradient of 0.01 and another one of 100. "
        "Without decay, how far do they move?",
        {
            "a": ("the second 10,000 times as far", "That would be plain gradient descent."),
            "b": ("the second 100 times as far", "The gradient is divided by its own size."),
            "c": (
                "both by the learning rate",
                "With one gradient seen, the ratio of the means is one for all weights. That is "
                "why the rate warms up.",
            ),
        },
        "c",
        prove_warm_up,
    ),
    Question(
        "resume",
        "A run goes on from its weights, with a fresh optimizer. When does the loss begin to "
        "differ from that of a run which was never stopped?",
        {
            "a": (
                "from the second step on",
                "The first loss is computed with the same weights. The first update differs.",
            ),
            "b": ("from the first step on", "The first loss needs no optimizer, only weights."),
            "c": ("never", "The running means decide each update, and they are gone."),
        },
        "a",
        prove_resume,
    ),
    Question(
        "isoflop",
        "A law has the same exponent for size and for tokens. The budget of operations grows a "
        "hundredfold. How should the best model grow?",
        {
            "a": (
                "a hundred times the weights, the same text",
                "It would read too little for its size.",
            ),
            "b": (
                "ten times the weights, ten times the tokens",
                "Operations go with the product of both, and equal exponents share it evenly.",
            ),
            "c": ("the same weights, a hundred times the text", "It could not use what it reads."),
        },
        "b",
        prove_isoflop,
    ),
]
