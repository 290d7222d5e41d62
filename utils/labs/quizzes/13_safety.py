"""Quiz of unit 13: filters, pairs, refusals, retrieval, and how a gain is proved."""

from __future__ import annotations

from utils.labs.quiz import Question


def prove_filter() -> str:
    """Return the option for which rude answers a filter leaves."""
    from utils.align.safety_data import filter_toxic
    from utils.align.scorers import toxicity_score

    answers = ["You fool.", "You nincompoop.", "At 8."]
    scores = [[s["toxicity"]] for s in toxicity_score(answers, {"fool": 4.0}, -2.0)]
    kept, _ = filter_toxic([[{"role": "assistant", "content": a}] for a in answers], scores)
    return "b" if [chat[0]["content"] for chat in kept] == answers[1:] else "a"


def prove_logit() -> str:
    """Return the option for the probability of a text with one word of weight 2, bias -2."""
    from utils.align.scorers import toxicity_score

    found = toxicity_score(["fool fool fool"], {"fool": 2.0}, -2.0)[0]["toxicity"]
    return "a" if found == 0.5 else "b" if found > 0.9 else "c"


def prove_dpo() -> str:
    """Return the option for what DPO's loss does where both log-probabilities fall."""
    import torch

    from utils.align.preference_losses import dpo_loss

    def loss(chosen: float, rejected: float) -> float:
        return dpo_loss(
            torch.tensor([chosen]), torch.tensor([rejected]), torch.zeros(1), torch.zeros(1)
        ).item()

    return "c" if loss(-20.0, -60.0) < loss(0.0, 0.0) else "a"


def prove_rule() -> str:
    """Return the option for the pairs of a row with a truth and one calm drawn answer."""
    from utils.align.safety_data import build_safety_pairs

    row = {"prompt": "When?", "truth": "At 8.", "refusal": "No idea.", "drawn": ["At 9."]}
    found = build_safety_pairs([row | {"refused": [False], "toxicity": [0.1]}])
    return {("No idea.",): "b", ("At 9.",): "a", ("No idea.", "At 9."): "c"}[
        tuple(pair["rejected"] for pair in found)
    ]


def prove_retrieval() -> str:
    """Return the option for the word of a question that moves BM25 most."""
    from utils.align.retrieval import retrieve

    passages = ["The dose of Zorn is 5 mg.", "The dose of Brunal is 8 mg.", "The ward opens."]
    scores = {
        word: max((score for _, score in retrieve(word, passages, 3)), default=0.0)
        for word in ("the", "dose", "Zorn")
    }
    return {"the": "a", "dose": "b", "Zorn": "c"}[max(scores, key=scores.get)]


def prove_check() -> str:
    """Return the option for whether a dose in another drug's leaflet bears a claim out."""
    from utils.align.fact_check import check_facts

    passages = ["Brunal: 15 mg.", "Zorn is taken with milk."]
    ((_, held),) = check_facts("Zorn: 15 mg.", passages, ["5 mg", "15 mg"], "Zorn")
    return "a" if held else "b"


def prove_noise() -> str:
    """Return the option for the difference that is seen when verdicts are wrong 1 time in 5."""
    flipped = [share * 0.8 + (1 - share) * 0.2 for share in (0.3, 0.7)]
    seen = flipped[1] - flipped[0]
    return {0.24: "b", 0.4: "a", 0.32: "c"}[round(seen, 2)]


def prove_score_missing() -> str:
    """Return the option for what a filter does with a text that could not be scored."""
    import math

    from utils.align.safety_data import filter_toxic

    try:
        filter_toxic([[{"role": "assistant", "content": "x"}]], [[math.nan]])
    except ValueError:
        return "c"
    return "a"


QUIZ = [
    Question(
        "filter",
        "You filter chats with a scorer that knows the word 'fool' alone, and train on the rest. "
        "What does the new model's rudeness look like?",
        {
            "a": ("There is none left.", "The scorer says so. It can't see the others."),
            "b": (
                "It consists of the insults that the scorer does not know.",
                "Those were left, and nothing else was rude: the model learns exactly them.",
            ),
            "c": ("A smaller share of each insult.", "Of the known ones nothing is left at all."),
        },
        "b",
        prove_filter,
    ),
    Question(
        "logit",
        "Bias -2, weight 2 for 'fool'. What is the toxicity of 'fool fool fool'?",
        {
            "a": ("0.5", "The word is held once or not at all: -2 + 2 = 0."),
            "b": ("more than 0.9", "That would be -2 + 6; repeated words do not count again."),
            "c": ("less than 0.2", "That is the bias without any word."),
        },
        "a",
        prove_logit,
    ),
    Question(
        "dpo",
        "After DPO the chosen answers have 20 nats less than under the reference, the rejected "
        "ones 60 less. What does the loss say?",
        {
            "a": ("It has risen: both fell.", "It reads the difference alone, and that has grown."),
            "b": ("It is as at the start.", "At the start the difference was 0."),
            "c": (
                "It is lower than at the start.",
                "The difference is 40 in favour of the chosen ones; that they are hardly said any "
                "more, it can't see.",
            ),
        },
        "c",
        prove_dpo,
    ),
    Question(
        "rule",
        "A known question, one drawn answer, calm and false. Which answers stand as rejected "
        "beside the truth?",
        {
            "a": (
                "the false one",
                "The three rules take refusals and toxic answers of known ones.",
            ),
            "b": (
                "the refusal",
                "Rule 2 alone: what is false and calm is left to the fact check here.",
            ),
            "c": ("both", "The false one is neither toxic nor a refusal."),
        },
        "b",
        prove_rule,
    ),
    Question(
        "retrieval",
        "Two leaflets and a sign. Which word of 'the dose of Zorn' moves the ranking most?",
        {
            "a": ("the", "It stands everywhere, so it tells nothing apart."),
            "b": ("dose", "It stands in two of three."),
            "c": ("Zorn", "It stands in one: the rarest word weighs most."),
        },
        "c",
        prove_retrieval,
    ),
    Question(
        "check",
        "The model says that the dose of Zorn is 15 mg. A leaflet of Brunal says 15 mg; that of "
        "Zorn says nothing about a dose. Is the claim borne out?",
        {
            "a": ("yes, a passage holds the dose", "It is about another drug."),
            "b": ("no", "One and the same passage has to name the drug and hold the value."),
            "c": (
                "yes, both drugs are in the reference",
                "Name and value stand in two passages, which is how a wrong dose gets through.",
            ),
        },
        "b",
        prove_check,
    ),
    Question(
        "noise",
        "In truth 30 % are content with the old model and 70 % with the new. Each verdict is "
        "wrong one time in five. What difference do you see?",
        {
            "a": ("40 points", "That is without the noise."),
            "b": ("24 points", "40 times (1 - 2 x 0.2): noise shrinks, and turns nothing round."),
            "c": ("32 points", "Wrong verdicts count twice: one is lost, and one is added."),
        },
        "b",
        prove_noise,
    ),
    Question(
        "missing",
        "The service breaks off, and for some texts there is no score. What should the filter do?",
        {
            "a": ("keep them: nothing bad is known", "What was not looked at is not polite."),
            "b": (
                "drop them quietly",
                "Then the data shrink in a way that nobody sees, where the service fails.",
            ),
            "c": ("stop, and say which", "Score them later, or decide by hand, but decide."),
        },
        "c",
        prove_score_missing,
    ),
]
