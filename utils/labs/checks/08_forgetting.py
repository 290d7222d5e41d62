"""Checks of lab 08: stopping, the Fisher diagonal, EWC, replay and the measure of forgetting.

Oracles: tables worked out by hand; NumPy in float64; for the Fisher diagonal its exact value, the
sum over all tokens that can be drawn, and on a decoder the same sum through torch's gradients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from utils.labs.checking import (
    Check,
    brief,
    close,
    collector,
    in_case,
    not_the_mistake,
    recognise,
    refused,
    require,
    resembles,
    same,
    sole,
)
from utils.labs.student import LearnerError
from utils.labs.values import CHANGED, Lookup, Once, Seed, SmallModel, StepBatches
from utils.model.config import TransformerConfig
from utils.model.decoder import Decoder

CHECKS: list[Check] = []
exercise_check = collector(CHECKS)

EXAMPLES_NOT_TRIED = {  # the checks try the like with plain values
    "fisher_diagonal": "its example passes a model",
    "ewc_penalty": "its example passes a model",
    "mix_replay": "its example passes functions",
}

HINTS = {
    "early_stopping": (
        "Go through the losses once and remember two things: which one was the best so far, and "
        "how low it was. How long ago that was decides whether to stop.",
        "By hand, patience 2: after 3.0, 2.5, 2.6 the best is number 1, and one evaluation came "
        "after it. After 2.55 two came after it. With min_delta=0.1, does 2.45 count as better "
        "than 2.5? What is NaN < 2.5 in Python?",
        "Refuse no losses, a patience below 1, a min_delta below 0. best, lowest = 0, infinity. "
        "For k, loss in enumerate(losses): if loss < lowest - min_delta, then best, lowest = k, "
        "loss (a comparison with NaN is False, so NaN never gets in). Return best, and whether "
        "len(losses) - 1 - best >= patience.",
    ),
    "fisher_diagonal": (
        "For each sequence: let the model predict every next token, draw a target from each of "
        "these predictions, and ask for the gradient of the sum of their log-probabilities. Its "
        "square, weight by weight, is what you average.",
        "By hand: a table of two logits (0, 0), so both tokens have 1/2. A drawn token gives the "
        "gradient (1/2, -1/2) or (-1/2, 1/2). What is the square? What comes out for four such "
        "sequences of one token? And why does the sum of the gradients over sequences, squared, "
        "give something else?",
        "Refuse what is not (N, T) with both from 1. Keep name -> weight for those with "
        "requires_grad, and zeros of their shape. For each row of token_ids: logits of "
        "row.unsqueeze(0), first of the batch, log_softmax over the vocabulary (T, V). Draw with "
        "torch.multinomial(log_probs.detach().exp(), 1, generator=generator), (T, 1). gather those "
        "log-probabilities, sum, and torch.autograd.grad with respect to the list of weights, "
        "allow_unused=True. Where the gradient is not None add its square, divided by N * T.",
    ),
    "ewc_penalty": (
        "A spring for every weight: it pulls back to where the weight was, and the Fisher says how "
        "stiff it is. Add up the energies of all springs.",
        "By hand: one weight, now 5, before 3, Fisher 4. How far did it move, what is the square, "
        "what is half of four times that? Which weights have no spring at all?",
        "Start from torch.zeros(()). For name, weight in model.named_parameters(): pass over those "
        "without requires_grad; raise a KeyError where the name is missing in start or fisher; add "
        "0.5 * (fisher[name] * (weight - start[name]) ** 2).sum(). No detach and no item: the "
        "penalty is there to give gradients.",
    ),
    "mix_replay": (
        "You return a function. Each time it is called with a step it asks both sources for the "
        "batch of that step, and puts a new one together.",
        "By hand: four new rows, share 0.25. How many rows are old? Which of the new rows goes, "
        "and which old row comes in its place? What must come along with the token ids?",
        "Refuse a share that is not from 0 to 1 at once. Inside a function batch_of(step): ours = "
        "new(step), theirs = old(step); n_old = round(share * B). Refuse theirs with fewer than "
        "n_old rows or other T. For token_ids and for targets: torch.cat([ours[: B - n_old], "
        "theirs[:n_old]]), which makes new tensors. Return Batch(token_ids, targets); the outer "
        "function returns batch_of.",
    ),
    "forgetting": (
        "For each task two numbers matter: the best score that it had in any earlier stage, and "
        "the score now.",
        "By hand: task a scores 0.5, then 0.9, then 0.6. How much was lost? Task c appears in the "
        "last stage for the first time: what can it have lost? Task b rose from 0.2 to 0.3: which "
        "number, with which sign, says so?",
        "Take the last stage apart from the earlier ones, of which there must be one at least. Go "
        "through the earlier ones and keep for each task the largest score. Refuse tasks of these "
        "that the last stage does not have. Return best - last for each of these tasks.",
    ),
}


# early_stopping


def decided(student, losses: Sequence[float], patience: int, min_delta: float = 0.0) -> tuple:
    """Return the learner's decision as (int, bool), or reject another type."""
    with in_case(f"early_stopping({losses}, patience={patience}, min_delta={min_delta})"):
        got = student.early_stopping(losses, patience, min_delta)
    after = student.arguments_after[0]
    require(
        repr(after) == repr(losses),
        f"`losses` was changed, from {brief(losses)} to {brief(after)}: leave it as it is",
    )
    require(
        isinstance(got, tuple | list) and len(got) == 2,
        f"return a number and a decision, such as (1, True), got {brief(got)}",
    )
    number, stop = (v.item() if isinstance(v, np.ndarray) and v.ndim == 0 else v for v in got)
    require(type(number) is int, f"the first is the number of an evaluation, got {brief(number)}")
    require(type(stop) is bool, f"the second is True or False, got {brief(stop)}")
    return number, stop


