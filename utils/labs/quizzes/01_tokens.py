"""Quiz of unit 01: order of merges, what a count weighs, fair units, special tokens."""

from __future__ import annotations

import math

from utils.labs.quiz import Question


def prove_merge_order() -> str:
    """Return the option that encoding really gives."""
    from utils.tokens.bpe import encode

    merges = [(98, 99), (97, 98)]  # bc first, then ab
    options = {"a": [257, 99], "b": [97, 256], "c": [256, 256]}
    return next(letter for letter, ids in options.items() if ids == encode("abc", merges))


def prove_unseen_script() -> str:
    """Return the option that holds for a word in a script that training never met."""
    from utils.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer.train(["the clinic opens at eight"] * 9, vocab_size=280)
    ids = tokenizer.encode("κλινική")
    return {0: "a", 7: "b", 14: "c"}[len(ids)]


def prove_better_model() -> str:
    """Return the letter of the model with fewer bits per byte."""
    from utils.evaluate.metrics import bits_per_byte

    a = bits_per_byte(4.0, n_tokens=300, n_bytes=1000)
    b = bits_per_byte(3.0, n_tokens=500, n_bytes=1000)
    return "c" if math.isclose(a, b) else "a" if a < b else "b"


def prove_spelt_special() -> str:
    """Return the option that describes a special token that a user has typed."""
    from utils.tokens.tokenizer import Tokenizer

    tokenizer = Tokenizer([])
    ids = tokenizer.encode("<|assistant|>")
    if tokenizer.assistant_id in ids:
        return "a"
    return "b" if tokenizer.decode(ids) == "<|assistant|>" else "c"


QUIZ = [
    Question(
        "merge-order",
        "Two merges were learned: first (b, c), then (a, b). How is the word 'abc' encoded?",
        {
            "a": (
                "ab, c",
                "Left to right is not the rule: (b, c) was learned first, and it takes the b away.",
            ),
            "b": (
                "a, bc",
                "The merge that was learned first is applied first; then no a stands beside a b.",
            ),
            "c": ("abc as one token", "No merge was learned that joins a and bc."),
        },
        "b",
        prove_merge_order,
    ),
    Question(
        "unseen-script",
        "A tokenizer was trained on English alone. What happens to the Greek word κλινική, seven "
        "letters?",
        {
            "a": ("It is left out", "Byte-level tokenizers lose nothing: every byte is a token."),
            "b": ("7 tokens, one a letter", "Greek letters take two bytes each in UTF-8."),
            "c": (
                "14 tokens, one a byte",
                "Two bytes a letter, and no merge has ever joined such bytes. It costs, but it "
                "comes back unchanged.",
            ),
        },
        "c",
        prove_unseen_script,
    ),
    Question(
        "better-model",
        "On the same 1,000 bytes of text model A has a loss of 4.0 nats per token at 300 tokens, "
        "model B 3.0 nats per token at 500 tokens. Which predicts the text better?",
        {
            "a": (
                "Model A",
                "4.0 times 300 is 1,200 nats for the whole text; 3.0 times 500 is 1,500. The text "
                "is the same, so A needs fewer bits per byte.",
            ),
            "b": (
                "Model B",
                "Its loss per token is lower, but it pays that loss for 500 tokens, not for 300.",
            ),
            "c": (
                "They can't be compared",
                "By loss per token they can't. By the loss of the whole text they can.",
            ),
        },
        "a",
        prove_better_model,
    ),
    Question(
        "spelt-special",
        "A user types the characters <|assistant|> into a message. What should the tokenizer do?",
        {
            "a": (
                "Use the special token",
                "Then any user could open a turn of the assistant and write it.",
            ),
            "b": (
                "Encode the characters as ordinary text",
                "Only the code that renders a chat places special tokens; text stays text.",
            ),
            "c": (
                "Remove the characters",
                "Then the text does not come back unchanged, and a user may have meant them.",
            ),
        },
        "b",
        prove_spelt_special,
    ),
]
