"""Quiz of unit 08: patience, overfitting, Fisher information, springs, replay, the gate."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_patience() -> str:
    """Return the option for what patience 2 makes of 3.0, 2.0, 2.5, 2.2, 2.1."""
    from utils.train.forgetting import early_stopping

    losses = [3.0, 2.0, 2.5, 2.2, 2.1]
    for n in range(1, len(losses) + 1):
        best, stop = early_stopping(losses[:n], patience=2)
        if stop:
            return {(4, 1): "a", (3, 1): "c"}[(n, best)]
    return "b"


def prove_sure() -> str:
    """Return the option for a model that answers alike and grows twice as sure."""
    import torch

    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])  # right, right, wrong
    targets = torch.tensor([0, 1, 1])
    loss, right = [], []
    for scale in (1.0, 4.0):
        loss.append(torch.nn.functional.cross_entropy(scale * logits, targets).item())
        right.append(int((logits.argmax(-1) == targets).sum()))
    return "b" if right[0] == right[1] and loss[1] > loss[0] else "a"


def prove_fisher() -> str:
    """Return the option for the Fisher information of a logit at p = 0.5 and at p = 0.99."""
    even, sure = (p * (1 - p) ** 2 + (1 - p) * p**2 for p in (0.5, 0.99))
    return "a" if even > 10 * sure else "b" if sure > 10 * even else "c"


def prove_spring() -> str:
    """Return the option for twice the Fisher and half the strength."""
    import torch
    from torch import nn

    from utils.train.forgetting import ewc_penalty

    model = nn.Linear(2, 2)
    start = {name: torch.zeros_like(w) for name, w in model.named_parameters()}
    one = {name: torch.ones_like(w) for name, w in start.items()}
    two = {name: 2 * f for name, f in one.items()}
    with torch.no_grad():
        ratio = 0.5 * ewc_penalty(model, start, two) / ewc_penalty(model, start, one)
    return {1: "a", 2: "b", 4: "c"}[round(ratio.item())]


def prove_replay() -> str:
    """Return the option for a share of 0.05 of eight rows."""
    import torch

    from utils.tokens.batches import Batch
    from utils.train.forgetting import mix_replay

    def rows(value: int):
        return lambda step: Batch(torch.full((8, 2), value), torch.full((8, 2), value))

    n_old = int((mix_replay(rows(0), rows(1), 0.05)(0).token_ids[:, 0] == 1).sum())
    return {1: "a", 0: "b"}[n_old]


def prove_gate() -> str:
    """Return the option for a score of 0.9, 0.7, 0.7."""
    from utils.train.forgetting import forgetting

    lost = forgetting([{"general": 0.9}, {"general": 0.7}, {"general": 0.7}])["general"]
    return {0.0: "a", 0.2: "b", 0.1: "c"}[round(lost, 3)]


def prove_domain() -> str:
    """Return the option for two models that agree on the domain and differ elsewhere."""
    import torch

    from utils.train.losses import cross_entropy

    kept = torch.tensor([[9.0, 0.0], [0.0, 9.0]])  # logits after token 0, an old one, and after 1
    lost = kept.clone()
    lost[0] = 0.0
    old, new = torch.tensor([[0]]), torch.tensor([[1]])
    on_new = [cross_entropy(table[new], new).item() for table in (kept, lost)]
    on_old = [cross_entropy(table[old], old).item() for table in (kept, lost)]
    return "c" if on_new[0] == on_new[1] and on_old[0] != on_old[1] else "a"


def prove_method() -> str:
    """Return the option whose function asks for the token ids of the old text."""
    from inspect import signature

    from utils.model.lora import add_lora
    from utils.train.forgetting import fisher_diagonal, weights_of

    ask_for = {"a": weights_of, "b": fisher_diagonal, "c": add_lora}
    (letter,) = (k for k, f in ask_for.items() if "token_ids" in signature(f).parameters)
    return letter


QUIZ = [
    Question(
        "patience",
        "Validation losses come in as 3.0, 2.0, 2.5, 2.2, 2.1. What does a patience of 2 do?",
        {
            "a": (
                "it stops after the fourth and keeps the second",
                "2.5 and 2.2 are two in a row that were no better than 2.0, the best so far.",
            ),
            "b": (
                "it goes on, since the losses are falling again",
                "Falling from 2.5 is no improvement: each loss is compared with the best, 2.0.",
            ),
            "c": (
                "it stops after the third and keeps the second",
                "At the third only one evaluation was no better. That is a patience of 1.",
            ),
        },
        "a",
        prove_patience,
    ),
    Question(
        "sure",
        "The validation loss has doubled since its lowest point, and accuracy is what it was. How "
        "can that be?",
        {
            "a": (
                "it can't: one of the two was measured wrongly",
                "Accuracy looks at which answer is the likeliest, the loss at how likely it is.",
            ),
            "b": (
                "the model is surer of its answers, of the wrong ones, too",
                "Being sure of a wrong answer costs more than being sure of a right one saves.",
            ),
        },
        "b",
        prove_sure,
    ),
    Question(
        "domain",
        "A tuned model has the best loss on held-out documents of the new domain that anyone has "
        "seen. What follows for its old skills?",
        {
            "a": (
                "they are kept, since the documents were held out",
                "Held-out documents of the domain find overfitting. They hold none of the old.",
            ),
            "b": (
                "they are lost, since something has to give way",
                "Not for sure: with a little replay both losses can be low.",
            ),
            "c": (
                "nothing: it takes a number from elsewhere",
                "Nothing measured on the domain depends on them. Run the general suite.",
            ),
        },
        "c",
        prove_domain,
    ),
    Question(
        "fisher",
        "A logit decides between two tokens. Where is its Fisher information larger: where the "
        "model is undecided (0.5), or where it is sure (0.99)?",
        {
            "a": (
                "where it is undecided",
                "p (1 - p) is 0.25 there and 0.0099 at 0.99: a push changes the prediction most.",
            ),
            "b": (
                "where it is sure, since that is what it knows",
                "There the same push hardly changes the prediction, so nothing needs to be held.",
            ),
            "c": (
                "the same at both",
                "The squared gradient's mean over draws from the model is p (1 - p).",
            ),
        },
        "a",
        prove_fisher,
    ),
    Question(
        "spring",
        "Somebody computes the Fisher diagonal as a sum over tokens where you take the mean, so "
        "all numbers are larger by one factor. What about the strength?",
        {
            "a": (
                "divided by the same factor, it gives the same training",
                "Only the product of strength and Fisher counts: strengths don't carry over "
                "between code bases.",
            ),
            "b": (
                "the same strength gives the same training",
                "Every spring would be stiffer by the factor.",
            ),
            "c": (
                "it must be divided by the square of the factor",
                "The distance is squared in the penalty, the Fisher is not.",
            ),
        },
        "a",
        prove_spring,
    ),
    Question(
        "replay",
        "With batches of eight rows you ask for a share of 0.05 of replay. What do you get?",
        {
            "a": (
                "one row of eight, an eighth",
                "round(0.05 * 8) is round(0.4).",
            ),
            "b": (
                "no replay at all, and no error",
                "0.4 rows round to none. Make batches larger, or replay in every third batch.",
            ),
        },
        "b",
        prove_replay,
    ),
    Question(
        "method",
        "The old text was deleted for legal reasons before anyone thought of tuning; the weights "
        "are there. Which method can't be used as it is?",
        {
            "a": (
                "L2 to the start",
                "It needs the old weights and nothing else.",
            ),
            "b": (
                "EWC with a Fisher of the old text",
                "The Fisher diagonal is computed on old text. Compute it while you have that, or "
                "on text that the model writes itself.",
            ),
            "c": (
                "LoRA",
                "Adapters need no old text.",
            ),
        },
        "b",
        prove_method,
    ),
    Question(
        "gate",
        "The general score was 0.9 at first, 0.7 after last month's tuning and 0.7 after this "
        "month's. How much has been forgotten?",
        {
            "a": (
                "nothing, it was 0.7 before this month's tuning",
                "So a model may lose a little every month without anyone stopping it.",
            ),
            "b": (
                "0.2, from the best that it ever had",
                "The best earlier score counts, so small losses add up in sight.",
            ),
            "c": (
                "0.1, from the mean of the earlier scores",
                "A mean with the bad month in it forgives a part of the loss.",
            ),
        },
        "b",
        prove_gate,
    ),
]