def compare_decision(student, case: tuple, wanted: tuple, slips: dict[str, tuple]) -> None:
    """Reject another decision than the wanted one; a slip is named where its answer came."""
    losses, patience, min_delta = case
    got = decided(student, losses, patience, min_delta)
    tried = f"early_stopping({losses}, patience={patience}, min_delta={min_delta})"
    for words, answer in slips.items():
        not_the_mistake(
            got == wanted or got != answer, f"{words}; {tried} is {wanted}, yours is {got}"
        )
    require(got == wanted, f"{tried} is {wanted}, yours is {got}")


BEST_SLIPS = {  # what each mistake takes for the best evaluation
    "that is the place of the largest loss": lambda losses: losses.index(max(losses)),
    "numbers of evaluations begin at 0": lambda losses: losses.index(min(losses)) + 1,
    "that is the last evaluation, not the best": lambda losses: len(losses) - 1,
    "that is the first evaluation, not the best": lambda losses: 0,
    "of two equal losses the first is the best: the second is no better": lambda losses: (
        len(losses) - 1 - losses[::-1].index(min(losses))
    ),
    "in yours each loss is compared with the one before it: compare it with the best so far": (
        lambda losses: max([0, *(k for k in range(1, len(losses)) if losses[k] < losses[k - 1])])
    ),
}


@exercise_check("early_stopping", points=1, title="the best so far")
def _(student, rng):
    results = []
    for losses, best in (
        ([3.0, 2.5, 2.6, 2.75], 1),
        ([1.0, 2.0, 3.0], 0),
        ([3.0, 2.0, 1.0], 2),
        ([2.0, 1.0, 4.0, 1.5], 1),
        ([2.0, 1.0, 1.5, 1.0, 1.75], 1),
        ([4.0], 0),
        ([3.0, 1.0, 2.0, 0.5, 0.75], 3),
        ([3.0, 1.0, 2.0, 1.5, 1.75], 1),
    ):
        results.append((losses, best, decided(student, losses, 9)))
    named = [  # where all answers are what a mistake gives
        words
        for words, slip in BEST_SLIPS.items()
        if all(got == (slip(losses), False) for losses, _, got in results)
    ]
    for losses, best, got in results:
        tried = f"early_stopping({losses}, patience=9) is {(best, False)}, yours is {got}"
        words = [name] if (name := sole(named)) else []
        require(got == (best, False), "; ".join([*words, tried]))
    losses = [float(v) for v in rng.permutation(12) / 8]
    compare_decision(student, (losses, 99, 0.0), (losses.index(0.0), False), {})
    high = ([3e9, 1e9, 2e9], 9, 0.0)
    first = "losses may be of any size: let the first be the best, or begin with infinity"
    compare_decision(student, high, (1, False), {first: (0, False)})
    compare_decision(student, ((3.0, 2.5, 2.6), 9, 0.0), (1, False), {})  # a tuple


@exercise_check("early_stopping", points=1, title="patience")
def _(student, rng):
    for losses, patience, best, stop in (
        ([3.0, 2.5, 2.6], 1, 1, True),
        ([3.0, 2.5, 2.6], 2, 1, False),
        ([3.0, 2.5, 2.6, 2.55], 2, 1, True),
        ([3.0, 2.5, 2.6, 2.55], 3, 1, False),
        ([3.0, 2.5, 2.6, 2.55, 2.7], 2, 1, True),
        ([5.0], 1, 0, False),
        ([5.0, 5.0], 1, 0, True),  # equal is no better
    ):
        slips = {
            "stop now where the last `patience` evaluations, or more, were all no better than the "
            "best before them, and only there": (best, not stop)
        }
        compare_decision(student, (losses, patience, 0.0), (best, stop), slips)
    # What was no better than the one before it may still be better than all others.
    case = ([3.0, 1.0, 2.0, 1.5, 1.25], 3, 0.0)
    falling = "each loss is compared with the best so far, not with the one before it"
    compare_decision(student, case, (1, True), {falling: (4, False)})


@exercise_check("early_stopping", points=1, title="a late recovery")
def _(student, rng):
    # Patience ran out in between, and then it got better: the question is whether to stop now.
    case = ([3.0, 3.5, 3.25, 2.0], 2, 0.0)
    words = "the decision is about now: the last evaluation is the best of all, so go on"
    forgiven = "only evaluations after the best count: those before it are forgiven"
    compare_decision(student, case, (3, False), {words: (0, True), forgiven: (3, True)})
    case = ([3.0, 2.5, 2.75, 2.75, 2.25, 2.5], 3, 0.0)
    compare_decision(student, case, (4, False), {forgiven: (4, True)})


