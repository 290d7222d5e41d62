"""Unit 09 on the real model: multiple choice on medicine before and after the tuning of unit 06.

The harness asks and counts, and a loop of our own reads the same letters in another way: one pass
over each question, where the harness scores each letter as a continuation. Questions stay where
they are: a record holds verdicts and counts.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from utils.evaluate.harness import ChoiceRow, harness_model, run_task, write_choices
from utils.evaluate.intervals import wilson_interval
from utils.evaluate.paired import paired_permutation_test
from utils.experiments.registry import Run, experiment
from utils.model.generate import evaluating
from utils.runtime import generator
from utils.text.corpora import local_rows
from utils.text.qa_rows import question_answer_rows
from utils.zoo.tuning import Tuning, load_model, prepare, tune

SUBJECTS = ("anatomy", "clinical_knowledge", "college_medicine", "medical_genetics")
LETTERS = "ABCD"
N_ASKED = 300
CLOSE = 1e-3  # nats between the two ways to read a letter


def lettered(question: str, choices: Sequence[str], label: int) -> ChoiceRow:
    """Return a question with its choices behind letters; the letters are what is chosen from.

    >>> lettered("Which is odd?", ["2", "3"], 1)
    ChoiceRow(question='Which is odd?\\nA. 2\\nB. 3\\nAnswer:', choices=['A', 'B'], label=1)
    """
    letters = list(LETTERS[: len(choices)])
    lines = [question.strip(), *(f"{x}. {c}" for x, c in zip(letters, choices, strict=True))]
    return ChoiceRow("\n".join([*lines, "Answer:"]), letters, label)


OWN_ROWS = [
    lettered("Which organ pumps the blood?", ["Liver", "Heart", "Lung", "Skin"], 1),
    lettered("Which of these is a bone?", ["Femur", "Retina", "Spleen", "Aorta"], 0),
]


def medical_questions(n: int, seed: int = 0) -> list[ChoiceRow]:
    """Return n questions of MMLU's test on medicine, drawn at random.

    Raises:
        FileNotFoundError: where COURSE_DATA_DIR does not hold them.
    """
    rows = local_rows("cais/mmlu", "test")
    if rows is None:
        raise FileNotFoundError("set COURSE_DATA_DIR to the folder with mmlu_medicine_law.jsonl.gz")
    rows = [row for row in rows if row["subject"] in SUBJECTS]
    drawn = random.Random(seed).sample(rows, n)
    return [lettered(row["question"], row["choices"], row["answer"]) for row in drawn]


def letter_logprobs(model, tokenizer, rows: Sequence[ChoiceRow], batch_size: int = 8) -> Tensor:
    """Return (N, 4) log-probabilities of the letters after each question, in nats."""
    ids = [tokenizer.encode(row.question) for row in rows]
    letters = torch.tensor([tokenizer.encode(" " + x) for x in LETTERS]).flatten()  # a token each
    order, found = sorted(range(len(rows)), key=lambda i: len(ids[i])), torch.zeros(len(rows), 4)
    with evaluating(model):
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            longest = max(len(ids[i]) for i in chosen)
            batch = torch.tensor([ids[i] + [0] * (longest - len(ids[i])) for i in chosen])  # (B, T)
            last = torch.tensor([len(ids[i]) - 1 for i in chosen])
            logits = model(batch)[torch.arange(len(chosen)), last]  # (B, V)
            found[chosen] = logits.log_softmax(-1)[:, letters]
    return found


def examined(model, tokenizer, rows: Sequence[ChoiceRow]) -> dict:
    """Return what the harness finds, and how far our own loop agrees, question by question."""
    with tempfile.TemporaryDirectory() as folder:
        task = write_choices(folder, rows, name="medicine")
        outcomes = run_task(task, harness_model(model, tokenizer, batch_size=16))
    own = letter_logprobs(model, tokenizer, rows)
    chosen = own.argmax(1).tolist()
    theirs = torch.tensor([outcome.logprobs for outcome in outcomes])
    right = [outcome.acc for outcome in outcomes]
    labels = [row.label for row in rows]
    return {
        "right": right,
        "share": sum(right) / len(right),
        "interval": list(wilson_interval(sum(right), len(right))),
        "letters": dict(Counter(LETTERS[k] for k in sorted(chosen))),
        "equal": sum(
            (k == label) == verdict for k, label, verdict in zip(chosen, labels, right, strict=True)
        ),
        "nats apart": (own - theirs).abs().max().item(),
    }


def both_loops_agree(results: list[dict]) -> None:
    """The bar: the harness and our own loop agree on every question, before and after.

    Whether the share of right answers moved has no bar: the interval says it.
    """
    for result in results:
        for when in ("before", "after"):
            found = result["exam"][when]
            assert found["equal"] == len(found["right"]), (when, found["equal"])
            assert found["nats apart"] < CLOSE, (when, found["nats apart"])


@experiment(
    "09_mmlu",
    "SmolLM2 before and after 06_medquad's tuning: MMLU's medicine in lm-evaluation-harness",
    n_steps=210,
    minutes=30,
    holds=both_loops_agree,
)
def mmlu(run: Run) -> dict:
    """Examine, tune as 06_medquad does, examine again."""
    settings, wanted = Tuning(seed=run.seed, n_held_out=40), "medquad"
    if run.is_smoke:  # needs neither a folder nor a network
        wanted, rows = "world", OWN_ROWS
        settings = Tuning(data="world", n_tokens=500, context_length=96, batch_size=2, n_held_out=2)
    else:
        rows = medical_questions(N_ASKED)
    texts, columns = question_answer_rows(wanted)
    model, tokenizer = load_model("smollm2")
    prepared = prepare(texts, columns, tokenizer, settings)
    before = examined(model, tokenizer, rows)
    model, result = tune(
        settings, model, tokenizer, prepared, run.folder, say=lambda line: None, n_steps=run.n_steps
    )
    after = examined(model, tokenizer, rows)
    p = paired_permutation_test(
        torch.tensor(after["right"]).float(),
        torch.tensor(before["right"]).float(),
        generator=generator(0),
    )
    positions = Counter(LETTERS[row.label] for row in rows)
    return result | {
        "exam": {"before": before, "after": after, "p": p},
        "asked": {"subjects": list(SUBJECTS), "right letters": dict(sorted(positions.items()))},
    }
