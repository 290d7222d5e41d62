"""Quiz of unit 03: the norm's place, what experts save, which weights a tied table shares."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_scale() -> str:
    """Return the option for what ten times the input does to a norm's output."""
    import torch

    from utils.model.norm import rms_norm

    x, gain = torch.arange(1.0, 9.0), torch.ones(8)
    ratio = (rms_norm(10 * x, gain) / rms_norm(x, gain)).mean().item()
    return {10: "a", 1: "b", 0: "c"}[round(ratio)]


def prove_experts() -> str:
    """Return what two of eight experts cost against one feed-forward part of the same size."""
    from utils.model.experts import MixtureOfExperts
    from utils.model.feedforward import FeedForward

    dense = sum(w.numel() for w in FeedForward(16, 64).parameters())
    mixture = MixtureOfExperts(16, 64, n_experts=8, k=2)
    held = sum(w.numel() for e in mixture.experts for w in e.parameters())
    used = mixture.k * held // len(mixture.experts)
    return {(2, 8): "a", (8, 8): "b", (2, 2): "c"}[used // dense, held // dense]


def prove_layers() -> str:
    """Return the least number of layers of attention for induction: one can't find a successor."""
    import torch

    from utils.model.config import TransformerConfig
    from utils.model.induction import AttentionOnly

    # The share that a query of one layer gives a key depends on the two tokens and their distance:
    # change the key's neighbour and the score stays, so "what followed x" can't be asked.
    torch.manual_seed(0)
    model = AttentionOnly(TransformerConfig(9, 8, 8, n_layers=1, n_heads=1))
    scores = []
    for neighbour in (2, 5):
        ids = torch.tensor([[1, neighbour, 3, 4, 1]])
        x = model.norms[0](model.embedding(ids))
        q, k, _ = model.attentions[0].project(x, model.cos[:5], model.sin[:5])
        scores.append((q[0, 0, 4] @ k[0, 0, 2]).item())
    return "b" if scores[0] == scores[1] else "a"


QUIZ = [
    Question(
        "norm-scale",
        "All numbers of a token's vector become ten times as large. What does RMSNorm return?",
        {
            "a": ("ten times as much", "It divides by the size, which has grown as much."),
            "b": ("the same as before", "Size is what it takes away; direction stays."),
            "c": ("nearly zero", "It divides by the root mean square, not by its square."),
        },
        "b",
        prove_scale,
    ),
    Question(
        "experts-cost",
        "A feed-forward part becomes eight experts of its size, and each token uses two. What "
        "happens to operations per token and to memory for these weights?",
        {
            "a": (
                "twice the operations, eight times the memory",
                "Two experts run for a token; all eight must be there to be chosen.",
            ),
            "b": (
                "eight times both",
                "Six of the eight experts do nothing for this token.",
            ),
            "c": (
                "twice both",
                "The next token may choose others, so none can be left out of memory.",
            ),
        },
        "a",
        prove_experts,
    ),
    Question(
        "induction-layers",
        "A model of attention alone should find what followed the current token the last time. "
        "Why does one layer not do?",
        {
            "a": (
                "one layer has too few weights",
                "However wide it is, its keys know nothing of their neighbours.",
            ),
            "b": (
                "its keys hold their own token, not the one before",
                "A first layer writes each token's predecessor beside it; a second searches there.",
            ),
        },
        "b",
        prove_layers,
    ),
]