@exercise_check("early_stopping", points=1, title="min_delta, NaN, refusals", is_core=False)
def _(student, rng):
    small = "an improvement of min_delta or less does not count"
    compare_decision(student, ([3.0, 2.5], 1, 0.5), (0, True), {small: (1, False)})
    # Each step falls by 0.25: compared with the one before none counts, with the best some do.
    # Around 1, where a share of the best would be another number than min_delta.
    words = "compare with the best that counted, not with the lowest or the one before"
    compare_decision(student, ([1.0, 0.75, 0.5, 0.25], 2, 0.375), (2, False), {words: (0, True)})
    compare_decision(student, ([3.0, 2.5, 2.25], 1, 0.5), (2, False), {})
    compare_decision(student, ([3.0, 2.75, 2.5], 2, 1.0), (0, True), {small: (2, False)})
    nan = float("nan")
    for losses, patience, wanted in (
        ([2.0, nan, nan], 2, (0, True)),
        ([2.0, nan, 1.0], 2, (2, False)),
        ([nan, 2.0, 3.0], 2, (1, False)),
        ([nan, nan, 2.0], 1, (2, False)),
    ):
        words = "NaN is never better, and the next number is better than NaN"
        got = decided(student, losses, patience)
        tried = f"early_stopping({losses}, patience={patience})"
        require(got == wanted, f"{words}: {tried} is {wanted}, yours is {got}")
    for losses, wanted in (([nan], (0, False)), ([nan, nan], (0, True))):
        compare_decision(student, (losses, 1, 0.0), wanted, {})
    huge = float("inf")
    for case, wanted in (
        ([huge, 2.0, 3.0], (1, False)),
        ([2.0, huge, 1.0], (2, False)),
        ([huge, huge, huge], (0, True)),
    ):
        compare_decision(student, (case, 2, 0.0), wanted, {})
    refused(lambda: student.early_stopping([], 1), "an empty list of losses")
    for patience in (0, -1):
        refused(lambda p=patience: student.early_stopping([1.0], p), f"a patience of {patience}")
    refused(lambda: student.early_stopping([1.0], 1, -0.1), "a min_delta of -0.1")


# fisher_diagonal


def table_of(*rows: tuple[float, ...]) -> np.ndarray:
    """Return logits whose softmax has these shares, row by row."""
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.array(rows, np.float64)), -60.0).astype(np.float32)


def fisher(student, weights: dict, token_ids: np.ndarray, seed: int, **settings) -> dict:
    """Return the learner's result as name -> array, or reject another type."""
    model = Lookup(weights, **settings)
    got = student.fisher_diagonal(model, token_ids, Seed(seed))
    require(isinstance(got, dict), f"return a dictionary name -> tensor, got {brief(got)}")
    learns = [name for name in weights if name not in settings.get("frozen", ())]
    require(
        sorted(got) == sorted(learns),
        f"an entry for each weight that learns: expected {learns}, got {sorted(got)}",
    )
    for name in learns:
        require(
            isinstance(got[name], np.ndarray) and got[name].shape == weights[name].shape,
            f"`{name}` has shape {weights[name].shape}: its Fisher has the same, got "
            f"{getattr(got[name], 'shape', type(got[name]).__name__)}",
        )
        kind = weights[name].dtype
        require(
            got[name].dtype == kind,
            f"weights in {kind} have a Fisher in {kind}, got {got[name].dtype}",
        )
    return got


@exercise_check("fisher_diagonal", points=2, title="even odds, by hand")
def _(student, rng):
    even = {"table": table_of((0.5, 0.5), (0.5, 0.5))}
    for n in (5, 1):  # whatever is drawn, (1 - 1/2)^2
        seed = int(rng.integers(1 << 30))
        got = fisher(student, even, np.zeros((n, 1), np.int64), seed)["table"]
        wanted = np.array([[0.25, 0.25], [0.0, 0.0]])
        tried = f"two tokens of even odds, {n} sequences of the one token 0"
        slips = [
            (n * wanted, "these are sums over sequences: average over them"),
            (
                wanted**0.5,
                "that is the size of the gradient, without the square, or all numbers "
                "scaled so that they add up to 1",
            ),
            (
                4 * wanted,
                "that is the square of a gradient of 1, as logits have it: log_softmax comes first",
            ),
        ]
        slips = [(w, h) for w, h in slips if n > 1 or "sums" not in h]
        recognise(got, wanted, [(w, f"{h} ({tried})") for w, h in slips])
        if n > 1:
            # The sum of n gradients of +-1/2 is an odd number of halves; squared, and averaged.
            times = got[0, 0] * n / 0.25
            odd = any(abs(times - k * k) < 1e-3 or abs(times * n - k * k) < 1e-3 for k in (1, 3, 5))
            alone = " (one sequence alone would give this, too)" if abs(times - 1) < 1e-3 else ""
            not_the_mistake(
                not odd or abs(times - n) < 1e-3 or got[0, 0] != got[0, 1],
                "the gradients of the sequences are added up before the square in yours, so they "
                f"cancel{alone}: square each sequence's own, and average all ({tried}: expected "
                f"0.25, got {got[0, 0]:.4g})",
            )
        close(got, wanted, tried)
    # Two different tokens in a sequence: each row is met once of two predictions.
    seed = int(rng.integers(1 << 30))
    got = fisher(student, even, np.array([[0, 1]] * 3), seed)["table"]
    tried = "two tokens of even odds, 3 sequences (0, 1)"
    slips = [
        (np.full((2, 2), 0.25), "divide by T as well: it is the information of one prediction"),
        (
            np.full((2, 2), 0.0625),
            "the mean over T is taken before the square, which divides by T"
            " twice: square the gradient of the sum",
        ),
        *(
            (np.array([[0.0, 0.0], [f, f]]), "in yours only the last position is scored")
            for f in (0.25, 0.125)
        ),
    ]
    recognise(got, np.full((2, 2), 0.125), [(w, f"{h} ({tried})") for w, h in slips])
    close(got, np.full((2, 2), 0.125), tried)


