"""Quiz of unit 10: what scores mean, where they are read, noise, habits, pressure."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_constant() -> str:
    """Return the option for the loss after 5 is added to every score."""
    import torch

    from utils.align.bradley_terry import bradley_terry_loss

    a, b = torch.tensor([1.0, 0.2]), torch.tensor([0.5, 0.9])
    before, after = bradley_terry_loss(a, b), bradley_terry_loss(a + 5, b + 5)
    return "b" if torch.isclose(before, after) else "a" if after < before else "c"


def prove_surprise() -> str:
    """Return the option for which pair pulls hardest."""
    import torch

    from utils.align.bradley_terry import bradley_terry_loss

    gaps = torch.tensor([-3.0, 0.0, 3.0], requires_grad=True)
    (pull,) = torch.autograd.grad(bradley_terry_loss(gaps, torch.zeros(3)), gaps)
    return "abc"[int(pull.abs().argmax())]


def prove_place() -> str:
    """Return the option for which texts a count of the mask reads rightly."""
    import torch

    keep = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).bool()
    right = [int(row.nonzero().max()) == int(row.sum()) - 1 for row in keep]
    return {(True, False): "a", (False, True): "b", (True, True): "c"}[tuple(right)]


def prove_ties() -> str:
    """Return the option for the accuracy of a model that scores everything 0."""
    import torch

    from utils.evaluate.rewards import preference_accuracy

    accuracy = preference_accuracy(torch.zeros(50), torch.zeros(50))[0]
    return {0.0: "a", 0.5: "b", 1.0: "c"}[accuracy]


def prove_ceiling() -> str:
    """Return the option for a perfect model against labels of which a quarter is swapped."""
    import torch

    from utils.evaluate.rewards import preference_accuracy

    gaps = torch.ones(100)
    gaps[:25] = -1  # the label says otherwise
    return {1.0: "a", 0.75: "b", 0.5: "c"}[preference_accuracy(gaps, torch.zeros(100))[0]]


def prove_groups() -> str:
    """Return the option for answers of which the right ones are longer and score higher."""
    import torch

    from utils.evaluate.rewards import length_bias

    lengths = torch.tensor([30, 32, 5, 6])
    scores = torch.tensor([3.0, 3.0, 0.0, 0.0])
    within = length_bias(scores, lengths, torch.tensor([1, 1, 0, 0]))
    together = length_bias(scores, lengths, torch.zeros(4, dtype=torch.int64))
    return "a" if within == (0.5, 0.0) and together[1] > 0.05 else "b"


def prove_pressure() -> str:
    """Return the option for what can't fall as n grows."""
    import torch

    from utils.align.best_of_n import best_of_n

    draws = torch.Generator().manual_seed(0)
    scores, gold = torch.rand(2, 4, 16, generator=draws)
    falls = {}
    for name, values in (("a", gold), ("b", scores)):
        curve = [best_of_n(scores, values, n).mean().item() for n in range(1, 17)]
        falls[name] = curve != sorted(curve)
    return "b" if falls == {"a": True, "b": False} else "c"


def prove_ensemble() -> str:
    """Return the option for an answer that all models overrate, and one that a single does."""
    import torch

    from utils.align.best_of_n import conservative_score

    shared, lone = conservative_score(torch.tensor([[3.0, 3.0], [3.0, 0.0], [3.0, 0.0]])).tolist()
    return "c" if shared == 3.0 and lone < 0 else "a"


QUIZ = [
    Question(
        "constant",
        "You add 5 to every score of a reward model. What does its loss on pairs do?",
        {
            "a": (
                "it falls: chosen answers score higher now",
                "Rejected ones do, too. The loss sees only the difference.",
            ),
            "b": (
                "nothing",
                "Only differences count, so the level is open, and must be fixed before use.",
            ),
            "c": (
                "it rises: rejected answers score higher now",
                "Chosen ones do, too. The loss sees only the difference.",
            ),
        },
        "b",
        prove_constant,
    ),
    Question(
        "surprise",
        "Which pair changes the model most in the next step?",
        {
            "a": (
                "one with a gap of -3, which the model has the wrong way round",
                "The pull is 1 - sigmoid(gap), about 0.95. A wrong label pulls as hard.",
            ),
            "b": (
                "one with a gap of 0, where it is undecided",
                "The pull is one half there. It grows further where the model is wrong.",
            ),
            "c": (
                "one with a gap of 3, where it is right",
                "The pull is about 0.05: what is clear already teaches nothing.",
            ),
        },
        "a",
        prove_surprise,
    ),
    Question(
        "place",
        "A colleague reads the score at `keep.sum(1) - 1`. On which rows is that the last token?",
        {
            "a": (
                "on rows padded on the right",
                "There the count is the place. With padding on the left, or a mask of the response "
                "alone, it reads another token, and nothing raises an error.",
            ),
            "b": (
                "on rows padded on the left",
                "There the last token stands at the end of the row, whatever the count is.",
            ),
            "c": ("on both", "On the left the count is too small by the number of padding tokens."),
        },
        "a",
        prove_place,
    ),
    Question(
        "ties",
        "A broken reward model scores every answer 0. What accuracy should be reported?",
        {
            "a": (
                "0: it never puts the chosen one first",
                "That makes it look worse than a coin, which knows as little. Some tools do so.",
            ),
            "b": (
                "0.5: a tie counts half",
                "It knows nothing, as a coin, and gets what a coin gets.",
            ),
            "c": (
                "1: it never puts the rejected one first",
                "With >= in place of > a model that is constant would be perfect.",
            ),
        },
        "b",
        prove_ties,
    ),
    Question(
        "ceiling",
        "A quarter of all labels is wrong, at random. What does a perfect model score against "
        "held-out labels of the same people?",
        {
            "a": ("1.00", "It agrees with the truth, not with the wrong labels."),
            "b": (
                "about 0.75",
                "It is right in all, and the label in three of four. More would be suspicious.",
            ),
            "c": ("about 0.50", "Only labels that are tossed by coin would give that."),
        },
        "b",
        prove_ceiling,
    ),
    Question(
        "groups",
        "Over all answers, a word more goes with a higher score; among answers of one worth, it "
        "doesn't. Is the model biased towards length?",
        {
            "a": (
                "no: here the better answers are longer",
                "Comparing answers of one worth takes that out, and nothing is left.",
            ),
            "b": (
                "yes: it pays for words",
                "It pays for what goes with words here. Shorten a good answer and look again.",
            ),
        },
        "a",
        prove_groups,
    ),
    Question(
        "pressure",
        "You go from best of 4 to best of 64. Which number can't fall?",
        {
            "a": ("the gold utility", "It rises and turns where the reward's mistakes decide."),
            "b": (
                "the score that is maximised",
                "So its rise proves nothing. Watch something else.",
            ),
            "c": ("both", "If they always moved together, there would be no reward hacking."),
        },
        "b",
        prove_pressure,
    ),
    Question(
        "ensemble",
        "Three reward models from the same data, mean less spread. Which mistake survives?",
        {
            "a": (
                "an odd answer that one of them happens to love",
                "There they disagree, and the spread takes the score off.",
            ),
            "b": (
                "none",
                "What all three learned from the same data they agree on, right or wrong.",
            ),
            "c": (
                "a habit of the data, such as length",
                "All three have it, so the spread is small and the score stays high.",
            ),
        },
        "c",
        prove_ensemble,
    ),
]