@exercise_check("fisher_diagonal", points=2, title="targets drawn from the model")
def _(student, rng):
    # A token twice, of even odds: were both targets the same, each sequence would give 0.5.
    even, n = {"table": table_of((0.5, 0.5), (0.5, 0.5))}, 401
    got = fisher(student, even, np.zeros((n, 2), np.int64), int(rng.integers(1 << 30)))["table"]
    not_the_mistake(
        not resembles(got[0], [0.5, 0.5], 1e-6),
        f"two tokens of even odds, {n} sequences (0, 0): expected about 0.25, got 0.5, as where "
        "both targets of each sequence are the same token: draw one for each place, by chance",
    )
    # The model is sure of 1 after 0 and of 2 after 1, and the text says otherwise.
    sure = {"table": table_of((0, 1, 0), (0, 0, 1), (1, 0, 0))}
    ids = np.array([[0, 0, 2, 2, 1, 1], [0, 2, 1, 0, 2, 1]])
    got = fisher(student, sure, ids, int(rng.integers(1 << 30)))["table"]
    not_the_mistake(
        not (got > 0.05).any(),
        "a model that is sure of another token than the text has here no gradient at all, if the "
        f"target is drawn from its own prediction; yours is {brief(np.round(got, 3))}: is the "
        "target the text's next token?"
        if wants_text(got, ids)
        else "a model that is sure of its predictions has no Fisher information (all zeros), got "
        f"{brief(np.round(got, 3))}",
    )
    close(got, np.zeros((3, 3)), "a model that is sure of its predictions has a Fisher of zeros")
    for shares in ((0.75, 0.25), (0.1, 0.6, 0.3)):
        p, n = np.array(shares), 800
        V = len(p)
        weights = {"table": table_of(*[shares] * V)}
        got = fisher(student, weights, np.zeros((n, 1), np.int64), int(rng.integers(1 << 30)))
        got, tried = got["table"][0], f"shares {shares} after token 0, {n} sequences of one token"
        squares = (np.eye(V) - p) ** 2  # row y: the squared gradient where y is drawn
        wanted = p @ squares  # p (1 - p)
        for drawn, words in (
            (
                np.eye(V)[p.argmax()],
                "all draws gave the most likely token: the most likely token is no draw, and a "
                "generator that is set back before each draw gives the same one again",
            ),
            (
                np.full(V, 1 / V),
                "in yours tokens are drawn evenly: draw by the model's probabilities",
            ),
        ):
            is_it = np.allclose(got, drawn @ squares, atol=spread(drawn, squares, n, 3.0))
            far = not np.allclose(wanted, drawn @ squares, atol=spread(p, squares, n, 8.0))
            not_the_mistake(not (is_it and far), f"{words} ({tried})")
        off = np.abs(got - wanted)
        require(
            (off <= spread(p, squares, n, 5.7)).all(),
            f"the squared gradient's mean over draws is p (1 - p) for each logit; {tried}: "
            f"expected about {brief(np.round(wanted, 3))}, got {brief(np.round(got, 3))}",
        )

    # A token twice: its two gradients of 1/2 add up in every second sequence and cancel in others.
    even, n = {"table": table_of((0.5, 0.5), (0.5, 0.5))}, 401
    got = fisher(student, even, np.zeros((n, 2), np.int64), int(rng.integers(1 << 30)))["table"]
    off = np.abs(got[0] - 0.25).max()  # each sequence gives 0 or 0.5
    require(
        off <= 5.7 * 0.25 / n**0.5,
        f"two tokens of even odds, {n} sequences (0, 0): expected about 0.25, got "
        f"{brief(np.round(got[0], 3))}; square the gradient of a sequence's sum, and divide by T",
    )


def spread(drawn: np.ndarray, squares: np.ndarray, n: int, deviations: float) -> np.ndarray:
    """Return how far a mean of n draws may lie from its expectation, in standard deviations."""
    mean = drawn @ squares
    return deviations * np.sqrt((drawn @ (squares - mean) ** 2) / n) + 1e-4


def wants_text(got: np.ndarray, ids: np.ndarray) -> bool:
    """Whether squares of sequences' gradients are those of the text's own next tokens."""
    sure, found = np.roll(np.eye(3), 1, axis=1), np.zeros((3, 3))
    for row in ids:
        gradient = np.zeros((3, 3))
        for token, target in zip(row[:-1], row[1:], strict=True):
            gradient[token] += np.eye(3)[target] - sure[token]
        found += gradient**2
    n_places = ids.size, ids.size - len(ids)
    return any(resembles(got, found / n, atol=1e-3) for n in n_places)


@exercise_check("fisher_diagonal", points=1, title="a decoder's weights")
def _(student, rng):
    config = {"vocab_size": 5, "context_length": 4, "d_model": 4, "n_layers": 1, "n_heads": 1}
    with torch.random.fork_rng():
        torch.manual_seed(int(rng.integers(1 << 30)))
        decoder = Decoder(TransformerConfig(**config)).eval()
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.mul_(3.0)  # far from even odds
    ids = torch.from_numpy(rng.integers(0, 5, (2, 3)))
    exact = exact_fisher(decoder, ids)
    weights = {name: w.detach().numpy() for name, w in decoder.state_dict().items()}
    n = 100
    got = student.fisher_diagonal(
        SmallModel(config, weights), ids.repeat(n, 1).numpy(), Seed(int(rng.integers(1 << 30)))
    )
    require(isinstance(got, dict), f"return a dictionary name -> tensor, got {brief(got)}")
    require(
        sorted(got) == sorted(exact),
        f"names as in named_parameters(): expected {sorted(exact)}, got {sorted(got)}",
    )
    for name, wanted in exact.items():
        require(
            isinstance(got[name], np.ndarray) and got[name].shape == wanted.shape,
            f"`{name}` has shape {wanted.shape}, got {getattr(got[name], 'shape', None)}",
        )
        ratio = got[name].sum() / wanted.sum()
        require(
            0.6 < ratio < 1.6,
            f"`{name}` of a small decoder, summed over its weights: {ratio:.3g} times the exact "
            f"value, with {2 * n} sequences of 3 tokens",
        )


def exact_fisher(model: torch.nn.Module, token_ids: torch.Tensor) -> dict[str, np.ndarray]:
    """Return the expectation: for each prediction the sum over all tokens that can be drawn."""
    weights = dict(model.named_parameters())
    found = {name: torch.zeros_like(w) for name, w in weights.items()}
    log_probs = model(token_ids).log_softmax(-1).flatten(0, 1)  # (N * T, V)
    for row in log_probs:
        for log_p in row:
            gradients = torch.autograd.grad(log_p, list(weights.values()), retain_graph=True)
            for name, gradient in zip(weights, gradients, strict=True):
                found[name] += log_p.detach().exp() * gradient.square() / len(log_probs)
    return {name: f.numpy() for name, f in found.items()}


@exercise_check("fisher_diagonal", points=1, title="what is left alone, refusals", is_core=False)
def _(student, rng):
    weights = {
        "table": rng.standard_normal((3, 4)).astype(np.float32),
        "unused": np.ones(2, np.float32),
        "kept": np.ones((2, 2), np.float32),
    }
    held = {"table": np.full((3, 4), 7.0, np.float32)}
    ids, a = rng.integers(0, 3, (4, 3)), int(rng.integers(1 << 30))
    for is_training in (False, True):
        with in_case("a model with one weight that is not used and one that does not learn"):
            got = fisher(
                student, weights, ids, a, frozen=("kept",), gradients=held, is_training=is_training
            )
        close(got["unused"], np.zeros(2), "a weight that changes no prediction has a Fisher of 0")
        after = student.arguments_after[0]
        mode = "training" if is_training else "evaluation"
        not_the_mistake(
            after["is_training"] is is_training,
            f"the model came in {mode} mode and is in the other one now: leave it as it was",
        )
        for name, value in weights.items():
            close(after["weights"][name], value, f"`{name}` changed: nothing is trained here")
        gradients = after["gradients"]
        not_the_mistake(
            gradients["table"] is not None and np.array_equal(gradients["table"], held["table"]),
            "the gradient that was in `table.grad` is not what it was: torch.autograd.grad gives "
            "gradients without touching `grad`, where backward() adds to it",
        )
        not_the_mistake(
            gradients["unused"] is None, "`grad` of a weight was None and is not any more"
        )
    first, again, other = (
        fisher(student, weights, ids, seed, frozen=("kept",)) for seed in (a, a, a + 1)
    )
    require(
        np.array_equal(first["table"], again["table"])
        and not np.array_equal(first["table"], other["table"]),
        "equal generators give equal draws, and others give others: pass the generator to "
        "torch.multinomial",
    )
    hint = "with the number 7 in `table.grad` before the call, the result is the same as without"
    close(got["table"], first["table"], hint)
    require(np.array_equal(student.arguments_after[1], ids), "token_ids were changed in place")
    double = {"table": rng.standard_normal((2, 3))}
    fisher(student, double, np.array([[0, 1]]), a)  # its dtype
    even = {"table": table_of((0.5, 0.5))}
    with in_case("no generator is passed"):
        got = student.fisher_diagonal(Lookup(even), np.zeros((3, 1), np.int64))
    close(got["table"], [[0.25, 0.25]], "even odds, and no generator")
    for shape in ((3,), (1, 1, 3), (0, 3), (3, 0)):
        refused(
            lambda s=shape: student.fisher_diagonal(Lookup(even), np.zeros(s, np.int64), Seed(0)),
            f"token_ids of shape {shape}",
        )


# ewc_penalty


def springs(rng: np.random.Generator, **shapes: tuple[int, ...]) -> tuple[dict, dict, dict]:
    """Return weights, where they were, and how stiff each is."""
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    start = {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    stiff = {n: rng.uniform(0.2, 3.0, s).astype(np.float32) for n, s in shapes.items()}
    return weights, start, stiff


def energy(weights: dict, start: dict, stiff: dict) -> float:
    """Return the penalty in float64."""
    moved = {n: w.astype(np.float64) - start[n] for n, w in weights.items()}
    return sum(0.5 * (stiff[n].astype(np.float64) * m**2).sum() for n, m in moved.items())


@exercise_check("ewc_penalty", points=1, title="by hand")
def _(student, rng):
    one = {"table": np.array([[7.0]], np.float32)}
    was, stiff = {"table": np.array([[4.0]], np.float32)}, {"table": np.array([[5.0]], np.float32)}
    tried = "one weight at 7 that was at 4, Fisher 5"
    with in_case(tried):
        got = student.ewc_penalty(Lookup(one), was, stiff)
    require(isinstance(got, np.ndarray), f"return a tensor with one number, got {brief(got)}")
    require(got.shape == (), f"the penalty is a scalar of shape (), got shape {got.shape}")
    slips = [
        (45.0, "the 1/2 is missing"),
        (112.5, "the Fisher is squared in yours"),
        (7.5, "the distance is not squared"),
        (4.5 * 5**0.5, "the Fisher is square-rooted in yours"),
        (4.5, "the Fisher is not used, or divided by its largest value"),
        (0.9, "it is divided by the Fisher: a larger Fisher makes the spring stiffer"),
        (-22.5, "the sign is wrong: having moved costs"),
        (122.5, "that is the distance to zero: it is the distance to `start` that costs"),
    ]
    recognise(got, 22.5, [(w, f"{h} ({tried})") for w, h in slips])
    close(got, 22.5, tried)
    still = student.ewc_penalty(Lookup(one), one, stiff)
    close(still, 0.0, "where nothing has moved the penalty is 0")


@exercise_check("ewc_penalty", points=1, title="all weights")
def _(student, rng):
    for shapes in ({"table": (3, 4), "bias": (5,), "gain": ()}, {"table": (2, 2)}):
        weights, start, stiff = springs(rng, **shapes)
        got, wanted = (
            student.ewc_penalty(Lookup(weights), start, stiff),
            energy(weights, start, stiff),
        )
        each = {n: energy({n: weights[n]}, start, stiff) for n in weights}
        n_all = sum(w.size for w in weights.values())
        tried = ", ".join(f"`{n}` {w.shape}" for n, w in weights.items())
        slips = [
            (wanted / n_all, "that is the mean over weights: take the sum"),
            (
                sum(e / weights[n].size for n, e in each.items()),
                "that is a mean over each tensor: take the sum",
            ),
            (wanted / len(weights), "yours is divided by the number of tensors: take the sum"),
            *(
                (e, f"yours counts only `{n}`: all weights that learn count")
                for n, e in each.items()
            ),
        ]
        slips = [(w, h) for w, h in slips if len(weights) > 1]
        recognise(got, wanted, [(w, f"{h} (weights {tried})") for w, h in slips])
        close(got, wanted, f"half the sum of fisher * (weight - start)^2 (weights {tried})")
    ones = {n: np.ones_like(w) for n, w in stiff.items()}
    got, wanted = student.ewc_penalty(Lookup(weights), start, ones), energy(weights, start, ones)
    close(got, wanted, "with a Fisher of ones it is half the squared distance to the start")


@exercise_check("ewc_penalty", points=1, title="the gradient pulls back")
def _(student, rng):
    weights, start, stiff = springs(rng, table=(3, 2), bias=(4,))
    with in_case("the gradient of the penalty with respect to the model's weights"):
        got = student.gradients("ewc_penalty", Lookup(weights), start, stiff)
    for name, gradient in zip(weights, got, strict=True):
        wanted = stiff[name] * (weights[name] - start[name])
        close(gradient, wanted, f"the gradient of `{name}` is fisher * (weight - start)")
    got = student.gradients("ewc_penalty", Lookup(weights), weights, stiff)
    for name, gradient in zip(weights, got, strict=True):
        close(gradient, 0 * gradient, f"nothing has moved, so nothing pulls at `{name}`")


@exercise_check("ewc_penalty", points=1, title="frozen and missing weights", is_core=False)
def _(student, rng):
    weights, start, stiff = springs(rng, table=(3, 2), kept=(2, 2), bias=(4,))
    learns = {n: w for n, w in weights.items() if n != "kept"}
    wanted = energy(learns, start, stiff)
    model = Lookup(weights, frozen=("kept",))
    tried = "`kept` does not learn"
    got = student.ewc_penalty(model, start, stiff)
    slips = [(energy(weights, start, stiff), "you count weights that do not learn as well")]
    recognise(got, wanted, [(w, f"{h} ({tried})") for w, h in slips])
    close(got, wanted, tried)
    after = student.arguments_after
    for name in weights:
        given = ((after[0]["weights"], weights, "model"), (after[1], start, "start"))
        for place, before, whose in (*given, (after[2], stiff, "fisher")):
            not_the_mistake(
                np.array_equal(place[name], before[name]),
                f"`{name}` of `{whose}` was changed in place: make new tensors",
            )
    fewer = [{n: v for n, v in d.items() if n != "kept"} for d in (start, stiff)]
    with in_case(f"{tried}, and is in neither `start` nor `fisher`"):
        close(student.ewc_penalty(model, *fewer), wanted, tried)
    for name in learns:
        for which in (0, 1):
            given = [dict(start), dict(stiff)]
            del given[which][name]
            refused(
                lambda g=given: student.ewc_penalty(model, *g),
                f"`{name}` learns and is missing in {('`start`', '`fisher`')[which]}",
                "KeyError",
            )
    double = {"table": rng.standard_normal((2, 2))}
    got = student.ewc_penalty(Lookup(double), {"table": double["table"] - 2.0}, double)
    close(got, 2 * double["table"].sum(), "weights in float64")


# mix_replay


def numbered(kind: int, n_steps: int, n_rows: int, n_tokens: int = 3) -> StepBatches:
    """Return batches whose ids tell source, step and row: 100 * source + 10 * step + row."""
    rows = 100 * kind + 10 * np.arange(n_steps)[:, None] + np.arange(n_rows)  # (S, B)
    ids = np.repeat(rows[:, :, None], n_tokens, axis=2)
    return StepBatches(ids, -ids)


def mixed(student, new: StepBatches, old: StepBatches, share: float, *steps: int) -> list[tuple]:
    """Return the learner's batches of some steps as (token_ids, targets)."""
    made = student.make("mix_replay", new, old, share)
    found = []
    for step in steps:
        try:
            got = made.fields(("token_ids", "targets"), step)
        except LearnerError as error:
            not_the_mistake(
                CHANGED not in str(error),
                f"{CHANGED}: put a new one together with torch.cat",
            )
            if "has no attribute" in str(error):
                raise LearnerError(f"{error}. The function returns a Batch") from None
            raise
        require(
            all(isinstance(part, np.ndarray) for part in got),
            f"token_ids and targets are tensors, got {brief(got)}",
        )
        found.append(got)
    return found


def source_rows(ids: np.ndarray) -> list[int]:
    """Return for each row the number that tells where it comes from."""
    return ids[:, 0].tolist() if ids.ndim == 2 and ids.shape[1] else []


@exercise_check("mix_replay", points=2, title="rows and targets")
def _(student, rng):
    for n_rows, share, n_old in ((4, 0.25, 1), (8, 0.5, 4), (5, 0.2, 1), (3, 0.67, 2), (1, 1.0, 1)):
        new, old = numbered(1, 2, n_rows), numbered(2, 2, n_rows)
        with in_case(f"batches of {n_rows} rows, share {share}"):
            ((ids, targets),) = mixed(student, new, old, share, 0)
        ours, theirs = source_rows(new.token_ids[0]), source_rows(old.token_ids[0])
        wanted = ours[: n_rows - n_old] + theirs[:n_old]
        got, keep = source_rows(ids), n_rows - n_old
        tried = f"{n_rows} rows, new {ours}, old {theirs}, share {share}"
        slips = {
            "in yours the share is that of the new rows: it is that of the old ones": ours[:n_old]
            + theirs[: n_rows - n_old],
            "the old rows stand at the end": theirs[:n_old] + ours[:keep],
            "the old rows replace the last new ones, so the first new ones stay": ours[n_old:]
            + theirs[:n_old],
            "in yours the first new rows are replaced: replace the last ones": theirs[:n_old]
            + ours[n_old:],
            "the first rows of the old batch come in, not its last": ours[:keep] + theirs[keep:],
            "old rows are added: they replace new ones, and a batch keeps its size": ours
            + theirs[:n_old],
            "in yours no old row comes in": ours,
        }
        named = [words for words, rows in slips.items() if rows == got != wanted]
        not_the_mistake(
            len(named) != 1, f"{''.join(named)} ({tried}: expected {wanted}, got {got})"
        )
        require(got == wanted, f"{tried}: expected rows {wanted}, got {got}")
        close(ids, np.repeat(np.array(wanted)[:, None], 3, axis=1), f"rows whole ({tried})")
        not_the_mistake(
            not resembles(targets, new.targets[0]) or resembles(targets, -ids),
            f"the targets are still those of the new rows: they come along ({tried})",
        )
        close(targets, -ids, f"each row brings its own targets ({tried})")
        require(
            ids.dtype == np.int64 == targets.dtype,
            f"ids stay int64, got {ids.dtype} and {targets.dtype}",
        )


@exercise_check("mix_replay", points=1, title="every step, every share")
def _(student, rng):
    new, old = numbered(1, 4, 8), numbered(2, 4, 8)
    for share, n_old in ((0, 0), (0.05, 0), (0.1, 1), (0.5, 4), (0.95, 8), (1, 8)):
        with in_case(f"share {share} of 8 rows, steps 2, 0, 3 and 2 again"):
            found = mixed(student, new, old, share, 2, 0, 3, 2)
        for step, (ids, _) in zip((2, 0, 3, 2), found, strict=True):
            ours, theirs = source_rows(new.token_ids[step]), source_rows(old.token_ids[step])
            wanted, got = ours[: 8 - n_old] + theirs[:n_old], source_rows(ids)
            tried = f"step {step}, share {share} of 8 rows"
            not_the_mistake(
                got == wanted
                or not n_old
                or got[8 - n_old :] == theirs[:n_old]
                or got[8 - n_old :] not in [source_rows(b)[:n_old] for b in old.token_ids],
                f"the old rows are those of another step ({tried}: expected {wanted}, got {got})",
            )
            require(got == wanted, f"{tried}: expected rows {wanted}, got {got}")
    # Python's round takes a half to the even number.
    new, old = numbered(1, 1, 5), numbered(2, 1, 5)
    ((ids, _),) = mixed(student, new, old, 0.5, 0)
    wanted, got = [100, 101, 102, 200, 201], source_rows(ids)
    require(got == wanted, f"5 rows, share 0.5: round(2.5) is 2, so expected {wanted}, got {got}")


@exercise_check("mix_replay", points=1, title="what does not fit", is_core=False)
def _(student, rng):
    new, old = numbered(1, 2, 4), numbered(2, 2, 4)
    for share in (-0.1, 1.1, float("nan")):
        refused(lambda s=share: mixed(student, new, old, s, 0), f"a share of {share}")
    for share in (-0.1, 1.1):
        refused(
            lambda s=share: student.make("mix_replay", new, old, s),
            f"a share of {share}, before any step is asked for",
        )
    for n_rows in (2, 9):
        tried = f"share 0.5 of 4 new rows, and an old batch of {n_rows} rows"
        with in_case(tried):
            ((ids, _),) = mixed(student, new, numbered(2, 2, n_rows), 0.5, 0)
        same(source_rows(ids), [100, 101, 200, 201], f"{tried}: rows of the new and the old batch")
    for n_rows, n_tokens, why in ((1, 3, "1 row where 2 are wanted"), (4, 5, "rows of 5 tokens")):
        other = numbered(2, 2, n_rows, n_tokens)
        refused(lambda o=other: mixed(student, new, o, 0.5, 0), f"an old batch with {why}")
    columns = StepBatches(np.zeros((1, 2, 3), np.int64), np.zeros((1, 2, 3), np.int64))
    refused(lambda: mixed(student, new, columns, 1.0, 0), "an old batch of 2 rows at share 1 of 4")


# forgetting


def lost(student, history: list[dict]) -> dict:
    """Return the learner's numbers, or reject another type."""
    got = student.forgetting(history)
    require(isinstance(got, dict), f"return a dictionary task -> number, got {brief(got)}")
    require(student.arguments_after[0] == history, "`history` was changed in place")
    return got


def compare_lost(student, history: list[dict], wanted: dict, slips: dict[str, dict]) -> None:
    """Reject other numbers than the wanted ones; a slip is named where its answer came."""
    got = lost(student, history)
    tried = f"forgetting({history}): expected {wanted}, got {brief(got)}"

    def equal(other: dict) -> bool:
        return sorted(got) == sorted(other) and all(
            isinstance(got[task], int | float) and abs(got[task] - v) < 1e-9
            for task, v in other.items()
        )

    named = [words for words, answer in slips.items() if equal(answer)]
    not_the_mistake(equal(wanted) or len(named) != 1, f"{''.join(named)}. {tried}")
    require(equal(wanted), tried)


@exercise_check("forgetting", points=1, title="before and after")
def _(student, rng):
    for before, after in ((0.75, 0.25), (0.5, 0.5), (0.25, 1.0)):
        history = [{"general": before}, {"general": after}]
        slips = {
            "the sign is the other way round: what is lost is positive": {
                "general": after - before
            },
            "a score that rose gives a negative number": {"general": 0.0},
            "it is a difference, not a share": {"general": 1 - after / before},
            "that is the score itself": {"general": after},
        }
        slips = {w: s for w, s in slips.items() if s["general"] != before - after}
        compare_lost(student, history, {"general": before - after}, slips)
    values = {task: float(v) for task, v in zip("abc", rng.permutation(16) / 16, strict=False)}
    later = {task: float(v) for task, v in zip("cab", rng.permutation(16) / 16, strict=False)}
    wanted = {task: values[task] - later[task] for task in values}
    compare_lost(student, [values, later], wanted, {})


@exercise_check("forgetting", points=1, title="the best of all earlier stages")
def _(student, rng):
    for scores in ((0.5, 1.0, 0.125, 0.25, 0.375), (1.0, 0.5, 0.75, 0.25), (0.5, 0.25, 1.0, 1.5)):
        *earlier, last = scores
        wanted = {"a": max(earlier) - last}
        slips = {
            "that is the first score less the last: the best may have come later": earlier[0],
            "that is the stage before less the last: the best may have come sooner": earlier[-1],
            "that is the mean of the earlier scores: take the best": sum(earlier) / len(earlier),
            "that is the worst of the earlier scores: take the best": min(earlier),
            "a score that rose gives a negative number, and the last stage is not among the "
            "earlier ones": max(scores),
        }
        slips = {words: {"a": best - last} for words, best in slips.items()}
        compare_lost(student, [{"a": s} for s in scores], wanted, slips)
    below = [{"a": -2.0}, {"a": -1.0}, {"a": -4.0}]  # losses with a minus sign, say
    compare_lost(student, below, {"a": 3.0}, {"scores may be below 0: start from none": {"a": 4.0}})


@exercise_check("forgetting", points=1, title="tasks that come and go", is_core=False)
def _(student, rng):
    history = [{"a": 0.5}, {"a": 0.75, "b": 0.25}, {"a": 0.5, "b": 0.5, "c": 1.0}]
    slips = {
        "a task that is new in the last stage has nothing to lose, and is left out": {
            "a": 0.25,
            "b": -0.25,
            "c": 0.0,
        },
        "only tasks of the first stage are there: later ones count from where they come in": {
            "a": 0.25
        },
    }
    compare_lost(student, history, {"a": 0.25, "b": -0.25}, slips)
    gap = [{"a": 0.5, "b": 1.0}, {"a": 0.25}, {"a": 0.25, "b": 0.5}]  # b was not measured once
    compare_lost(student, gap, {"a": 0.25, "b": 0.5}, {})
    compare_lost(student, [{}, {"a": 1.0}], {}, {})
    walk = [{"a": 0.5}, {"a": 0.75, "b": 0.5}, {"a": 0.25, "b": 0.5}]
    tried, wanted = "an iterator over stages, which can be gone through once", {"a": 0.5, "b": 0.0}
    with in_case(tried):
        got = student.forgetting(Once(walk))
    same(got, wanted, f"{tried}, here {walk}")
    for history, why in (
        ([], "an empty history"),
        ([{"a": 1.0}], "a history of one stage"),
        ([{"a": 1.0, "b": 0.5}, {"a": 1.0}], "a last stage without the task b"),
        ([{"a": 1.0}, {"a": 1.0, "b": 0.5}, {"a": 1.0}], "a last stage without a later task b"),
    ):
        refused(lambda h=history: student.forgetting(h), why)
